-- OAuth 2.0 state: authorization requests, consents, codes, grants (refresh families), issued access tokens, revocations.
SET ROLE gateward_owner;

CREATE TABLE auth_gateway.authorization_requests (
    id uuid PRIMARY KEY,
    session_id uuid REFERENCES auth_gateway.sessions (id),
    client_id text NOT NULL REFERENCES auth_gateway.oauth_clients (client_id),
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    redirect_uri text NOT NULL,
    scopes text[] NOT NULL,
    state text,
    code_challenge text NOT NULL,
    resource text,
    nonce text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX authorization_requests_expiry ON auth_gateway.authorization_requests (expires_at);

CREATE TABLE auth_gateway.oauth_consents (
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    user_id uuid NOT NULL REFERENCES auth_gateway.user_accounts (id),
    client_id text NOT NULL REFERENCES auth_gateway.oauth_clients (client_id),
    scopes text[] NOT NULL,
    granted_at timestamptz NOT NULL,
    revoked_at timestamptz,
    PRIMARY KEY (user_id, client_id)
);

-- A grant is one refresh family; its id is the `sid` of every token it gave.
CREATE TABLE auth_gateway.oauth_grants (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    user_id uuid NOT NULL REFERENCES auth_gateway.user_accounts (id),
    client_id text NOT NULL REFERENCES auth_gateway.oauth_clients (client_id),
    session_id uuid REFERENCES auth_gateway.sessions (id),
    scopes text[] NOT NULL,
    audience text[] NOT NULL,
    -- Number of the refresh token in use; the token names it, so an old one is told from a forged one.
    generation bigint NOT NULL DEFAULT 1 CHECK (generation > 0),
    refresh_secret_hash bytea NOT NULL CHECK (octet_length(refresh_secret_hash) = 32),
    -- The generation before, honoured for the grace after rotated_at.
    previous_secret_hash bytea CHECK (octet_length(previous_secret_hash) = 32),
    rotated_at timestamptz,
    auth_time timestamptz NOT NULL,
    amr text[] NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoke_reason text
);
CREATE INDEX oauth_grants_user ON auth_gateway.oauth_grants (user_id) WHERE revoked_at IS NULL;
CREATE INDEX oauth_grants_client ON auth_gateway.oauth_grants (client_id) WHERE revoked_at IS NULL;
CREATE INDEX oauth_grants_session ON auth_gateway.oauth_grants (session_id) WHERE revoked_at IS NULL;

CREATE TABLE auth_gateway.oauth_authorization_codes (
    code_hash bytea PRIMARY KEY CHECK (octet_length(code_hash) = 32),
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    user_id uuid NOT NULL REFERENCES auth_gateway.user_accounts (id),
    session_id uuid REFERENCES auth_gateway.sessions (id),
    client_id text NOT NULL REFERENCES auth_gateway.oauth_clients (client_id),
    redirect_uri text NOT NULL,
    scopes text[] NOT NULL,
    audience text[] NOT NULL,
    code_challenge text NOT NULL,
    nonce text,
    auth_time timestamptz NOT NULL,
    amr text[] NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- Set once by UPDATE … WHERE used_at IS NULL … RETURNING; a second use finds grant_id and revokes what it gave.
    used_at timestamptz,
    -- The grant this code belongs to from the start; its row exists once the code is redeemed.
    grant_id uuid NOT NULL
);
CREATE INDEX oauth_authorization_codes_expiry ON auth_gateway.oauth_authorization_codes (expires_at);

CREATE TABLE auth_gateway.oauth_tokens (
    jti uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    grant_id uuid NOT NULL REFERENCES auth_gateway.oauth_grants (id),
    user_id uuid NOT NULL REFERENCES auth_gateway.user_accounts (id),
    client_id text NOT NULL,
    scopes text[] NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX oauth_tokens_grant ON auth_gateway.oauth_tokens (grant_id);
CREATE INDEX oauth_tokens_expiry ON auth_gateway.oauth_tokens (expires_at);

-- What the policy tells the edges to refuse. `jti` is exact; the others refuse what was issued before `not_before`.
CREATE TABLE auth_gateway.revocations (
    kind text NOT NULL CHECK (kind IN ('jti', 'grant', 'subject', 'client')),
    value text NOT NULL CHECK (length(value) BETWEEN 1 AND 200),
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    not_before timestamptz NOT NULL,
    -- When everything it refuses has expired by itself, and the row can go.
    expires_at timestamptz NOT NULL,
    reason text NOT NULL,
    actor jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (kind, value)
);
CREATE INDEX revocations_expiry ON auth_gateway.revocations (expires_at);

CREATE TABLE auth_gateway.gateway_tokens (
    jti uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    service text NOT NULL,
    scopes text[] NOT NULL DEFAULT '{}',
    issued_by text NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    revoke_reason text,
    FOREIGN KEY (workspace_id, project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);
CREATE INDEX gateway_tokens_project ON auth_gateway.gateway_tokens (project_id, issued_at);

RESET ROLE;

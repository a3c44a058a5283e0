-- Sessions of persons and the challenges that lead to them. Secrets are kept as SHA-256 only.
SET ROLE gateward_owner;

CREATE TABLE auth_gateway.sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES auth_gateway.user_accounts (id),
    token_hash bytea NOT NULL UNIQUE CHECK (octet_length(token_hash) = 32),
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    -- Moves with use (idle limit), never past absolute_expires_at.
    expires_at timestamptz NOT NULL,
    absolute_expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text,
    -- RFC 8176 method references, and the moment the person proved who they are (auth_time).
    amr text[] NOT NULL,
    auth_time timestamptz NOT NULL,
    address inet,
    user_agent text CHECK (length(user_agent) <= 512),
    CHECK (expires_at <= absolute_expires_at)
);
CREATE INDEX sessions_user ON auth_gateway.sessions (user_id) WHERE ended_at IS NULL;

CREATE TABLE auth_gateway.sign_in_challenges (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (email = lower(email)),
    -- As in user_accounts: salts the commitment that this challenge's events hold.
    email_salt bytea NOT NULL CHECK (octet_length(email_salt) = 16),
    user_id uuid REFERENCES auth_gateway.user_accounts (id),
    kind text NOT NULL CHECK (kind IN ('code', 'link')),
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    -- Hash of the cookie of the browser that asked, so that a code cannot be redeemed from elsewhere. Absent for a link.
    browser_hash bytea CHECK (octet_length(browser_hash) = 32),
    attempts smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    return_to text CHECK (length(return_to) <= 4096)
);
CREATE INDEX sign_in_challenges_email ON auth_gateway.sign_in_challenges (email, created_at);
CREATE INDEX sign_in_challenges_expiry ON auth_gateway.sign_in_challenges (expires_at);

-- Generic cell rate algorithm: one row a key, `tat` the theoretical arrival time. The key is a hash, never an address.
CREATE TABLE auth_gateway.rate_limits (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    tat timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX rate_limits_tat ON auth_gateway.rate_limits (tat);

RESET ROLE;

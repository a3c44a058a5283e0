-- Schemas, workspaces and what a workspace owns. Run by the migration login; every object belongs to `gateward_owner`, which
-- cannot log in and is itself bound by row-level security (FORCE).
CREATE SCHEMA IF NOT EXISTS auth_gateway AUTHORIZATION gateward_owner;
CREATE SCHEMA IF NOT EXISTS security_service AUTHORIZATION gateward_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

SET ROLE gateward_owner;

GRANT USAGE ON SCHEMA auth_gateway TO gateward_app, gateward_system, gateward_forwarder, gateward_auditor;
GRANT USAGE ON SCHEMA security_service TO gateward_app, gateward_system, gateward_auditor;

CREATE TABLE auth_gateway.workspaces (
    id uuid PRIMARY KEY,
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
-- The nil workspace owns what belongs to a person and to no tenant: accounts, sessions, and the keys of the gateway itself.
INSERT INTO auth_gateway.workspaces (id, slug, name, created_at, updated_at)
VALUES ('00000000-0000-0000-0000-000000000000', 'platform', 'Platform', now(), now());

CREATE TABLE auth_gateway.user_accounts (
    id uuid PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    -- Salts the commitment that events hold in place of the address; erasing it makes the commitment unopenable.
    email_salt bytea NOT NULL CHECK (octet_length(email_salt) = 16),
    display_name text CHECK (length(display_name) <= 200),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'erased')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_sign_in_at timestamptz
);

CREATE TABLE auth_gateway.workspace_memberships (
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    user_id uuid NOT NULL REFERENCES auth_gateway.user_accounts (id),
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (workspace_id, user_id)
);
CREATE INDEX workspace_memberships_user ON auth_gateway.workspace_memberships (user_id);

CREATE TABLE auth_gateway.projects (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    -- Unique across workspaces: it is the first segment of the public path.
    slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (workspace_id, id)
);

CREATE TABLE auth_gateway.services (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    slug text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    upstreams text[] NOT NULL CHECK (cardinality(upstreams) BETWEEN 1 AND 16),
    -- Scopes that every request to the service needs.
    scopes text[] NOT NULL DEFAULT '{}',
    -- Requests that need no credential: [{"method": "GET", "path": "/health"}].
    public jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(public) = 'array'),
    -- Credential kinds the service accepts: access_token, service_token, api_key.
    credentials text[] NOT NULL CHECK (credentials <@ ARRAY['access_token', 'service_token', 'api_key']),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (project_id, slug),
    -- Both columns, so that a service cannot hang on another workspace's project.
    FOREIGN KEY (workspace_id, project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);

CREATE TABLE auth_gateway.oauth_clients (
    id uuid PRIMARY KEY,
    client_id text NOT NULL UNIQUE CHECK (client_id ~ '^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$'),
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    redirect_uris text[] NOT NULL CHECK (cardinality(redirect_uris) BETWEEN 1 AND 32),
    scopes text[] NOT NULL DEFAULT '{}',
    kind text NOT NULL CHECK (kind IN ('public', 'confidential')),
    secret_hash bytea,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK ((kind = 'confidential') = (secret_hash IS NOT NULL)),
    FOREIGN KEY (workspace_id, project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);

RESET ROLE;

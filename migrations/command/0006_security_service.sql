-- API keys and what surrounds them. Tables only: nothing writes them yet.
SET ROLE gateward_owner;

CREATE TABLE security_service.projects (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES auth_gateway.workspaces (id),
    gateway_project_id uuid,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL,
    UNIQUE (workspace_id, id),
    FOREIGN KEY (workspace_id, gateway_project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);

CREATE TABLE security_service.api_keys (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    user_id uuid REFERENCES auth_gateway.user_accounts (id),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- What may be shown of the key; the rest is only known as its hash.
    prefix text NOT NULL,
    key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scopes text[] NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'rotating', 'revoked')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    UNIQUE (workspace_id, id),
    FOREIGN KEY (workspace_id, project_id) REFERENCES security_service.projects (workspace_id, id)
);

CREATE TABLE security_service.key_rotation_policies (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    rotate_every interval NOT NULL CHECK (rotate_every > interval '0'),
    overlap interval NOT NULL CHECK (overlap >= interval '0'),
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    FOREIGN KEY (workspace_id, project_id) REFERENCES security_service.projects (workspace_id, id)
);

CREATE TABLE security_service.key_usage_analytics (
    workspace_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    day date NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace_id, api_key_id, day),
    FOREIGN KEY (workspace_id, api_key_id) REFERENCES security_service.api_keys (workspace_id, id)
);

CREATE TABLE security_service.mcp_tools (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    description text,
    scopes text[] NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL,
    UNIQUE (project_id, name),
    FOREIGN KEY (workspace_id, project_id) REFERENCES security_service.projects (workspace_id, id)
);

RESET ROLE;

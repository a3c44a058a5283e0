-- Everything of a project that the policy carries: weighted upstreams, rewrites, methods, routes, bounds, limits, CORS, external
-- issuers, client certificates; and the revisions of it. Safe beside the version before: what that one writes keeps its meaning,
-- and every new column has a default that says "as before".
SET ROLE gateward_owner;

ALTER TABLE auth_gateway.projects
    -- Which pages of other origins may call it; NULL for none.
    ADD COLUMN cors jsonb CHECK (jsonb_typeof(cors) = 'object'),
    ADD COLUMN limits jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(limits) = 'array'),
    -- Grows whenever an API key or opaque token of the project is made, changed or revoked.
    ADD COLUMN credential_epoch bigint NOT NULL DEFAULT 0 CHECK (credential_epoch >= 0),
    -- The newest of project_revisions; 0 while there is none.
    ADD COLUMN revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0);

ALTER TABLE auth_gateway.services
    -- Weight and region of upstreams that have others than 1 and none, by URL: {"http://b": {"weight": 3, "region": "eu"}}.
    -- `upstreams` stays the list itself, so that a change by the version before is a whole change.
    ADD COLUMN upstream_settings jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(upstream_settings) = 'object'),
    ADD COLUMN rewrites jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(rewrites) = 'array'),
    -- Methods that are let through; none named lets all through.
    ADD COLUMN methods text[] NOT NULL DEFAULT '{}',
    ADD COLUMN routes jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(routes) = 'array'),
    ADD COLUMN max_body_bytes bigint CHECK (max_body_bytes >= 0),
    ADD COLUMN timeout_millis integer CHECK (timeout_millis > 0),
    ADD COLUMN hard_seconds bigint CHECK (hard_seconds > 0),
    ADD COLUMN limits jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(limits) = 'array'),
    ADD COLUMN assertion boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT services_credentials_check,
    ADD CONSTRAINT services_credentials_check CHECK (credentials <@ ARRAY['access_token', 'service_token', 'external_token',
        'api_key', 'opaque_token', 'client_certificate']);

-- Web origins whose pages may call the token and revocation endpoints for the client.
ALTER TABLE auth_gateway.oauth_clients ADD COLUMN origins text[] NOT NULL DEFAULT '{}';
GRANT SELECT (origins) ON auth_gateway.oauth_clients TO gateward_auditor;

-- Issuers whose JWTs a project's services may accept.
CREATE TABLE auth_gateway.external_issuers (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    -- `iss`, compared byte by byte.
    issuer text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2000),
    jwks_uri text NOT NULL CHECK (length(jwks_uri) BETWEEN 1 AND 2000),
    audiences text[] NOT NULL CHECK (cardinality(audiences) BETWEEN 1 AND 16),
    scopes text[] NOT NULL DEFAULT '{}',
    scope_claim text NOT NULL DEFAULT 'scope' CHECK (length(scope_claim) BETWEEN 1 AND 128),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (project_id, issuer),
    UNIQUE (workspace_id, id),
    FOREIGN KEY (workspace_id, project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);

-- The keys that were fetched from an issuer's `jwks_uri`; they go with it.
CREATE TABLE auth_gateway.external_issuer_keys (
    workspace_id uuid NOT NULL,
    issuer_id uuid NOT NULL,
    kid text NOT NULL CHECK (length(kid) BETWEEN 1 AND 200),
    alg text NOT NULL CHECK (alg IN ('EdDSA', 'ES256', 'RS256')),
    jwk jsonb NOT NULL CHECK (jsonb_typeof(jwk) = 'object'),
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (issuer_id, kid),
    FOREIGN KEY (workspace_id, issuer_id) REFERENCES auth_gateway.external_issuers (workspace_id, id) ON DELETE CASCADE
);

-- Client certificates that a project's services may accept.
CREATE TABLE auth_gateway.project_certificates (
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    -- What revocations and logs name.
    id text NOT NULL CHECK (id ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$'),
    -- SHA-256 of the certificate's DER (RFC 8705, 3.1).
    thumbprint bytea NOT NULL CHECK (octet_length(thumbprint) = 32),
    service text NOT NULL CHECK (service ~ '^[A-Za-z0-9._-]{1,63}$'),
    scopes text[] NOT NULL DEFAULT '{}',
    not_after timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id),
    UNIQUE (project_id, thumbprint),
    FOREIGN KEY (workspace_id, project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);

-- What a project's configuration was, from 1 without gaps; never changed and never deleted.
CREATE TABLE auth_gateway.project_revisions (
    workspace_id uuid NOT NULL,
    project_id uuid NOT NULL,
    revision bigint NOT NULL CHECK (revision > 0),
    declaration jsonb NOT NULL CHECK (jsonb_typeof(declaration) = 'object'),
    actor jsonb NOT NULL CHECK (jsonb_typeof(actor) = 'object'),
    created_at timestamptz NOT NULL,
    -- The earlier revision that this one repeats.
    restored_from bigint CHECK (restored_from < revision),
    PRIMARY KEY (project_id, revision),
    FOREIGN KEY (workspace_id, project_id) REFERENCES auth_gateway.projects (workspace_id, id)
);

ALTER TABLE auth_gateway.external_issuers ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.external_issuers FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.external_issuers FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.external_issuers TO gateward_app;
CREATE POLICY system ON auth_gateway.external_issuers FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.external_issuers TO gateward_system;
CREATE POLICY auditor ON auth_gateway.external_issuers FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.external_issuers TO gateward_auditor;

-- Only the gateway itself fetches keys; a workspace sees its own, and drops them when it names another address to fetch from.
ALTER TABLE auth_gateway.external_issuer_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.external_issuer_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.external_issuer_keys FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, DELETE ON auth_gateway.external_issuer_keys TO gateward_app;
CREATE POLICY system ON auth_gateway.external_issuer_keys FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.external_issuer_keys TO gateward_system;
CREATE POLICY auditor ON auth_gateway.external_issuer_keys FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.external_issuer_keys TO gateward_auditor;

ALTER TABLE auth_gateway.project_certificates ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.project_certificates FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.project_certificates FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.project_certificates TO gateward_app;
CREATE POLICY system ON auth_gateway.project_certificates FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.project_certificates TO gateward_system;
CREATE POLICY auditor ON auth_gateway.project_certificates FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.project_certificates TO gateward_auditor;

ALTER TABLE auth_gateway.project_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.project_revisions FORCE ROW LEVEL SECURITY;
CREATE POLICY app ON auth_gateway.project_revisions FOR ALL TO gateward_app
    USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid))
    WITH CHECK (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));
GRANT SELECT, INSERT ON auth_gateway.project_revisions TO gateward_app;
CREATE POLICY system ON auth_gateway.project_revisions FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.project_revisions TO gateward_system;
CREATE POLICY auditor ON auth_gateway.project_revisions FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.project_revisions TO gateward_auditor;

RESET ROLE;

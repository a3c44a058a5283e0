-- API keys and opaque tokens that are looked up by their hash; and how the keys of external issuers are kept up to date. Safe beside
-- the version before, which writes neither.
SET ROLE gateward_owner;

ALTER TABLE security_service.api_keys
    -- Ours, or somebody else's that is known by its hash alone.
    ADD COLUMN kind text NOT NULL DEFAULT 'api_key' CHECK (kind IN ('api_key', 'opaque_token')),
    -- What the key itself says; an opaque token says nothing.
    ADD COLUMN environment text CHECK (environment IN ('live', 'test')),
    -- Where it may come from; empty means anywhere. The type refuses bits behind the prefix.
    ADD COLUMN addresses cidr[] NOT NULL DEFAULT '{}' CHECK (cardinality(addresses) <= 64),
    -- Who acts with it, as upstreams see it; without it the person, or the credential itself. Fit for a header.
    ADD COLUMN subject text CHECK (subject ~ '^[!-~]{1,200}$'),
    -- The client it was issued to, where it was.
    ADD COLUMN client_id text CHECK (client_id ~ '^[A-Za-z0-9][A-Za-z0-9._~-]{0,127}$'),
    ADD COLUMN created_by text NOT NULL DEFAULT '',
    ADD COLUMN revoked_by text,
    ADD COLUMN revoke_reason text,
    ADD CONSTRAINT api_keys_environment CHECK ((kind = 'api_key') OR environment IS NULL),
    ADD CONSTRAINT api_keys_revoked CHECK ((status = 'revoked') = (revoked_at IS NOT NULL));
-- Listing; the look-up by hash has the unique index.
CREATE INDEX api_keys_project ON security_service.api_keys (project_id, created_at);
CREATE INDEX security_projects_gateway_project ON security_service.projects (gateway_project_id);

GRANT SELECT (kind, environment, addresses, subject, client_id, created_by, revoked_by, revoke_reason)
    ON security_service.api_keys TO gateward_auditor;

ALTER TABLE auth_gateway.external_issuers
    -- The jwks_uri that the rest is about: when it is another one now, the issuer is due at once.
    ADD COLUMN keys_uri text,
    -- When its keys are fetched next; whoever begins moves it on, so that two origins do not fetch at once.
    ADD COLUMN keys_due_at timestamptz NOT NULL DEFAULT 'epoch',
    -- When they were last fetched whole.
    ADD COLUMN keys_fetched_at timestamptz,
    -- How often fetching has failed since, and why the last time.
    ADD COLUMN keys_failures integer NOT NULL DEFAULT 0 CHECK (keys_failures >= 0),
    ADD COLUMN keys_failure text CHECK (length(keys_failure) <= 500);
CREATE INDEX external_issuers_due ON auth_gateway.external_issuers (keys_due_at);

RESET ROLE;

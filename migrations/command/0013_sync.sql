-- What the sync webhooks keep of accounts and keys that are made elsewhere. Safe beside the version before, which reads none of it.
SET ROLE gateward_owner;

ALTER TABLE auth_gateway.user_accounts
    -- What the source says of the account besides. Personal data: whoever erases an account empties it.
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(metadata) = 'object' AND octet_length(metadata::text) <= 32768),
    -- When a webhook last brought something.
    ADD COLUMN synced_at timestamptz,
    -- The source's own stamp of the newest state that was taken over; an older one that comes later changes nothing.
    ADD COLUMN source_updated_at timestamptz;

ALTER TABLE security_service.api_keys
    -- Set exactly where the key is the source's; one that was made here is not its to change.
    ADD COLUMN synced_at timestamptz,
    ADD COLUMN source_updated_at timestamptz,
    ADD CONSTRAINT api_keys_synced CHECK (synced_at IS NULL OR kind = 'opaque_token');
GRANT SELECT (synced_at, source_updated_at) ON security_service.api_keys TO gateward_auditor;

-- Where a workspace's keys stand that are for no project of the gateway yet: one place each.
CREATE UNIQUE INDEX security_projects_unassigned ON security_service.projects (workspace_id) WHERE gateway_project_id IS NULL;

RESET ROLE;

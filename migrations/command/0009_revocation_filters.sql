-- Revocations beyond what a policy can list: a filter of the bulk, and which rows it was built of. And what each isolate of an edge
-- says it runs. Safe beside the version before: it writes revocations without a generation, which stand in the list, and goes on with
-- edge_reports, which the next migration may drop.
SET ROLE gateward_owner;

-- Set while a filter is built, in the transaction that publishes it: what is committed late has none and stands in the list.
ALTER TABLE auth_gateway.revocations ADD COLUMN filter_generation bigint CHECK (filter_generation > 0);
CREATE INDEX revocations_listed ON auth_gateway.revocations (kind, expires_at) WHERE filter_generation IS NULL;

CREATE TABLE auth_gateway.revocation_filters (
    generation bigint PRIMARY KEY CHECK (generation > 0),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    -- As the edges get it.
    content bytea NOT NULL,
    entries bigint NOT NULL CHECK (entries > 0),
    exceptions bigint NOT NULL CHECK (exceptions >= 0),
    -- When half of its entries have expired.
    rebuild_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
-- It does not compress.
ALTER TABLE auth_gateway.revocation_filters ALTER COLUMN content SET STORAGE EXTERNAL;

-- One row: the filter in force, if there is one of that generation. Locked by whoever builds; whoever compiles only reads it.
CREATE TABLE auth_gateway.revocation_filter_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation bigint NOT NULL CHECK (generation >= 0)
);
INSERT INTO auth_gateway.revocation_filter_head (generation) VALUES (0);

CREATE TABLE auth_gateway.edge_isolates (
    edge_id text NOT NULL CHECK (length(edge_id) BETWEEN 1 AND 128),
    -- Chosen by the isolate when it starts; empty for edges that do not say.
    isolate text NOT NULL CHECK (length(isolate) <= 64),
    policy_version bigint NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (edge_id, isolate)
);
CREATE INDEX edge_isolates_silence ON auth_gateway.edge_isolates (reported_at);

ALTER TABLE auth_gateway.revocation_filters ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.revocation_filters FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.revocation_filters FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, DELETE ON auth_gateway.revocation_filters TO gateward_system;
CREATE POLICY auditor ON auth_gateway.revocation_filters FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.revocation_filters TO gateward_auditor;

ALTER TABLE auth_gateway.revocation_filter_head ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.revocation_filter_head FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.revocation_filter_head FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON auth_gateway.revocation_filter_head TO gateward_system;
CREATE POLICY auditor ON auth_gateway.revocation_filter_head FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.revocation_filter_head TO gateward_auditor;

ALTER TABLE auth_gateway.edge_isolates ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.edge_isolates FORCE ROW LEVEL SECURITY;
CREATE POLICY system ON auth_gateway.edge_isolates FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.edge_isolates TO gateward_system;
CREATE POLICY auditor ON auth_gateway.edge_isolates FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.edge_isolates TO gateward_auditor;

RESET ROLE;

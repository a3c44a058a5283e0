-- The audit log: every event gets a position in one list, and the list is a Merkle tree (RFC 6962) whose root is signed and published
-- elsewhere. The sealer fills it, as one more destination of the outbox; nobody may change or delete what it wrote.
SET ROLE gateward_owner;

GRANT USAGE ON SCHEMA auth_gateway TO gateward_sealer;

CREATE TABLE auth_gateway.event_log (
    position bigint PRIMARY KEY CHECK (position >= 0),
    event_id uuid NOT NULL UNIQUE,
    -- Hash of the leaf: SHA-256 of a zero byte and what docs/reference/audit.md calls the leaf.
    leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
);

-- Roots of the full subtrees of 256, 65,536 … leaves (level 1, 2 …): with them a proof reads some hundred hashes, not the whole log.
CREATE TABLE auth_gateway.audit_log_nodes (
    level smallint NOT NULL CHECK (level BETWEEN 1 AND 7),
    index bigint NOT NULL CHECK (index >= 0),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, index)
);

-- How far the log is, and the right edge of its tree. Whoever extends the log holds this row.
CREATE TABLE auth_gateway.audit_log_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    size bigint NOT NULL CHECK (size >= 0),
    -- Roots of the perfect subtrees, largest first, 32 bytes each.
    frontier bytea NOT NULL CHECK (octet_length(frontier) % 32 = 0)
) WITH (fillfactor = 50);
INSERT INTO auth_gateway.audit_log_state (size, frontier) VALUES (0, '');

CREATE TABLE auth_gateway.audit_checkpoints (
    size bigint PRIMARY KEY CHECK (size > 0),
    made_at timestamptz NOT NULL,
    -- The signed note (c2sp.org/tlog-checkpoint), with the log's own signature.
    note text NOT NULL,
    -- Signature lines of witnesses.
    cosignatures text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_checkpoints_made ON auth_gateway.audit_checkpoints (made_at);

-- How each place that checkpoints are published to is doing.
CREATE TABLE auth_gateway.audit_publications (
    publisher text PRIMARY KEY CHECK (publisher IN ('file', 'database', 'witness')),
    -- The largest checkpoint that is known to be there.
    size bigint,
    published_at timestamptz,
    attempted_at timestamptz NOT NULL,
    -- Failures in a row, and what the last one was.
    failures integer NOT NULL DEFAULT 0,
    error text CHECK (length(error) <= 1000)
);

CREATE POLICY sealer ON auth_gateway.events FOR SELECT TO gateward_sealer USING (true);
GRANT SELECT ON auth_gateway.events TO gateward_sealer;

ALTER TABLE auth_gateway.event_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.event_log FORCE ROW LEVEL SECURITY;
CREATE POLICY sealer ON auth_gateway.event_log FOR ALL TO gateward_sealer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.event_log TO gateward_sealer;
CREATE POLICY auditor ON auth_gateway.event_log FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.event_log TO gateward_auditor;

ALTER TABLE auth_gateway.audit_log_nodes ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.audit_log_nodes FORCE ROW LEVEL SECURITY;
CREATE POLICY sealer ON auth_gateway.audit_log_nodes FOR ALL TO gateward_sealer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON auth_gateway.audit_log_nodes TO gateward_sealer;
CREATE POLICY auditor ON auth_gateway.audit_log_nodes FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.audit_log_nodes TO gateward_auditor;

ALTER TABLE auth_gateway.audit_log_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.audit_log_state FORCE ROW LEVEL SECURITY;
CREATE POLICY sealer ON auth_gateway.audit_log_state FOR ALL TO gateward_sealer USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE ON auth_gateway.audit_log_state TO gateward_sealer;
CREATE POLICY auditor ON auth_gateway.audit_log_state FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.audit_log_state TO gateward_auditor;

ALTER TABLE auth_gateway.audit_checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.audit_checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY sealer ON auth_gateway.audit_checkpoints FOR ALL TO gateward_sealer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE (cosignatures), DELETE ON auth_gateway.audit_checkpoints TO gateward_sealer;
CREATE POLICY auditor ON auth_gateway.audit_checkpoints FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.audit_checkpoints TO gateward_auditor;

ALTER TABLE auth_gateway.audit_publications ENABLE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.audit_publications FORCE ROW LEVEL SECURITY;
CREATE POLICY sealer ON auth_gateway.audit_publications FOR ALL TO gateward_sealer USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON auth_gateway.audit_publications TO gateward_sealer;
CREATE POLICY auditor ON auth_gateway.audit_publications FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON auth_gateway.audit_publications TO gateward_auditor;

-- The owner is bound by row-level security too, and the next statements are its own.
ALTER TABLE auth_gateway.events NO FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox NO FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_destinations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_lanes NO FORCE ROW LEVEL SECURITY;

-- No event may be appended between the look at what there is and the moment from which new ones are queued.
LOCK TABLE auth_gateway.events IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO auth_gateway.outbox_destinations (id, name, kind) VALUES (2, 'audit-log', 'sealer');
INSERT INTO auth_gateway.outbox_lanes (destination_id, lane) SELECT 2, lane FROM generate_series(0, 63) AS lane;
-- What has happened so far, in the order of time; within an aggregate in the order of its versions, whatever its clocks said.
INSERT INTO auth_gateway.outbox (destination_id, lane, event_id)
SELECT 2,
       get_byte(sha256(uuid_send(workspace_id) || uuid_send(aggregate_id) || convert_to(aggregate_type, 'UTF8')), 0) % 64,
       event_id
FROM auth_gateway.events
ORDER BY max(occurred_at) OVER (PARTITION BY workspace_id, aggregate_type, aggregate_id ORDER BY version), version;

ALTER TABLE auth_gateway.events FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_destinations FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_lanes FORCE ROW LEVEL SECURITY;

RESET ROLE;

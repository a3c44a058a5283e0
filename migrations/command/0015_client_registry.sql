-- The client registry as a destination of its own, told of projects and clients only. What happened before is queued for it in order.
--
-- Safe beside the version before: an append that is under way when this runs is waited for, and those after it find the destination.
SET ROLE gateward_owner;
LOCK TABLE auth_gateway.events IN SHARE ROW EXCLUSIVE MODE;
-- The owner is bound by the policies, too, and none is for it; until the end of this transaction it is not.
ALTER TABLE auth_gateway.events NO FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox NO FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_destinations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_lanes NO FORCE ROW LEVEL SECURITY;

INSERT INTO auth_gateway.outbox_destinations (id, name, kind, aggregate_types)
VALUES (3, 'client-registry', 'registry', ARRAY['project', 'client']);
INSERT INTO auth_gateway.outbox_lanes (destination_id, lane) SELECT 3, lane FROM generate_series(0, 63) AS lane;

-- The lane as the code computes it: the first byte of SHA-256 over workspace, aggregate and its type, modulo 64.
INSERT INTO auth_gateway.outbox (destination_id, lane, event_id)
SELECT 3, get_byte(sha256(uuid_send(workspace_id) || uuid_send(aggregate_id) || convert_to(aggregate_type, 'UTF8')), 0) % 64, event_id
FROM auth_gateway.events
WHERE aggregate_type IN ('project', 'client')
ORDER BY workspace_id, aggregate_type, aggregate_id, version;

ALTER TABLE auth_gateway.events FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_destinations FORCE ROW LEVEL SECURITY;
ALTER TABLE auth_gateway.outbox_lanes FORCE ROW LEVEL SECURITY;
RESET ROLE;

-- What has been migrated, for whoever checks it.
GRANT USAGE ON SCHEMA public TO gateward_auditor;
GRANT SELECT ON _sqlx_migrations TO gateward_auditor;

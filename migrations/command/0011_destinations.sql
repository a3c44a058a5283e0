-- Destinations of several kinds, and what an operator may do about rows that were set aside.
SET ROLE gateward_owner;

ALTER TABLE auth_gateway.outbox_destinations
    DROP CONSTRAINT outbox_destinations_kind_check,
    ADD CONSTRAINT outbox_destinations_kind_check
        CHECK (kind IN ('postgres', 'postgrest', 'webhook', 'nats', 'sealer', 'registry')),
    -- Its name stands in names of variables: DESTINATION_<NAME>_….
    ADD CONSTRAINT outbox_destinations_name_check CHECK (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    -- Where to and how, by kind. Never a secret: those come from the environment of whoever delivers.
    ADD COLUMN options jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(options) = 'object'),
    -- The aggregates whose events it gets; NULL: all.
    ADD COLUMN aggregate_types text[],
    -- Why it was disabled, where it was not an operator who did it.
    ADD COLUMN disabled_reason text,
    -- Not before then, since the destination itself named a time.
    ADD COLUMN breaker_not_before timestamptz;

GRANT SELECT (aggregate_types) ON auth_gateway.outbox_destinations TO gateward_app;

-- Replaying and discarding are the operator's. Taking a lane's row keeps the forwarder from settling meanwhile.
CREATE POLICY system ON auth_gateway.outbox_lanes FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON auth_gateway.outbox_lanes TO gateward_system;
CREATE POLICY system ON auth_gateway.outbox_failed FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, DELETE ON auth_gateway.outbox_failed TO gateward_system;
CREATE POLICY system ON auth_gateway.outbox_parked FOR ALL TO gateward_system USING (true) WITH CHECK (true);
GRANT SELECT, DELETE ON auth_gateway.outbox_parked TO gateward_system;
-- A row that is replayed keeps the place in its lane that it had.
GRANT INSERT (id, created_at), SELECT ON auth_gateway.outbox TO gateward_system;

RESET ROLE;

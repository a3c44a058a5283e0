-- Destinations are added, disabled and removed by the operator.
SET ROLE gateward_owner;

-- A number is never used twice: a forwarder that still runs for a destination that was removed finds nothing to carry. Those below 16
-- are Gateward's own.
CREATE SEQUENCE auth_gateway.outbox_destination_ids AS smallint START 16 MINVALUE 16;
GRANT USAGE ON SEQUENCE auth_gateway.outbox_destination_ids TO gateward_system;

GRANT INSERT, UPDATE, DELETE ON auth_gateway.outbox_destinations TO gateward_system;
GRANT DELETE ON auth_gateway.outbox_lanes TO gateward_system;
GRANT DELETE ON auth_gateway.outbox TO gateward_system;

RESET ROLE;

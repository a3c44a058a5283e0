-- Events (insert only, for everyone) and the outbox that carries them out.
SET ROLE gateward_owner;

CREATE TABLE auth_gateway.events (
    event_id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    event_type text NOT NULL,
    schema_version smallint NOT NULL,
    payload jsonb NOT NULL,
    metadata jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Canonical bytes of the event (jsonb is not byte-stable), and the chain over them per aggregate:
    -- event_hash = SHA-256(prev_hash || body).
    body bytea NOT NULL,
    prev_hash bytea CHECK (octet_length(prev_hash) = 32),
    event_hash bytea NOT NULL CHECK (octet_length(event_hash) = 32),
    -- Carries correctness: of two writers of one version, one inserts nothing and tries again.
    UNIQUE (workspace_id, aggregate_type, aggregate_id, version),
    CHECK ((version = 1) = (prev_hash IS NULL))
);

CREATE TABLE auth_gateway.outbox_destinations (
    id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    kind text NOT NULL CHECK (kind IN ('postgres')),
    enabled boolean NOT NULL DEFAULT true,
    -- The breaker: an outage stops the destination, and costs no row an attempt.
    breaker_failures integer NOT NULL DEFAULT 0,
    breaker_until timestamptz,
    breaker_error text
);

CREATE TABLE auth_gateway.outbox (
    destination_id smallint NOT NULL,
    lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 63),
    id bigint GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    last_error text,
    next_attempt_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (destination_id, lane, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX outbox_backing_off ON auth_gateway.outbox (destination_id, lane) WHERE next_attempt_at IS NOT NULL;

CREATE TABLE auth_gateway.outbox_lanes (
    destination_id smallint NOT NULL REFERENCES auth_gateway.outbox_destinations (id),
    lane smallint NOT NULL CHECK (lane BETWEEN 0 AND 63),
    -- Fences the acknowledgement: it grows with every lease.
    epoch bigint NOT NULL DEFAULT 0,
    leased_by text,
    leased_until timestamptz,
    PRIMARY KEY (destination_id, lane)
) WITH (fillfactor = 50);

CREATE TABLE auth_gateway.outbox_failed (
    destination_id smallint NOT NULL,
    lane smallint NOT NULL,
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    attempts smallint NOT NULL,
    -- `refused`: the destination would not take this row. `behind`: it follows a refused one of the same aggregate.
    error_class text NOT NULL CHECK (error_class IN ('refused', 'behind')),
    last_error text,
    created_at timestamptz NOT NULL,
    failed_at timestamptz NOT NULL,
    PRIMARY KEY (destination_id, lane, id)
);

CREATE TABLE auth_gateway.outbox_parked (
    destination_id smallint NOT NULL,
    workspace_id uuid NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    parked_at timestamptz NOT NULL,
    PRIMARY KEY (destination_id, workspace_id, aggregate_type, aggregate_id)
);

INSERT INTO auth_gateway.outbox_destinations (id, name, kind) VALUES (1, 'read-database', 'postgres');
INSERT INTO auth_gateway.outbox_lanes (destination_id, lane) SELECT 1, lane FROM generate_series(0, 63) AS lane;

RESET ROLE;

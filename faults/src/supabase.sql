-- A project's database as it stands behind PostgREST: the table, and a role that may insert into it and see the key it conflicts on.
CREATE TABLE public.auth_events (
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
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (workspace_id, aggregate_type, aggregate_id, version)
);
CREATE ROLE auth_events_writer NOLOGIN;
GRANT USAGE ON SCHEMA public TO auth_events_writer;
GRANT INSERT, SELECT (event_id) ON public.auth_events TO auth_events_writer;

-- The read side: what the forwarder delivers. The projector may insert, and read back only the key it conflicts on.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO gateward_owner;
GRANT USAGE ON SCHEMA public TO gateward_projector, gateward_auditor;

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
CREATE INDEX auth_events_occurred ON public.auth_events (workspace_id, occurred_at);
ALTER TABLE public.auth_events OWNER TO gateward_owner;

SET ROLE gateward_owner;
ALTER TABLE public.auth_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.auth_events FORCE ROW LEVEL SECURITY;
CREATE POLICY projector ON public.auth_events FOR ALL TO gateward_projector USING (true) WITH CHECK (true);
GRANT INSERT, SELECT (event_id) ON public.auth_events TO gateward_projector;
CREATE POLICY auditor ON public.auth_events FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON public.auth_events TO gateward_auditor;
RESET ROLE;

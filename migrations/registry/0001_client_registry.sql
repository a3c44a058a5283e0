-- The client registry: which projects there are, and which OAuth clients belong to them, for public interfaces to show. A projection from
-- events and nothing else: it can be thrown away and rebuilt. It holds no secret, no hash, and no address of an upstream.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO gateward_owner;
GRANT USAGE ON SCHEMA public TO gateward_registrar, gateward_auditor;
-- What has been migrated, for whoever checks it.
GRANT SELECT ON _sqlx_migrations TO gateward_registrar, gateward_auditor;

SET ROLE gateward_owner;

CREATE TABLE public.projects (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    slug text NOT NULL,
    name text NOT NULL,
    -- [{"slug": "api", "scopes": ["notes:read"], "credentials": ["access_token"]}], by slug.
    services jsonb NOT NULL CHECK (jsonb_typeof(services) = 'array'),
    revision bigint NOT NULL CHECK (revision >= 0),
    -- Of the event that the row was last made from; an older one changes nothing.
    version bigint NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX projects_slug ON public.projects (slug);
CREATE INDEX projects_workspace ON public.projects (workspace_id);

CREATE TABLE public.oauth_clients (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL,
    -- No foreign key: aggregates are delivered independently of each other.
    project_id uuid NOT NULL,
    client_id text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('public', 'confidential')),
    -- Without query and fragment, which events do not keep.
    redirect_uris text[] NOT NULL,
    origins text[] NOT NULL,
    scopes text[] NOT NULL,
    enabled boolean NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX oauth_clients_client_id ON public.oauth_clients (client_id);
CREATE INDEX oauth_clients_project ON public.oauth_clients (project_id);

ALTER TABLE public.projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.projects FORCE ROW LEVEL SECURITY;
CREATE POLICY registrar ON public.projects FOR ALL TO gateward_registrar USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.projects TO gateward_registrar;
CREATE POLICY auditor ON public.projects FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON public.projects TO gateward_auditor;

ALTER TABLE public.oauth_clients ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.oauth_clients FORCE ROW LEVEL SECURITY;
CREATE POLICY registrar ON public.oauth_clients FOR ALL TO gateward_registrar USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON public.oauth_clients TO gateward_registrar;
CREATE POLICY auditor ON public.oauth_clients FOR SELECT TO gateward_auditor USING (true);
GRANT SELECT ON public.oauth_clients TO gateward_auditor;

RESET ROLE;

-- What comparing and mending the read side needs: `gateward doctor` reads the rows to compare them with the events, and its --repair removes
-- a row that no event stands for, or that differs from its event, before the event is projected again. Rows are never updated.
GRANT SELECT, DELETE ON public.auth_events TO gateward_projector;
-- What has been migrated, for whoever checks it.
GRANT SELECT ON _sqlx_migrations TO gateward_projector, gateward_auditor;

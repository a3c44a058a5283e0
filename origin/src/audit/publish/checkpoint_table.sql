-- The table that `gateward forward` publishes checkpoints to (AUDIT_CHECKPOINT_DATABASE_URL). Run it once, as an administrator of a
-- database that the owner of the command database has no rights in. Then make a login that may do nothing but insert:
--
--     CREATE ROLE gateward_checkpoints LOGIN NOINHERIT PASSWORD '…';
--     GRANT gateward_checkpoint_publisher TO gateward_checkpoints;
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'gateward_checkpoint_publisher') THEN
        CREATE ROLE gateward_checkpoint_publisher NOLOGIN NOINHERIT;
    END IF;
END $$;

CREATE TABLE IF NOT EXISTS public.gateward_checkpoints (
    origin text NOT NULL,
    size bigint NOT NULL,
    root text NOT NULL,
    -- The signed note. Two rows of one origin and size are the evidence of a fork.
    note text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (origin, size, root)
);
REVOKE ALL ON public.gateward_checkpoints FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO gateward_checkpoint_publisher;
GRANT INSERT (origin, size, root, note) ON public.gateward_checkpoints TO gateward_checkpoint_publisher;

-- What a sink itself sees, in tables of its own: every attempt to insert that was committed, in order, and every effect.
CREATE SCHEMA faults;

CREATE TABLE faults.arrivals (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    workspace_id uuid NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE faults.effects (event_id uuid PRIMARY KEY, times integer NOT NULL);

-- Fires for an event that is there already, too: that is a second delivery.
CREATE FUNCTION faults.arrive() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO faults.arrivals (event_id, workspace_id, aggregate_type, aggregate_id, version)
    VALUES (NEW.event_id, NEW.workspace_id, NEW.aggregate_type, NEW.aggregate_id, NEW.version);
    RETURN NEW;
END $$;
-- Fires only where a row was really inserted: what a consumer would act on.
CREATE FUNCTION faults.take_effect() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO faults.effects AS known (event_id, times) VALUES (NEW.event_id, 1)
    ON CONFLICT (event_id) DO UPDATE SET times = known.times + 1;
    RETURN NULL;
END $$;

INSERT INTO faults.effects SELECT event_id, 1 FROM public.auth_events;
INSERT INTO faults.arrivals (event_id, workspace_id, aggregate_type, aggregate_id, version)
SELECT event_id, workspace_id, aggregate_type, aggregate_id, version FROM public.auth_events
ORDER BY workspace_id, aggregate_type, aggregate_id, version;
CREATE TRIGGER faults_arrive BEFORE INSERT ON public.auth_events FOR EACH ROW EXECUTE FUNCTION faults.arrive();
CREATE TRIGGER faults_take_effect AFTER INSERT ON public.auth_events FOR EACH ROW EXECUTE FUNCTION faults.take_effect();

// Checks the record of events as a whole: in the command database by itself, and the read side against it. Looks at every event
// there is, whoever caused it.
import assert from "node:assert/strict";
import * as database from "./database.mjs";
import { until } from "./until.mjs";

const AGGREGATE = "workspace_id, aggregate_type, aggregate_id";

/** Versions run 1, 2, 3 … in every aggregate, and each event's hash follows from the one before it. */
export async function assertEventsAreWhole() {
  const gaps = await database.command(
    `SELECT ${AGGREGATE}, count(*)::int AS events, min(version)::int AS first, max(version)::int AS last
     FROM auth_gateway.events GROUP BY ${AGGREGATE}
     HAVING min(version) <> 1 OR max(version) <> count(*)`,
  );
  assert.deepEqual(gaps, [], "versions have gaps");
  const broken = await database.command(
    `SELECT event_id FROM (
       SELECT event_id, prev_hash, event_hash, body, lag(event_hash) OVER (PARTITION BY ${AGGREGATE} ORDER BY version) AS before
       FROM auth_gateway.events) AS chained
     WHERE prev_hash IS DISTINCT FROM before OR event_hash <> sha256(coalesce(prev_hash, ''::bytea) || body)`,
  );
  assert.deepEqual(broken, [], "the chain of hashes is broken");
}

/** How many rows wait to be delivered, were refused for good, or are parked. */
export async function outboxState() {
  const [state] = await database.command(
    `SELECT (SELECT count(*)::int FROM auth_gateway.outbox) AS waiting,
            (SELECT count(*)::int FROM auth_gateway.outbox_failed) AS failed,
            (SELECT count(*)::int FROM auth_gateway.outbox_parked) AS parked`,
  );
  return state;
}

/**
 * Waits until everything is delivered; then every committed event is on the read side exactly once and equal, nothing else is
 * there, and within each aggregate events arrived in the order of their versions. The number of events.
 */
export async function assertReadSideIsEqual({ within = 60_000 } = {}) {
  const delivered = async () => (await outboxState()).waiting === 0;
  await until("everything in the outbox is delivered", delivered, { within, every: 200 });
  const { failed, parked } = await outboxState();
  assert.deepEqual({ failed, parked }, { failed: 0, parked: 0 });

  const columns = `event_id::text, workspace_id::text, aggregate_type, aggregate_id::text, version::int, event_type,
                   schema_version::int, payload::text, metadata::text, occurred_at::text`;
  const [committed, arrived] = await Promise.all([
    database.command(`SELECT ${columns} FROM auth_gateway.events ORDER BY event_id`),
    database.readSide(`SELECT ${columns} FROM public.auth_events ORDER BY event_id`),
  ]);
  const ids = new Map(arrived.map((event) => [event.event_id, event]));
  assert.equal(ids.size, arrived.length, "an event is on the read side twice");
  const missing = committed.filter(({ event_id: id }) => !ids.has(id));
  assert.deepEqual(missing.slice(0, 5), [], `${missing.length} of ${committed.length} events are missing on the read side`);
  assert.equal(arrived.length, committed.length, "the read side has events that were never committed");
  for (const event of committed) assert.deepEqual(ids.get(event.event_id), event);

  const disordered = await database.readSide(
    `SELECT event_id, ${AGGREGATE}, version::int FROM (
       SELECT *, lag(received_at) OVER (PARTITION BY ${AGGREGATE} ORDER BY version) AS received_before,
              lag(version) OVER (PARTITION BY ${AGGREGATE} ORDER BY version) AS version_before
       FROM public.auth_events) AS ordered
     WHERE received_at < received_before OR version <> coalesce(version_before, 0) + 1 LIMIT 5`,
  );
  assert.deepEqual(disordered, [], "events of an aggregate arrived out of order");
  return committed.length;
}

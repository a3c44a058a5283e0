// Waits until the read side shows an event, for `cargo xtask demo`: prints the events of one aggregate in order as JSON.
// Usage: READ_DATABASE_URL=… node read-side.mjs AGGREGATE_ID EVENT_TYPE [SECONDS]
import pg from "pg";

const [aggregate, wanted, seconds = "15"] = process.argv.slice(2);
const POLL_MS = 25;

// A token's `sid` may be the grant's id in base64url; the table holds UUIDs.
const id =
  aggregate.length === 22
    ? Buffer.from(aggregate, "base64url").toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")
    : aggregate;

const client = new pg.Client({ connectionString: process.env.READ_DATABASE_URL });
await client.connect();
const deadline = performance.now() + Number(seconds) * 1000;
let events;
for (;;) {
  const { rows } = await client.query(
    `SELECT event_id, version::int, event_type, occurred_at, received_at
       FROM public.auth_events WHERE aggregate_id = $1 ORDER BY version`,
    [id],
  );
  events = rows;
  if (events.some((event) => event.event_type === wanted) || performance.now() > deadline) break;
  await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
await client.end();
console.log(JSON.stringify(events));
if (!events.some((event) => event.event_type === wanted)) {
  console.error(`no ${wanted} of aggregate ${id} on the read side within ${seconds} s; there is ${events.map((event) => event.event_type).join(", ") || "nothing"}`);
  process.exitCode = 1;
}

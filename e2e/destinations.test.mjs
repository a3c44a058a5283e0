// Where events go, against the real receivers: the reference library of Standard Webhooks and Node's own Ed25519, a Postgres behind the
// statement of PostgREST, and a nats-server read with its official client.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createPublicKey, generateKeyPairSync, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect } from "nats";
import pg from "pg";
import { Webhook } from "standardwebhooks";
import { command } from "./driver/database.mjs";
import { gateward, gatewardWith, ownName } from "./driver/gateward.mjs";
import { gateway } from "./driver/gateway.mjs";
import { startPostgrest } from "./driver/postgrest.mjs";
import { until } from "./driver/until.mjs";

const HOSTS = { PRIVATE_DESTINATION_HOSTS: "127.0.0.1" };
const ended = [];
after(async () => {
  // One that stays enabled without its credentials would keep the next forwarder from starting.
  for (const end of ended.reverse()) await end();
});

/** Adds a destination that is gone after the tests; what `forward` needs for it comes back. */
async function add(kind, credentials, ...more) {
  const name = ownName(kind);
  const added = JSON.parse(await gateward("destination", "add", name, "--kind", kind, "--json", ...more));
  ended.push(() => gateward("destination", "remove", name, "--drop-queued"));
  const prefix = `DESTINATION_${name.toUpperCase().replaceAll("-", "_")}_`;
  const named = Object.entries(credentials).map(([what, value]) => [prefix + what, value]);
  return { name, id: added.id, backfilled: added.backfilled, environment: { ...HOSTS, ...Object.fromEntries(named) } };
}

const forward = async (destination) =>
  JSON.parse(await gatewardWith(destination.environment, "forward", "--once", "--json", "--destination", destination.name));
const check = async (destination) =>
  JSON.parse(await gatewardWith(destination.environment, "destination", "check", destination.name, "--json"));

/** A project with its events: two aggregates, and one of them changed again and again. */
async function happen(changes = 3) {
  const slug = ownName("events");
  const folder = await mkdtemp(join(tmpdir(), "gateward-e2e-"));
  try {
    for (let change = 0; change < changes; change += 1) {
      const text = `[workspace]\nslug = "${slug}"\nname = "Events ${change} ä\\"\\\\"\n[[project]]\nslug = "${slug}"\n
[[project.service]]\nslug = "api"\nupstreams = ["http://127.0.0.1:9100"]\n`;
      await writeFile(join(folder, "apply.toml"), text);
      await gateward("apply", join(folder, "apply.toml"));
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  return slug;
}

/** Every event there is, in the order of its aggregate. */
const events = () =>
  command(`SELECT event_id, workspace_id, aggregate_type, aggregate_id, version::int, event_type, schema_version, payload, metadata, occurred_at
           FROM auth_gateway.events ORDER BY aggregate_type, aggregate_id, version`);

/** Fails unless first deliveries came in the order of each aggregate, without a gap from where it began. */
function assertOrdered(seen) {
  const last = new Map();
  for (const { aggregate_type, aggregate_id, version } of seen) {
    const key = `${aggregate_type} ${aggregate_id}`;
    if (last.has(key)) assert.equal(version, last.get(key) + 1, key);
    last.set(key, version);
  }
}

test("a webhook is verified by the reference library and by Node's own Ed25519, also while keys rotate", async () => {
  const secret = `whsec_${randomBytes(32).toString("base64")}`;
  const { privateKey } = generateKeyPairSync("ed25519");
  const seed = privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
  const library = new Webhook(secret);
  const attempts = [];
  let refuse = () => undefined;
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString();
    const event = library.verify(body, request.headers);
    const signature = request.headers["webhook-signature"].split(" ").find((one) => one.startsWith("v1a,"));
    const content = `${request.headers["webhook-id"]}.${request.headers["webhook-timestamp"]}.${body}`;
    const ed25519 = signature && verify(null, Buffer.from(content), createPublicKey(privateKey), Buffer.from(signature.slice(4), "base64"));
    const status = refuse(event) ?? 204;
    attempts.push({ id: request.headers["webhook-id"], event, ed25519, status });
    response.writeHead(status).end();
  });
  server.on("clientError", (error) => assert.fail(error));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(() => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))));

  const both = `whsk_${seed.toString("base64")},${secret}`;
  const destination = await add("webhook", { SECRETS: both }, "--url", `http://127.0.0.1:${server.address().port}/hooks`);
  const checked = await check(destination);
  assert.equal(checked.ok, true);
  const publicKey = createPublicKey(privateKey).export({ format: "der", type: "spki" }).subarray(-32).toString("base64");
  assert.ok(checked.found.includes(`whpk_${publicKey}`), checked.found);
  assert.equal(attempts[0].event.type, "test");
  assert.equal(attempts[0].ed25519, true);
  attempts.length = 0;

  await happen(4);
  // The first project event is refused once: it comes again, with the same id, and what follows it stays behind it.
  let refused;
  refuse = (event) => {
    if (event.event_type !== "ProjectCreated" || refused !== undefined) return undefined;
    refused = event.event_id;
    return 422;
  };
  await assert.rejects(forward(destination), /1 refused/);
  await until("the refused event is delivered", async () => {
    await forward(destination).catch(() => {});
    return attempts.some((one) => one.id === refused && one.status === 204);
  });
  // The gateway under test has events of its own.
  await until("the queue is empty", async () => {
    await forward(destination);
    return (await command("SELECT 1 FROM auth_gateway.outbox WHERE destination_id = $1 LIMIT 1", [destination.id])).length === 0;
  });
  const taken = attempts.filter((one) => one.status === 204).map((one) => one.event);
  assertOrdered(taken);
  for (const { event_id, payload, metadata } of await events()) {
    const found = taken.find((one) => one.event_id === event_id);
    if (found === undefined) continue;
    assert.deepEqual([found.data, found.metadata], [payload, metadata]);
  }
  assert.ok(taken.length >= 5 && attempts.every((one) => one.ed25519 && one.id === one.event.event_id));

  // One that wants nothing any more is disabled, and keeps its queue.
  refuse = () => 410;
  await happen(1);
  await assert.rejects(forward(destination));
  const [listed] = JSON.parse(await gateward("destination", "list", "--json")).filter((one) => one.name === destination.name);
  assert.equal(listed.enabled, false);
  assert.match(listed.disabled_reason, /410/);
  assert.ok(listed.queued > 0);
});

test("a webhook on a private address is not called unless the operator has said so", async () => {
  let asked = 0;
  const server = createServer((_, response) => ((asked += 1), response.end()));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(() => new Promise((resolve) => server.close(resolve)));
  const secret = `whsec_${randomBytes(32).toString("base64")}`;
  const destination = await add("webhook", { SECRETS: secret }, "--url", `http://127.0.0.1:${server.address().port}/`);
  delete destination.environment.PRIVATE_DESTINATION_HOSTS;
  await assert.rejects(check(destination), (error) => {
    assert.match(error.message, /private or special-purpose address.*PRIVATE_DESTINATION_HOSTS/);
    assert.ok(!error.message.includes(secret));
    return true;
  });
  assert.equal(asked, 0);
});

test("without credentials nothing is forwarded, and all that are missing are named at once", async () => {
  const hooks = await add("webhook", {});
  const rest = await add("postgrest", {});
  const bus = await add("nats", {});
  await assert.rejects(
    gatewardWith({}, "forward", "--once", ...[hooks, rest, bus].flatMap(({ name }) => ["--destination", name])),
    (error) => {
      assert.match(error.message, /^gateward forward.*: 2/);
      for (const [{ name }, what] of [[hooks, "SECRETS"], [hooks, "URL"], [rest, "URL"], [rest, "SERVICE_KEY"], [bus, "URL"]]) {
        assert.ok(error.message.includes(`DESTINATION_${name.toUpperCase().replaceAll("-", "_")}_${what}`), `${name} ${what}`);
      }
      return true;
    },
  );
});

test("PostgREST's statement stores each event once, for a role that may insert and see event_id, and the documentation's SQL does it", async () => {
  // Names in the SQL are those of the page; the database is the test's own.
  const page = await readFile(new URL("../docs/how-to/send-events-to-supabase.md", import.meta.url), "utf8");
  const [table, rights] = [...page.matchAll(/^( *)```sql\n([\s\S]*?)^ *```$/gm)].map(([, , sql]) => sql);
  const name = ownName("postgrest").replaceAll("-", "_");
  const admin = async (sql, url = gateway.read_database_url) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query(sql)).rows;
    } finally {
      await client.end();
    }
  };
  await admin(`CREATE DATABASE ${name}`);
  const url = new URL(gateway.read_database_url);
  url.pathname = `/${name}`;
  const own = (sql) => admin(sql, url.href);
  const role = name;
  await own(table);
  await own(rights.replaceAll("auth_events_writer", role));
  const key = `sb_secret_${randomBytes(16).toString("hex")}`;
  const server = await startPostgrest({ databaseUrl: url.href, role, key, basePath: "" });
  ended.push(async () => {
    await server.close();
    await admin(`DROP DATABASE ${name} WITH (FORCE)`);
    await admin(`DROP ROLE ${role}`);
  });

  await happen(2);
  const destination = await add("postgrest", { URL: server.url, SERVICE_KEY: key }, "--base-path", "", "--backfill");
  assert.ok(destination.backfilled > 2);
  assert.deepEqual(await check(destination), { destination: destination.name, ok: true, found: "its table takes events" });
  // Stored, but the answer is lost: what comes again takes effect once.
  server.next.push("apply-then-close");
  await assert.rejects(forward(destination));
  await forward(destination);
  await happen(2);
  await forward(destination);

  const stored = await own(
    `SELECT event_id, workspace_id, aggregate_type, aggregate_id, version::int, event_type, schema_version, payload, metadata, occurred_at
     FROM auth_events ORDER BY aggregate_type, aggregate_id, version`,
  );
  const ids = new Set(stored.map((row) => row.event_id));
  assert.deepEqual(stored, (await events()).filter((row) => ids.has(row.event_id)));
  assert.ok(stored.length >= destination.backfilled);
  assertOrdered(stored);
  assert.deepEqual(server.seen.violations, []);

  // A row that the table refuses is set aside with its aggregate; the others arrive.
  await own("ALTER TABLE auth_events ADD CHECK (event_type <> 'WorkspaceUpdated') NOT VALID");
  const slug = await happen(3);
  await until("the refused row is set aside", async () => {
    await forward(destination).catch(() => {});
    const failed = await command("SELECT last_error FROM auth_gateway.outbox_failed WHERE destination_id = $1", [destination.id]);
    return failed.length > 0 || (await command("SELECT 1 FROM auth_gateway.outbox WHERE destination_id = $1 AND attempts > 0", [destination.id])).length > 0;
  });
  const workspaces = await own(`SELECT 1 FROM auth_events WHERE payload ->> 'slug' = '${slug}' AND event_type = 'ProjectCreated'`);
  assert.equal(workspaces.length, 1);

  // What is wrong is said in words, and never with the key.
  for (const [sql, undo, said] of [
    [`REVOKE INSERT ON auth_events FROM ${role}`, `GRANT INSERT ON auth_events TO ${role}`, /42501.*grant it INSERT/],
    [`REVOKE SELECT (event_id) ON auth_events FROM ${role}`, `GRANT SELECT (event_id) ON auth_events TO ${role}`, /42501.*SELECT \(event_id\)/],
    ["ALTER TABLE auth_events RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO auth_events", /404.*no such table/],
    ["ALTER TABLE auth_events RENAME COLUMN metadata TO meta", "ALTER TABLE auth_events RENAME COLUMN meta TO metadata", /lacks a column/],
  ]) {
    await own(sql);
    await assert.rejects(check(destination), (error) => {
      assert.match(error.message, said);
      return !error.message.includes(key);
    });
    await own(undo);
  }
  const wrong = { ...destination, environment: { ...destination.environment } };
  const variable = Object.keys(wrong.environment).find((one) => one.endsWith("_SERVICE_KEY"));
  wrong.environment[variable] = "another-service-key";
  await assert.rejects(check(wrong), /401.*service key/);
  assert.equal((await check(destination)).ok, true);
});

test("a stream of NATS holds each event once and in order, as its official client reads it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "gateward-nats-"));
  const program = process.env.NATS_SERVER ?? "nats-server";
  const server = spawn(program, ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder, "-js", "-sd", folder], { stdio: "ignore" });
  ended.push(async () => {
    if (server.exitCode === null && server.kill()) await once(server, "exit");
    await rm(folder, { recursive: true });
  });
  const [url] = await until("nats-server listens", async () => {
    const file = (await readdir(folder)).find((one) => one.endsWith(".ports"));
    return JSON.parse(await readFile(join(folder, file), "utf8")).nats;
  });
  const prefix = ownName("acme");
  const destination = await add("nats", { URL: url }, "--prefix", prefix, "--backfill");
  await assert.rejects(check(destination), (error) => {
    assert.ok(error.message.includes(`nats stream add ${prefix.toUpperCase()} --subjects '${prefix}.>'`), error.message);
    return true;
  });
  const connection = await connect({ servers: url });
  ended.push(() => connection.close());
  const manager = await connection.jetstreamManager();
  await manager.streams.add({ name: "EVENTS", subjects: [`${prefix}.>`] });
  assert.equal((await check(destination)).found, "its events go to stream EVENTS");

  await happen(5);
  await forward(destination);
  // All of it once more, as after a restored backup.
  await gateward("destination", "disable", destination.name);
  await gateward("destination", "enable", destination.name, "--backfill");
  await forward(destination);

  const { state } = await manager.streams.info("EVENTS");
  const messages = [];
  for (let sequence = 1; sequence <= state.last_seq; sequence += 1) {
    const message = await manager.streams.getMessage("EVENTS", { seq: sequence });
    const event = message.json();
    assert.equal(message.subject, `${prefix}.${event.aggregate_type}.${event.event_type}`);
    assert.equal(message.header.get("Nats-Msg-Id"), event.event_id);
    messages.push(event);
  }
  assert.equal(new Set(messages.map((event) => event.event_id)).size, messages.length, "one is there twice");
  assertOrdered(messages);
  const held = new Map(messages.map((event) => [event.event_id, event]));
  for (const { event_id, payload, version } of await events()) {
    if (held.has(event_id)) assert.deepEqual([held.get(event_id).data, held.get(event_id).version], [payload, version]);
  }
  assert.ok(messages.length > destination.backfilled);
});

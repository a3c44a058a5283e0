// Accounts and API keys from another system, through the whole gateway: sent as webhooks to the edge, known there by their hash, and
// a backfill of 100,000 keys that neither door may hold in memory.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { after, before, test } from "node:test";
import { assertProblem } from "./driver/assertions.mjs";
import * as database from "./driver/database.mjs";
import { startEdges } from "./driver/edges.mjs";
import { gateward, ownName } from "./driver/gateward.mjs";
import { gateway, issuer, record } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { assertEventsAreWhole, assertReadSideIsEqual } from "./driver/record.mjs";
import { until } from "./driver/until.mjs";

/** The published bound of a change, in milliseconds. */
const BOUND = 6_000;
const KEYS = Number(process.env.SYNC_KEYS ?? 100_000);
/** What the backfill may add to the memory of the origin and of the edge, in MiB. */
const ORIGIN_MIB = 64;
const EDGE_MIB = 64;
const NDJSON = "application/x-ndjson";

const secret = gateway.environment.WEBHOOK_SECRET;
const organization = randomUUID();
const project = ownName("sync");
const person = randomUUID();
const http = new HttpClient();

const webhook = (path, body, { headers = {}, base = issuer, client = http } = {}) =>
  client.send("POST", `${base}/v1/sync/${path}`, {
    headers: { "content-type": "application/json", "x-webhook-secret": secret, "x-service-name": "e2e", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

async function good(path, body, options) {
  const answer = await webhook(path, body, options);
  assert.equal(answer.status, 200, answer.text);
  return answer.json;
}

const hash = (key) => createHash("sha256").update(key).digest("hex");
/** A key of another system's making, as its holder presents it. */
const freshKey = () => `lanonasis-${randomBytes(24).toString("base64url")}`;
const keyRecord = (key, more = {}) => ({
  id: randomUUID(),
  user_id: person,
  organization_id: organization,
  name: "e2e",
  key_hash: hash(key),
  permissions: ["notes:read"],
  ...more,
});
const call = (key) => http.get(`${issuer}/${project}/api/hello`, { headers: { "x-api-key": key } });

before(async () => {
  const folder = await mkdtemp(join(tmpdir(), "gateward-sync-"));
  const text = `[workspace]
slug = "org-${organization}"
name = "Synced"
[[project]]
slug = "${project}"
[[project.service]]
slug = "api"
upstreams = ["${gateway.upstream_url}"]
scopes = ["notes:read"]
public = [{ method = "GET", path = "/health" }]
credentials = ["opaque_token"]
`;
  await writeFile(join(folder, "apply.toml"), text);
  await gateward("apply", join(folder, "apply.toml"));
  await rm(folder, { recursive: true });
  const known = async () => (await http.get(`${issuer}/${project}/api/health`)).status === 200;
  await until("the edge knows the project", known, { within: BOUND });
  await good("user", { id: person, email: `${person}@example.test`, metadata: { plan: "pro" } });
});

after(() => http.close());

/** Waits until a key is let through, or refused, and says how long that took. */
async function settles(key, status, within = BOUND) {
  const from = performance.now();
  const answer = await until(
    `the key gets ${status}`,
    async () => {
      const answer = await call(key);
      return answer.status === status && answer;
    },
    { within, every: 50 },
  );
  return { answer, took: performance.now() - from };
}

test("a synced key opens its project by its hash, until it is rotated and revoked at its source", async (t) => {
  const [first, second] = [freshKey(), freshKey()];
  const key = keyRecord(first);
  const created = await good("api-key", { ...key, event_type: "CREATE" });
  assert.deepEqual([created.event_type, created.outcome, created.project, created.key_hash_stored], ["ApiKeyCreated", "created", project, true]);
  const { answer } = await settles(first, 200);
  assert.equal(answer.json.headers["x-gateway-subject"], person);
  assert.equal(answer.json.headers["x-gateway-token-id"], key.id);
  assert.equal(answer.json.headers["x-gateway-scopes"], "notes:read");
  assert.ok(!answer.text.includes(first), "the key reached the upstream");

  // What the edge remembers of the key is out of date at once.
  await good("api-key", { ...key, key_hash: hash(second), old_key_hash: hash(first), event_type: "ROTATE" });
  const rotated = await settles(first, 401);
  await settles(second, 200);
  await good("api-key", { ...key, key_hash: hash(second), event_type: "REVOKE" });
  const revoked = await settles(second, 401);
  assertProblem(revoked.answer, 401, "token-revoked");
  t.diagnostic(`rotated: the key before is refused after ${rotated.took.toFixed(0)} ms; revoked: after ${revoked.took.toFixed(0)} ms (bound ${BOUND} ms)`);

  // Nothing brings it back, and nothing more is recorded.
  for (const event_type of ["UPDATE", "CREATE", "ROTATE", "REVOKE"]) {
    const late = await good("api-key", { ...key, key_hash: hash(second), event_type });
    assert.deepEqual([late.outcome, late.status], ["unchanged", "revoked"]);
  }
  assert.equal((await call(second)).status, 401);
  const events = await database.command(
    "SELECT event_type, metadata->>'service_name' AS sender, payload::text FROM auth_gateway.events WHERE aggregate_type = 'api_key' AND aggregate_id = $1 ORDER BY version",
    [key.id],
  );
  assert.deepEqual(events.map(({ event_type }) => event_type), ["ApiKeyCreated", "ApiKeyRotated", "ApiKeyRevoked"]);
  assert.ok(events.every(({ sender, payload }) => sender === "e2e" && !payload.includes(hash(first)) && !payload.includes(hash(second))));
  await until("the events are on the read side", async () => {
    const [{ count }] = await database.readSide("SELECT count(*)::int FROM public.auth_events WHERE aggregate_id = $1", [key.id]);
    return count === 3;
  });
});

test("a wrong secret opens nothing, and pages cannot try", async () => {
  const body = { id: randomUUID(), email: `${randomUUID()}@example.test` };
  for (const path of ["user", "api-key", "backfill-api-keys"]) {
    for (const wrong of [undefined, "", "x", secret.slice(1), `${secret}x`, secret.toUpperCase()]) {
      const client = new HttpClient();
      const headers = { "content-type": "application/json", ...(wrong === undefined ? {} : { "x-webhook-secret": wrong }) };
      const answer = await client.send("POST", `${issuer}/v1/sync/${path}`, { headers, body: JSON.stringify(body) });
      assertProblem(answer, 401, "webhook-secret-refused");
      client.close();
    }
    const headers = { origin: "https://app.test", "access-control-request-method": "POST", "access-control-request-headers": "x-webhook-secret" };
    const preflight = await http.send("OPTIONS", `${issuer}/v1/sync/${path}`, { headers });
    assertProblem(preflight, 405, "method-not-allowed");
    assert.equal(preflight.headers["access-control-allow-origin"], undefined);
    assertProblem(await http.get(`${issuer}/v1/sync/${path}`), 405, "method-not-allowed");
  }
  assert.deepEqual(await database.command("SELECT id FROM auth_gateway.user_accounts WHERE id = $1", [body.id]), []);
  // Guessing is counted by address.
  const guesser = new HttpClient();
  let refused;
  for (let guess = 0; guess < 400 && refused?.status !== 429; guess += 1) {
    refused = await webhook("user", body, { client: guesser, headers: { "x-webhook-secret": `a wrong guess of thirty-two bytes ${guess}` } });
  }
  assertProblem(refused, 429, "rate-limited");
  guesser.close();
});

test("two secrets are good while one takes the other's place", async () => {
  const fresh = randomBytes(32).toString("base64url");
  const rotating = await startDoors({ WEBHOOK_SECRET: fresh, WEBHOOK_SECRET_PREVIOUS: secret });
  const rotated = await startDoors({ WEBHOOK_SECRET: fresh });
  try {
    const user = { id: randomUUID(), email: `${randomUUID()}@example.test` };
    for (const [base, sent, status] of [
      [issuer, secret, 200],
      [issuer, fresh, 401],
      [rotating.url, secret, 200],
      [rotating.url, fresh, 200],
      [rotated.url, fresh, 200],
      [rotated.url, secret, 401],
    ]) {
      const answer = await webhook("user", user, { base, headers: { "x-webhook-secret": sent } });
      assert.equal(answer.status, status, answer.text);
    }
  } finally {
    await rotating.stop();
    await rotated.stop();
  }
});

test("what is refused names its field, and a raw key is nowhere afterwards", async () => {
  const bare = randomBytes(32).toString("base64url");
  const raw = [`gw_live_${randomBytes(20).toString("hex")}`, `sk_live_${randomBytes(12).toString("hex")}`, `whsec_${randomBytes(12).toString("hex")}`, `eyJ${randomBytes(30).toString("hex")}`, bare];
  const key = keyRecord(freshKey());
  for (const value of raw) {
    for (const [changes, field] of [
      [{ name: value }, "name"],
      [{ anything: { deep: [value] } }, "anything.deep"],
      [{ [value]: 1 }, "(a member)"],
    ]) {
      const client = new HttpClient();
      const answer = await webhook("api-key", { ...key, ...changes }, { client });
      const problem = assertProblem(answer, 422, "raw-key-refused");
      assert.deepEqual(problem.faults.map((fault) => fault.field), [field]);
      assert.ok(!answer.text.includes(value), answer.text);
      client.close();
    }
  }
  const row = JSON.stringify({ ...key, name: raw[1] });
  const report = await good("backfill-api-keys", row, { headers: { "content-type": NDJSON } });
  assert.deepEqual(report.faults.map(({ row, field, type }) => [row, field, type.split("/").at(-1)]), [[1, "name", "raw-key-refused"]]);
  assertProblem(await webhook("api-key", { ...key, key_hash: "hunter2" }), 422, "sync-refused");
  assertProblem(await webhook("api-key", { ...key, user_id: randomUUID() }), 422, "sync-refused");
  assertProblem(await webhook("user", { id: randomUUID(), email: `${person}@EXAMPLE.test` }), 409, "sync-conflict");
  assertProblem(await webhook("user", "{"), 400, "request-malformed");
  assertProblem(await webhook("user", { id: randomUUID(), email: "a@example.test" }, { headers: { "x-service-name": "a b" } }), 400, "request-malformed");

  const folder = join(gateway.data, "logs");
  for (const file of await readdir(folder)) {
    const text = await readFile(join(folder, file), "utf8");
    for (const value of raw) assert.ok(!text.includes(value), `${file} holds a key`);
    assert.ok(!text.includes(secret), `${file} holds the secret`);
  }
  for (const [side, read] of [["command", database.command], ["read", database.readSide]]) {
    const tables = await read("SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables WHERE schemaname IN ('auth_gateway', 'security_service', 'public')");
    for (const { name } of tables) {
      const found = await read(`SELECT count(*)::int AS rows FROM ${name} AS t WHERE ${raw.map((_, at) => `t::text LIKE '%' || $${at + 1} || '%'`).join(" OR ")}`, raw);
      assert.equal(found[0].rows, 0, `${name} (${side}) holds a key`);
    }
  }
  const metrics = await (await fetch(`${gateway.origin_url}/metrics`)).text();
  for (const reason of ["raw_key", "field", "conflict", "malformed", "service_name", "secret_wrong"]) {
    assert.match(metrics, new RegExp(`^gateward_origin_sync_refused_total\\{reason="${reason}"\\} [1-9]`, "m"));
  }
});

/** A row of the backfill; the same every time. */
const run = randomBytes(4).toString("hex");
const rowId = (number) => `${run}-0000-4000-8000-${number.toString(16).padStart(12, "0")}`;
const row = (number) => JSON.stringify(keyRecord(`${run} ${number}`, { id: rowId(number), name: `key ${number}`, created_at: "2026-01-01T00:00:00Z" }));

test(`a backfill of ${KEYS} keys passes both doors in bounded memory, and tells its bad rows`, { timeout: 900_000 }, async (t) => {
  const bad = new Map([[7, "{bad}"], [Math.floor(KEYS / 2), row(3).replace(/"id":"[^"]*"/, '"id":"no"')], [KEYS - 1, row(5).replace('"name":"key 5"', '"name":"sk_live_abcdefgh"')]]);
  const rows = function* (separator) {
    for (let number = 1; number <= KEYS; number += 1) yield `${number > 1 ? separator : ""}${bad.get(number) ?? row(number)}`;
  };
  const bytes = { sent: 0 };
  for (const [what, type, open, separator, close] of [
    ["NDJSON", NDJSON, "", "\n", "\n"],
    ["JSON", "application/json", '{"source":"e2e","keys":[', ",", "]}"],
  ]) {
    const memory = watchMemory();
    const started = performance.now();
    const { status, lines } = await stream("", type, function* () {
      bytes.sent = 0;
      // In pieces of some kilobytes, as a client sends them.
      let piece = open;
      for (const text of rows(separator)) {
        piece += text;
        if (piece.length > 16_000) {
          bytes.sent += piece.length;
          yield piece;
          piece = "";
        }
      }
      yield piece + close;
    });
    const seconds = (performance.now() - started) / 1000;
    const { origin, edge } = memory.stop();
    assert.equal(status, 200);
    const report = lines.at(-1);
    const counts = [report.created, report.updated, report.unchanged, report.refused];
    assert.deepEqual(counts, what === "NDJSON" ? [KEYS - 3, 0, 0, 3] : [0, 0, KEYS - 3, 3], JSON.stringify(report));
    assert.deepEqual([report.complete, report.after, report.total], [true, KEYS, KEYS]);
    const faults = lines.filter(({ kind }) => kind === "fault").map(({ row, field, type }) => [row, field, type.split("/").at(-1)]);
    assert.deepEqual(faults.sort(([one], [other]) => one - other), [[7, null, "request-malformed"], [Math.floor(KEYS / 2), "id", "sync-refused"], [KEYS - 1, "name", "raw-key-refused"]]);
    t.diagnostic(`${what}: ${KEYS} rows, ${(bytes.sent / 1e6).toFixed(1)} MB in ${seconds.toFixed(1)} s (${(KEYS / seconds).toFixed(0)} rows/s); memory at most: origin +${origin.grown} MiB (to ${origin.most}), edge +${edge.grown} MiB (to ${edge.most})`);
    assert.ok(origin.grown <= ORIGIN_MIB, `the origin grew by ${origin.grown} MiB`);
    assert.ok(edge.grown <= EDGE_MIB, `the edge grew by ${edge.grown} MiB`);
  }
  const [{ keys, events }] = await database.command(
    `SELECT (SELECT count(*)::int FROM security_service.api_keys WHERE id::text LIKE $1) AS keys,
            (SELECT count(*)::int FROM auth_gateway.events WHERE aggregate_type = 'api_key' AND aggregate_id::text LIKE $1) AS events`,
    [`${run}-%`],
  );
  assert.deepEqual([keys, events], [KEYS - 3, KEYS - 3]);
});

test("a backfill that is cut off keeps what it had, and goes on from there", { timeout: 300_000 }, async (t) => {
  const all = 6_000;
  const own = randomBytes(4).toString("hex");
  const text = (number) => `${JSON.stringify(keyRecord(`${own} ${number}`, { id: `${own}-0000-4000-8000-${number.toString(16).padStart(12, "0")}` }))}\n`;
  const stored = async () => (await database.command("SELECT count(*)::int AS keys FROM security_service.api_keys WHERE id::text LIKE $1", [`${own}-%`]))[0].keys;
  // The connection breaks off in the middle of a row, once progress has been told.
  const { request, answered } = openBackfill("");
  let heard = 0;
  const progress = answered.then(async (response) => {
    try {
      for await (const line of createInterface({ input: response })) heard = Math.max(heard, JSON.parse(line).after ?? 0);
    } catch {
      // That it breaks off is what is tested.
    }
  });
  let number = 0;
  while (number < 2_700) {
    number += 1;
    if (!request.write(text(number))) await once(request, "drain");
  }
  await until("progress is told", () => heard > 0, { within: 60_000 });
  request.write(text(number + 1).slice(0, 50));
  await until("the half row is on its way", () => request.writableLength === 0);
  request.on("error", () => {}).destroy();
  await progress.catch(() => {});
  // What had come is stored, down to the last whole row.
  await until("what came is stored", async () => (await stored()) === number, { within: 60_000 });
  assert.ok(heard <= number);
  const { lines } = await stream(`?after=${heard}`, NDJSON, function* () {
    for (let number = 1; number <= all; number += 1) yield text(number);
  });
  const report = lines.at(-1);
  assert.deepEqual([report.complete, report.success, report.skipped, report.after], [true, true, heard, all]);
  assert.deepEqual([report.created, report.unchanged], [all - number, number - heard]);
  assert.equal(await stored(), all);
  t.diagnostic(`cut after row ${number}, of which ${heard} had been reported; the rest was sent from there`);
});

test("everything that the webhooks recorded is whole, and is on the read side", { timeout: 300_000 }, async () => {
  await assertEventsAreWhole();
  await assertReadSideIsEqual({ within: 240_000 });
});

/** A request for a backfill whose body the caller writes. */
function openBackfill(query, type = NDJSON) {
  const url = new URL(`${issuer}/v1/sync/backfill-api-keys${query}`);
  const headers = { "content-type": type, accept: NDJSON, "x-webhook-secret": secret };
  const request = httpRequest(url, { method: "POST", headers, localAddress: http.address });
  const answered = new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
  request.flushHeaders();
  return { request, answered };
}

/** Sends a body piece by piece, never holding more of it than the socket takes; the report's lines. */
async function stream(query, type, pieces) {
  const { request, answered } = openBackfill(query, type);
  const lines = answered.then(async (response) => {
    const lines = [];
    for await (const line of createInterface({ input: response })) lines.push(JSON.parse(line));
    return { status: response.statusCode, lines };
  });
  await Promise.all([pipeline(Readable.from(pieces(), { objectMode: false, highWaterMark: 64 * 1024 }), request), lines]);
  return lines;
}

/** How much memory origin and edge have at most while it watches, and how much more than before, in MiB. */
function watchMemory() {
  const { processes } = record();
  const residentOf = async (pid) => Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
  const seen = { origin: [], edge: [] };
  const look = async () => {
    for (const part of Object.keys(seen)) seen[part].push(Math.round(await residentOf(processes[part])));
  };
  const watching = setInterval(() => look().catch(() => {}), 100);
  look().catch(() => {});
  return {
    stop: () => {
      clearInterval(watching);
      const of = (values) => ({ most: Math.max(...values), grown: Math.max(...values) - values[0] });
      return { origin: of(seen.origin), edge: of(seen.edge) };
    },
  };
}

/** An origin of its own on the gateway's databases, with `changes` to its environment, and an edge before it. */
async function startDoors(changes) {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const child = spawn(gateway.gateward, ["serve"], {
    env: { PATH: process.env.PATH, ...gateway.environment, ...changes, PORT: String(port) },
    stdio: "ignore",
  });
  const ended = once(child, "exit");
  const url = `http://127.0.0.1:${port}`;
  await until("the origin answers", async () => (await fetch(`${url}/ping`)).ok, { within: 20_000 });
  const edges = await startEdges(1, { ORIGIN_URL: url });
  return {
    url: edges.urls[0],
    stop: async () => {
      await edges.stop();
      child.kill("SIGTERM");
      await ended;
    },
  };
}

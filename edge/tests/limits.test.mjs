// The limits that are counted outside an isolate: the exact ones, by an object for all isolates, and those of a location.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Keys, Origin, accessToken, form, gatewayTest, rigTest, startEdge, startUpstream } from "./rig.mjs";

// A day: while a test runs, less than one request is refilled.
const exactly = (requests, by = "service") => ({ by, requests, window_seconds: 86_400, tier: "exact" });

/** Sends `count` requests to the ports in turn, over a few connections kept open, and returns how many had which status. */
async function flood(ports, count, token) {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const statuses = {};
  let next = 0;
  const send = (port) => new Promise((resolve, reject) => {
    const outgoing = httpRequest({ host: "127.0.0.1", port, path: "/notes/api/x", agent, headers: { Authorization: `Bearer ${token}` } }, (response) => {
      statuses[response.statusCode] = (statuses[response.statusCode] ?? 0) + 1;
      response.resume().once("end", resolve).once("error", reject);
    });
    outgoing.once("error", reject).end();
  });
  const lane = async () => { while (next < count) await send(ports[next++ % ports.length]); };
  await Promise.all(Array.from({ length: 16 }, lane));
  agent.destroy();
  return statuses;
}

async function start(rig, limits, options = {}) {
  const keys = new Keys();
  const upstream = await startUpstream(rig, (request, response) => response.end("x"));
  const origin = await new Origin(keys, upstream.url, (policy) => { policy.projects.notes.services.api.limits = limits; }).start(rig);
  const edge = await startEdge(rig, keys, origin.server.url, { ACCESS_LOG: "off" }, { exactLimits: true, ...options });
  return { keys, upstream, origin, edge };
}

rigTest("8 isolates and 10,000 requests: exactly the allowed number passes", async (rig) => {
  const { keys, upstream, edge } = await start(rig, [exactly(731)], { isolates: 8 });
  const statuses = await flood(edge.ports, 10_000, accessToken(keys));
  assert.deepEqual(statuses, { 200: 731, 429: 9_269 });
  assert.equal(upstream.requests.length, 731);
});

rigTest("an object that is killed in the middle has forgotten nothing", async (rig) => {
  const storage = mkdtempSync(join(tmpdir(), "gateward-limits-"));
  rig.onStop(() => rmSync(storage, { recursive: true }));
  const keys = new Keys();
  const upstream = await startUpstream(rig, (request, response) => response.end("x"));
  const origin = await new Origin(keys, upstream.url, (policy) => { policy.projects.notes.services.api.limits = [exactly(200)]; }).start(rig);
  const token = accessToken(keys);
  let passed = 0;
  for (let round = 0; round < 4; round += 1) {
    const edge = await startEdge(rig, keys, origin.server.url, { ACCESS_LOG: "off" }, { exactLimits: true, storage, isolates: 2 });
    const statuses = await flood(edge.ports, 80, token);
    passed += statuses[200] ?? 0;
    await edge.kill();
  }
  assert.equal(passed, 200);
  assert.equal(upstream.requests.length, 200);
});

rigTest("the answers say what is left, and which tier counted", async (rig) => {
  const { keys, edge } = await start(rig, [exactly(3, "subject"), { by: "address", requests: 100, window_seconds: 60 }]);
  const call = () => edge.request("/notes/api/x", { token: accessToken(keys) });
  const first = await call();
  assert.equal(first.status, 200);
  assert.match(first.headers["ratelimit-policy"], /"service-subject";q=3;w=86400;tier=exact/);
  assert.match(first.headers["ratelimit-policy"], /"service-address";q=100;w=60;tier=isolate/);
  assert.match(first.headers.ratelimit, /"service-subject";r=2/);
  await call();
  await call();
  const refused = await call();
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers["retry-after"]) > 28_000);
  const metrics = (await edge.request("/metrics")).text;
  assert.match(metrics, /^gateward_edge_limits_total\{tier="exact",outcome="allowed"\} 3$/m);
  assert.match(metrics, /^gateward_edge_limits_total\{tier="exact",outcome="refused"\} 1$/m);
  assert.doesNotMatch(metrics, /tier="isolate"/);
  assert.match(metrics, /^gateward_edge_binding\{name="EXACT_LIMITS"\} 1$/m);
});

const broken = { "rig:broken": "export default () => ({ idFromName: (name) => name, get: () => ({ fetch: () => Promise.reject(new Error('no such object')) }) });" };
rigTest("an object that does not answer leaves the isolate to count, and the answer and the metrics say so", async (rig) => {
  const { keys, edge } = await start(rig, [exactly(2)], { exactLimits: false, extensions: broken, more: ['(name = "EXACT_LIMITS", wrapped = (moduleName = "rig:broken"))'] });
  const call = () => edge.request("/notes/api/x", { token: accessToken(keys) });
  const first = await call();
  assert.equal(first.status, 200);
  assert.match(first.headers["ratelimit-policy"], /tier=isolate/);
  assert.equal((await call()).status, 200);
  assert.equal((await call()).status, 429);
  const metrics = (await edge.request("/metrics")).text;
  assert.match(metrics, /^gateward_edge_limits_total\{tier="exact",outcome="unreachable"\} 3$/m);
  assert.match(metrics, /^gateward_edge_limits_total\{tier="isolate",outcome="refused"\} 1$/m);
  await edge.logged(/exact limits: an object did not answer/);
});

const hanging = `export { default } from "./entry.mjs";
export class ExactLimits { fetch() { return new Promise((resolve) => setTimeout(resolve, 60_000)); } }`;
rigTest("an object that takes too long is not waited for", async (rig) => {
  const { keys, edge } = await start(rig, [exactly(2)], { entry: hanging });
  const started = performance.now();
  const answer = await edge.request("/notes/api/x", { token: accessToken(keys) });
  assert.equal(answer.status, 200);
  assert.match(answer.headers["ratelimit-policy"], /tier=isolate/);
  assert.ok(performance.now() - started < 10_000);
});

rigTest("without the binding isolates count, and log and metrics say so", async (rig) => {
  const { keys, edge } = await start(rig, [exactly(2)], { exactLimits: false });
  const call = () => edge.request("/notes/api/x", { token: accessToken(keys) });
  assert.match((await call()).headers["ratelimit-policy"], /tier=isolate/);
  assert.equal((await call()).status, 200);
  assert.equal((await call()).status, 429);
  await edge.logged(/configuration: not bound: .*EXACT_LIMITS \(each isolate counts exact limits for itself/);
  assert.match((await edge.request("/metrics")).text, /^gateward_edge_binding\{name="EXACT_LIMITS"\} 0$/m);
});

rigTest("a limit that the policy changes holds for the next request", async (rig) => {
  const { keys, origin, edge } = await start(rig, [exactly(1)]);
  const call = () => edge.request("/notes/api/x", { token: accessToken(keys) });
  assert.deepEqual([(await call()).status, (await call()).status], [200, 429]);
  // What was counted is further ahead than the new window is long, and so forgotten.
  origin.policy.projects.notes.services.api.limits = [{ ...exactly(1_000), window_seconds: 60 }];
  origin.version += 1;
  origin.madeAt = () => Date.now() - 6_000;
  const deadline = Date.now() + 20_000;
  while ((await call()).status !== 200) assert.ok(Date.now() < deadline);
});

// What the platform's binding looks like from within: it counts for a location, and says no more than yes or no.
const location = (body) => ({ "rig:location": `let left = 2; export default () => ({ limit: async ({ key }) => { ${body} } });` });
const withLocation = (body) => ({ edge: { extensions: location(body), more: ['(name = "LOCATION_LIMIT", wrapped = (moduleName = "rig:location"))'] } });

gatewayTest("the location counts what presents credentials, by address, and nothing else", async ({ keys, origin, edge }) => {
  const post = (path, body) => edge.request(path, form(body));
  assert.equal((await post("/sign-in", { email: "a@b.test" })).status, 200);
  assert.equal((await post("/oauth/revoke", { client_id: "app", token: "t" })).status, 200);
  const forwarded = origin.forwarded.length;
  const refused = await post("/oauth/token", { grant_type: "refresh_token", client_id: "app", refresh_token: "x" });
  assert.equal(refused.status, 429);
  assert.equal(refused.headers["retry-after"], "10");
  assert.match(refused.text, /from this address/);
  assert.equal((await post("/sign-in", { email: "a@b.test" })).status, 429);
  assert.equal(origin.forwarded.length, forwarded);
  assert.equal((await edge.request("/sign-in")).status, 200);
  assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys) })).status, 200);
  const metrics = (await edge.request("/metrics")).text;
  assert.match(metrics, /^gateward_edge_limits_total\{tier="location",outcome="allowed"\} 2$/m);
  assert.match(metrics, /^gateward_edge_limits_total\{tier="location",outcome="refused"\} 2$/m);
}, withLocation("if (key !== '00000000000000000000ffff7f000001') throw new Error(key); left -= 1; return { success: left >= 0 };"));

gatewayTest("credential endpoints fail closed when the location cannot be asked", async ({ origin, edge }) => {
  assert.equal((await edge.request("/sign-in", form({ email: "a@b.test" }))).status, 429);
  assert.deepEqual(origin.forwarded, []);
  assert.match((await edge.request("/metrics")).text, /^gateward_edge_limits_total\{tier="location",outcome="unreachable"\} 1$/m);
}, withLocation("throw new Error('out of order');"));

// Alarms come at once here, and an object starts with what others left: 2,500 keys whose quota is whole again, and 10 in use.
const sweeping = `import { ExactLimits as Real } from "./exact-limits.mjs";
export { default } from "./entry.mjs";
export class ExactLimits extends Real {
  #sql;
  constructor({ storage }) {
    super({ storage: { sql: storage.sql, getAlarm: () => storage.getAlarm(), setAlarm: () => storage.setAlarm(Date.now()) } });
    this.#sql = storage.sql;
    const fill = (from, to, at) => { for (let key = from; key < to; key += 1) storage.sql.exec("INSERT OR IGNORE INTO arrivals VALUES (?, ?)", String(key).padStart(32, "0"), at); };
    fill(0, 2_500, 1);
    fill(2_500, 2_510, Date.now() * 1_000 + 3_600e6);
  }
  async alarm() {
    const rows = () => [...this.#sql.exec("SELECT count(*) AS rows FROM arrivals")][0].rows;
    const before = rows();
    if (before > 11) {
      await super.alarm();
      console.log("swept " + (before - rows()) + " of " + before);
    }
  }
}`;

rigTest("keys whose quota is whole again are forgotten, a batch at a time, and no others", async (rig) => {
  const { keys, edge } = await start(rig, [exactly(5)], { entry: sweeping });
  assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys) })).status, 200);
  for (const line of [/swept 1000 of 2511/, /swept 1000 of 1511/, /swept 500 of 511/]) await edge.logged(line);
});

// The policy at the edge: how old it may be, what is accepted in its place, and what happens while the origin is slow, gone or lying.
import assert from "node:assert/strict";
import { once } from "node:events";

import { Key, Keys, Origin, accessToken, form, gatewayTest, refreshToken, request, rigTest, startEdge, startUpstream } from "./rig.mjs";

const slug = (answer) => answer.json?.type?.split("/").at(-1);
const good = (keys) => ({ token: accessToken(keys) });

gatewayTest("a young policy is not asked about", async ({ keys, origin, edge }) => {
  for (let turn = 0; turn < 3; turn += 1) assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  assert.equal(origin.policyFetches, 1);
});

gatewayTest("past the soft age the request does not wait for the refresh", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 3_500;
  await edge.request("/notes/api/x", good(keys));
  let release;
  const arrived = new Promise((resolve) => { origin.policyAnswer = (_, response) => { release = response; resolve(); }; });
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  await arrived;
  assert.equal(origin.policyFetches, 2);
  // While somebody refreshes, nobody else does.
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  assert.equal(origin.policyFetches, 2);
  release.writeHead(500).end();
});

gatewayTest("a stale policy is refreshed before the decision; a confirmation makes it young again", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  await edge.request("/notes/api/x", good(keys));
  await edge.request("/notes/api/x", good(keys));
  assert.equal(origin.policyFetches, 2);
  assert.equal(origin.requests.at(-1).headers["if-none-match"], '"1"');
  origin.madeAt = () => Date.now();
  await edge.request("/notes/api/x", good(keys));
  assert.equal(origin.policyFetches, 3);
  await edge.request("/notes/api/x", good(keys));
  assert.equal(origin.policyFetches, 3);
  const metrics = (await edge.request("/metrics")).text;
  assert.match(metrics, /^gateward_edge_policy_refreshes_total\{outcome="changed"\} 1$/m);
  assert.match(metrics, /^gateward_edge_policy_refreshes_total\{outcome="unchanged"\} 2$/m);
  assert.match(metrics, /^gateward_edge_policy_version 1$/m);
});

gatewayTest("an older, wrongly signed, foreign or damaged policy changes nothing", async ({ keys, origin, edge }) => {
  origin.version = 7;
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  // What a lying origin would like to have accepted: a policy without the project.
  const truth = structuredClone(origin.policy);
  const settle = () => edge.logged(/the policy was not refreshed/);
  const lies = {
    older: () => { origin.version = 6; },
    "wrongly signed": () => { origin.version = 8; origin.statementKey = new Key("policy"); },
    "signed by the edge's own key": () => { origin.version = 8; origin.statementKey = keys.edge; },
    "about other content": () => {
      origin.policyAnswer = (_, response) => response.writeHead(200, { "X-Gateway-Policy-Statement": origin.statement(Buffer.from("{}")) }).end(JSON.stringify(origin.policy));
    },
    "without a statement": () => { origin.policyAnswer = (_, response) => response.writeHead(200).end(JSON.stringify(origin.policy)); },
    "not a policy": () => {
      origin.policyAnswer = (_, response) => response.writeHead(200, { "X-Gateway-Policy-Statement": origin.statement(Buffer.from("[]")) }).end("[]");
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    Object.assign(origin, { version: 7, statementKey: keys.policy, policyAnswer: undefined, policy: structuredClone(truth) });
    origin.policy.projects = {};
    lie();
    const before = origin.policyFetches;
    edge.log = "";
    // A refresh that failed is not tried again for a second: requests until then are served without one.
    while (origin.policyFetches === before) assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200, name);
    await settle();
    assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200, name);
    assert.match((await edge.request("/metrics")).text, /^gateward_edge_policy_version 7$/m, name);
  }
});

gatewayTest("with the origin gone, valid tokens pass and writes say when to come back; then all works again", async ({ rig, keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  await origin.server.stop();
  for (let turn = 0; turn < 20; turn += 1) assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  const refresh = form({ grant_type: "refresh_token", client_id: "app", refresh_token: refreshToken() });
  const token = await edge.request("/oauth/token", refresh);
  assert.equal(token.status, 503, token.text);
  assert.equal(token.json.error, "temporarily_unavailable");
  assert.ok(Number(token.headers["retry-after"]) > 0);
  const browser = { headers: { Accept: "text/html,*/*;q=0.8" } };
  const page = await edge.request("/sign-in", browser);
  assert.equal(page.status, 503);
  assert.match(page.headers["content-type"], /^text\/html/);
  assert.ok(Number(page.headers["retry-after"]) > 0);
  assert.equal(slug(await edge.request("/account")), "origin-unavailable");
  assert.equal((await edge.request("/ping")).status, 200);
  await origin.start(rig, origin.server.port);
  assert.equal((await edge.request("/sign-in", browser)).status, 200);
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
});

gatewayTest("an origin that does not answer holds a request up for about a second, and then no other", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  origin.policyAnswer = () => {};
  const durations = [];
  for (let turn = 0; turn < 3; turn += 1) {
    const began = performance.now();
    assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
    durations.push(performance.now() - began);
  }
  assert.ok(durations[0] > 900 && durations[0] < 2_000, `${durations}`);
  assert.ok(durations[1] < 500 && durations[2] < 500, `${durations}`);
  // A second later one request tries again; the others do not wait for it.
  const arrived = new Promise((resolve) => { origin.policyAnswer = () => resolve(true); });
  let trying;
  do trying = edge.request("/notes/api/x", good(keys)); while ((await Promise.race([arrived, trying])) !== true);
  const began = performance.now();
  const others = await Promise.all(Array.from({ length: 10 }, () => edge.request("/notes/api/x", good(keys))));
  assert.ok(performance.now() - began < 500);
  for (const answer of [...others, await trying]) assert.equal(answer.status, 200);
  assert.equal(origin.policyFetches, 3);
});

gatewayTest("past the hard age nothing is decided", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 301_000;
  for (let turn = 0; turn < 2; turn += 1) {
    const answer = await edge.request("/notes/api/x", good(keys));
    assert.equal(answer.status, 503);
    assert.equal(slug(answer), "policy-unavailable");
    assert.ok(Number(answer.headers["retry-after"]) > 0);
  }
  origin.madeAt = () => Date.now();
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
});

rigTest("before the first policy: alive, and nothing decided; the origin's arrival is enough", async (rig) => {
  const keys = new Keys();
  const upstream = await startUpstream(rig);
  const origin = await new Origin(keys, upstream.url).start(rig);
  await origin.server.stop();
  const edge = await startEdge(rig, keys, origin.server.url);
  assert.deepEqual((await edge.request("/ping")).json, { status: "ok" });
  assert.equal((await edge.request("/metrics")).status, 200);
  const refused = await edge.request("/notes/api/x", good(keys));
  assert.equal(refused.status, 503);
  assert.equal(slug(refused), "policy-unavailable");
  assert.equal((await edge.request("/oauth/token", form({ grant_type: "refresh_token" }))).json.error, "temporarily_unavailable");
  await origin.start(rig, origin.server.port);
  let answer;
  do answer = await edge.request("/notes/api/x", good(keys)); while (answer.status === 503);
  assert.equal(answer.status, 200);
});

gatewayTest("many first requests at once each get their answer", async ({ keys, edge }) => {
  const answers = await Promise.all(Array.from({ length: 40 }, () => edge.request("/notes/api/x", good(keys))));
  assert.deepEqual(new Set(answers.map((answer) => answer.status)), new Set([200]));
});

rigTest("each isolate names itself, and says at once which version it decides by", async (rig) => {
  const keys = new Keys();
  const upstream = await startUpstream(rig);
  const origin = await new Origin(keys, upstream.url).start(rig);
  const edge = await startEdge(rig, keys, origin.server.url, {}, { isolates: 3 });
  const ask = (port) => request(port, "/notes/api/x", good(keys));
  for (const port of edge.ports) assert.equal((await ask(port)).status, 200);
  const told = async (count) => { while (origin.acknowledged.length < count) await once(origin.server.server, "request"); };
  await told(3);
  const names = new Set(origin.acknowledged.map(([isolate]) => isolate));
  assert.equal(names.size, 3);
  for (const [isolate, version] of origin.acknowledged) assert.deepEqual([isolate.length, version], [36, 1]);
  origin.version = 2;
  while (origin.acknowledged.length < 6) for (const port of edge.ports) assert.equal((await ask(port)).status, 200);
  const second = origin.acknowledged.slice(3);
  assert.deepEqual(new Set(second.map(([isolate]) => isolate)), names);
  assert.deepEqual(second.map(([, version]) => version), [2, 2, 2]);
  // What it asked with before named the version that it decided by then.
  const before = origin.requests.filter(({ url, assertion }) => url === "/internal/policy" && assertion.policy_version === 0);
  assert.equal(before.length, 3);
  assert.deepEqual(origin.faults, []);
});

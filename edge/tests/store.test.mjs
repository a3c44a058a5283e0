// The policy's last good copy in a key-value store: what it saves an isolate from that starts while the origin is gone, and what it may not do.
import assert from "node:assert/strict";

import { Key, Keys, Origin, PolicyStore, accessToken, gatewayTest, rigTest, startEdge, startUpstream } from "./rig.mjs";

const slug = (answer) => answer.json?.type?.split("/").at(-1);
const good = (keys) => ({ token: accessToken(keys) });
const metric = async (edge, line) => (await edge.request("/metrics")).text.split("\n").includes(line);

/** A gateway without an edge, whose origin is gone; `start` starts edges. */
function outageTest(name, body) {
  rigTest(name, async (rig) => {
    const keys = new Keys();
    const upstream = await startUpstream(rig);
    const origin = await new Origin(keys, upstream.url).start(rig);
    await origin.server.stop();
    const policyStore = await new PolicyStore().start(rig);
    const start = () => startEdge(rig, keys, origin.server.url, {}, { policyStore });
    await body({ rig, keys, origin, policyStore, start });
  });
}

/** The edge has no policy, and says so in time. */
async function assertNoPolicy(edge, keys, what) {
  const began = performance.now();
  const answer = await edge.request("/notes/api/x", good(keys));
  assert.equal(answer.status, 503, what);
  assert.equal(slug(answer), "policy-unavailable", what);
  assert.ok(Number(answer.headers["retry-after"]) > 0, what);
  assert.ok(performance.now() - began < 5_000, what);
  assert.equal((await edge.request("/ping")).status, 200, what);
}

rigTest("what one isolate was given, another starts with while the origin is gone", async (rig) => {
  const keys = new Keys();
  const upstream = await startUpstream(rig);
  const origin = await new Origin(keys, upstream.url).start(rig);
  const policyStore = await new PolicyStore().start(rig);
  const start = () => startEdge(rig, keys, origin.server.url, {}, { policyStore });
  const first = await start();
  assert.equal((await first.request("/notes/api/x", good(keys))).status, 200);
  await policyStore.written("policy", 1);
  assert.ok(await metric(first, 'gateward_edge_binding{name="POLICY_STORE"} 1'));
  await origin.server.stop();
  const second = await start();
  for (let turn = 0; turn < 5; turn += 1) assert.equal((await second.request("/notes/api/x", good(keys))).status, 200);
  assert.ok(await metric(second, 'gateward_edge_look_ups_total{kind="policy_copy",outcome="used"} 1'));
  // The origin is back with a newer policy, which replaces the copy, here and in the store.
  origin.version = 2;
  origin.policy.revocations.grants = { g1: 9_999_999_999 };
  await origin.start(rig, origin.server.port);
  let answer;
  do answer = await second.request("/notes/api/x", good(keys)); while (answer.status === 200);
  assert.equal(slug(answer), "token-revoked");
  await policyStore.written("policy", 2);
  assert.match(policyStore.values.get("policy").toString(), /"g1":9999999999/);
});

outageTest("a copy is no younger for having been kept, and beyond the hard limit it is not used", async ({ keys, origin, policyStore, start }) => {
  origin.madeAt = () => Date.now() - 297_000;
  policyStore.values.set("policy", origin.copy());
  const edge = await start();
  const answers = [];
  const ends = Date.now() + 4_000;
  while (Date.now() < ends) answers.push((await edge.request("/notes/api/x", good(keys))).status);
  assert.equal(answers[0], 200);
  assert.equal(answers.at(-1), 503, "the hard limit holds");
  origin.madeAt = () => Date.now() - 301_000;
  policyStore.values.set("policy", origin.copy());
  const late = await start();
  await assertNoPolicy(late, keys, "too old from the start");
  assert.ok(await metric(late, 'gateward_edge_look_ups_total{kind="policy_copy",outcome="too_old"} 1'));
});

outageTest("an origin whose clock was ahead does not make its copy young for ever", async ({ keys, origin, policyStore, start }) => {
  origin.madeAt = () => Date.now() + 3_600_000;
  policyStore.values.set("policy", origin.copy(Date.now() - 301_000));
  await assertNoPolicy(await start(), keys, "it came 301 s ago");
  policyStore.values.set("policy", origin.copy(Date.now() - 10_000));
  assert.equal((await (await start()).request("/notes/api/x", good(keys))).status, 200);
});

outageTest("a copy that was tampered with is not used", async ({ keys, origin, policyStore, start }) => {
  const truth = origin.copy();
  const text = truth.toString();
  const stranger = Object.assign(Object.create(Object.getPrototypeOf(origin)), { ...origin, statementKey: new Key("policy") });
  origin.madeAt = () => Date.now() - 301_000;
  const old = origin.copy(Date.now() + 3_600_000);
  const copies = {
    "a scope less": text.replace("notes:read", ""),
    "another upstream": text.replace(/http:\/\/127\.0\.0\.1:\d+/, "http://127.0.0.1:1"),
    "another key's statement": stranger.copy(),
    "a line less": text.split("\n").slice(1).join("\n"),
    "something after it": `${text}\n`,
    "cut off": truth.subarray(0, truth.length - 1),
    "no copy": "no copy",
    "nothing": "",
    "an old one that says it came just now": old,
  };
  for (const [name, copy] of Object.entries(copies)) {
    policyStore.values.set("policy", Buffer.from(copy));
    await assertNoPolicy(await start(), keys, name);
  }
});

outageTest("a store that is silent or broken is waited for a second, and costs nothing else", async ({ rig, keys, origin, policyStore, start }) => {
  const faults = { silent: () => {}, broken: (_, response) => response.writeHead(500).end(), gone: (_, response) => response.destroy() };
  const edges = [];
  for (const [name, answer] of Object.entries(faults)) {
    policyStore.answer = answer;
    const edge = await start();
    await assertNoPolicy(edge, keys, name);
    edges.push(edge);
  }
  await origin.start(rig, origin.server.port);
  for (const edge of edges) {
    let answer;
    do answer = await edge.request("/notes/api/x", good(keys)); while (answer.status === 503);
    assert.equal(answer.status, 200);
  }
});

rigTest("an older copy than the policy in force is not used, though that one is too old as well", async (rig) => {
  const keys = new Keys();
  const upstream = await startUpstream(rig);
  const brief = (policy) => { policy.freshness = { soft_seconds: 1, stale_seconds: 2, hard_seconds: 3 }; };
  const origin = await new Origin(keys, upstream.url, brief).start(rig);
  const policyStore = await new PolicyStore().start(rig);
  origin.version = 7;
  const edge = await startEdge(rig, keys, origin.server.url, {}, { policyStore });
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  await policyStore.written("policy", 1);
  await origin.server.stop();
  let answer;
  do answer = await edge.request("/notes/api/x", good(keys)); while (answer.status === 200);
  assert.equal(slug(answer), "policy-unavailable");
  // From now on the store's copy would be young enough, but for its version.
  origin.madeAt = () => Date.now() + 60_000;
  origin.policy.freshness.hard_seconds = 300;
  origin.version = 6;
  policyStore.values.set("policy", origin.copy(Date.now() + 60_000));
  edge.log = "";
  const asked = edge.logged(/the store's copy of the policy is not accepted \(Older\)/);
  let isAsked = false;
  asked.then(() => { isAsked = true; });
  while (!isAsked) assert.equal((await edge.request("/notes/api/x", good(keys))).status, 503);
  origin.version = 8;
  policyStore.values.set("policy", origin.copy(Date.now() + 60_000));
  do answer = await edge.request("/notes/api/x", good(keys)); while (answer.status === 503);
  assert.equal(answer.status, 200, "a newer one is");
});

gatewayTest("without a store the edge says so and works", async ({ keys, edge }) => {
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  assert.ok(await metric(edge, 'gateward_edge_binding{name="POLICY_STORE"} 0'));
  assert.match(edge.log, /POLICY_STORE \(an isolate that starts while the origin is gone has no policy\)/);
});

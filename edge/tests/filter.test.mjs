// Revocations by a filter: what it hits is asked about once, nobody is refused for a likeness, and nobody is let through unheard.
import assert from "node:assert/strict";

import { Key, PolicyStore, accessToken, gatewayTest, startEdge } from "./rig.mjs";

const slug = (answer) => answer.json?.type?.split("/").at(-1);
// As `shared::policy::RevocationFilter` builds them, of the tokens `revoked` and the grant `ended`, and of the tokens `revoked` and `other`.
const FILTER = Buffer.from("Z3dyZXZvYzECAAAAAAAAAAAAAADBXAKJ7C0KkQQAAAADAAAABAAAAAAAAAAAAAAAACFWAA", "base64url");
const NEXT_FILTER = Buffer.from("Z3dyZXZvYzECAAAAAAAAAAAAAADBXAKJ7C0KkQQAAAADAAAABAAAAAAAAAAAAAAAAABWow", "base64url");
/** Tokens that are not among its entries and are hit all the same. */
const HIT_FALSELY = ["valid-495", "valid-728", "valid-824", "valid-994"];

const withFilter = (origin, filter = FILTER) => {
  origin.useFilter(filter);
  for (const entry of ["jti:revoked", "grant:ended"]) origin.revoked.add(entry);
};

/** A test of an edge whose policy has the filter. */
function filterTest(name, body) {
  gatewayTest(name, async (gateway) => {
    withFilter(gateway.origin);
    const call = (jti, sid = "g1") => gateway.edge.request("/notes/api/x", { token: accessToken(gateway.keys, { jti, sid }) });
    await body({ ...gateway, call });
  });
}

filterTest("a hit is confirmed by the origin once, whichever way it answers", async ({ origin, call }) => {
  for (let turn = 0; turn < 2; turn += 1) {
    const revoked = await call("revoked");
    assert.equal(revoked.status, 401, revoked.text);
    assert.equal(slug(revoked), "token-revoked");
    for (const jti of HIT_FALSELY) assert.equal((await call(jti)).status, 200, jti);
    assert.equal(slug(await call("some-token", "ended")), "token-revoked");
    assert.equal((await call("some-token")).status, 200);
  }
  assert.deepEqual(origin.questions, [["jti:revoked"], ...HIT_FALSELY.map((jti) => [`jti:${jti}`]), ["grant:ended"]]);
});

filterTest("while the origin cannot confirm, a hit is told to come back, and is not called revoked", async ({ keys, origin, call }) => {
  assert.equal((await call("some-token")).status, 200);
  const faults = {
    "an outage": (_, response) => response.writeHead(503).end(),
    "no JSON": (_, response) => response.writeHead(200).end("no"),
    "no statement": (_, response) => response.writeHead(200).end("{}"),
    "a statement of another key": ({ body }, response) => {
      const key = new Key("policy");
      const { filter, entries } = JSON.parse(body);
      const claims = { iss: "http://auth.test", made_at: Date.now(), filter, entries, revoked: [] };
      response.writeHead(200).end(JSON.stringify({ statement: key.sign("revocation-statement+jwt", claims) }));
    },
    "a statement of the edge's own key": ({ body }, response) => {
      const { filter, entries } = JSON.parse(body);
      const claims = { iss: "http://auth.test", made_at: Date.now(), filter, entries, revoked: [] };
      response.writeHead(200).end(JSON.stringify({ statement: keys.edge.sign("revocation-statement+jwt", claims) }));
    },
    "a statement about something else": (_, response) => {
      const filter = origin.policy.revocations.filter.sha256;
      response.writeHead(200).end(JSON.stringify({ statement: origin.confirmation({ filter, entries: ["jti:else"] }) }));
    },
    "no answer": (_, response) => response.destroy(),
    "silence": () => {},
  };
  for (const [fault, answer] of Object.entries(faults)) {
    origin.confirmAnswer = answer;
    for (const jti of ["revoked", HIT_FALSELY[0]]) {
      const refused = await call(jti);
      assert.equal(refused.status, 503, fault);
      assert.equal(slug(refused), "origin-unavailable", fault);
      assert.ok(Number(refused.headers["retry-after"]) > 0, fault);
    }
    // Whom the filter does not hit is not concerned.
    assert.equal((await call("some-token")).status, 200, fault);
  }
  origin.confirmAnswer = undefined;
  assert.equal(slug(await call("revoked")), "token-revoked");
  assert.equal((await call(HIT_FALSELY[0])).status, 200);
});

filterTest("a filter that is held is not sent again; another one is, and is asked about anew", async ({ origin, call, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await call(HIT_FALSELY[0])).status, 200);
  const fetched = () => origin.requests.filter(({ url }) => url === "/internal/policy").at(-1).headers;
  assert.equal(fetched()["x-gateway-filter"], undefined);
  const held = origin.policy.revocations.filter.sha256;
  // Revoked since: in the list, so that nobody need be asked.
  origin.version = 2;
  origin.policy.revocations.tokens = { "some-token": 9_999_999_999 };
  assert.equal(slug(await call("some-token")), "token-revoked");
  assert.equal(fetched()["x-gateway-filter"], held);
  assert.equal((await call(HIT_FALSELY[0])).status, 200);
  assert.equal(origin.questions.length, 1);
  origin.version = 3;
  withFilter(origin, NEXT_FILTER);
  assert.equal(slug(await call("revoked")), "token-revoked");
  assert.equal((await call("some-token", "ended")).status, 401);
  // Not in this one any more, since what it covered has expired.
  origin.version = 4;
  delete origin.policy.revocations.tokens;
  delete origin.policy.revocations.filter;
  origin.filter = undefined;
  assert.equal((await call("revoked")).status, 200);
  assert.match((await edge.request("/metrics")).text, /^gateward_edge_policy_version 4$/m);
});

filterTest("a policy whose filter is missing, damaged or another one changes nothing", async ({ origin, call, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await call("some-token")).status, 200);
  const content = () => Buffer.from(JSON.stringify(origin.policy));
  origin.useFilter(NEXT_FILTER);
  origin.policy.projects = {};
  origin.version = 2;
  const send = (...attached) => (_, response) => {
    response.writeHead(200, { "X-Gateway-Policy-Statement": origin.statement(content()) }).end(Buffer.concat([content(), ...attached]));
  };
  const line = Buffer.from("\n");
  const damaged = Buffer.from(NEXT_FILTER);
  damaged[45] ^= 1;
  const lies = { missing: send(), empty: send(line), another: send(line, FILTER), damaged: send(line, damaged), "cut off": send(line, NEXT_FILTER.subarray(0, 40)) };
  for (const [name, lie] of Object.entries(lies)) {
    origin.policyAnswer = lie;
    const before = origin.policyFetches;
    edge.log = "";
    while (origin.policyFetches === before) assert.equal((await call("some-token")).status, 200, name);
    await edge.logged(/the policy was not refreshed/);
    assert.match((await edge.request("/metrics")).text, /^gateward_edge_policy_version 1$/m, name);
  }
});

gatewayTest("the store's copy brings its filter", async ({ rig, keys, origin }) => {
  withFilter(origin);
  const policyStore = await new PolicyStore().start(rig);
  policyStore.values.set("policy", origin.copy());
  await origin.server.stop();
  const edge = await startEdge(rig, keys, origin.server.url, {}, { policyStore });
  const call = (jti) => edge.request("/notes/api/x", { token: accessToken(keys, { jti }) });
  assert.equal((await call("some-token")).status, 200);
  assert.equal(slug(await call("revoked")), "origin-unavailable");
  await origin.start(rig, origin.server.port);
  assert.equal(slug(await call("revoked")), "token-revoked");
  assert.equal((await call(HIT_FALSELY[0])).status, 200);
});

// An origin that is slow, gone, wrong or lying, and clocks that are off: what the caller sees of each, with a policy in force and without.
import assert from "node:assert/strict";

import { Key, Keys, Origin, accessToken, gatewayTest, rigTest, startEdge, startUpstream } from "./rig.mjs";

const slug = (answer) => answer.json?.type?.split("/").at(-1);
const good = (keys) => ({ token: accessToken(keys) });
const version = async (edge) => Number(/^gateward_edge_policy_version (\d+)$/m.exec((await edge.request("/metrics")).text)?.[1]);

/** What an origin may answer instead of a policy. Each would take the project away if it were believed. */
function faultsOf(origin, keys) {
  const content = () => Buffer.from(JSON.stringify({ ...origin.policy, projects: {} }));
  const header = (statement) => ({ "X-Gateway-Policy-Statement": statement });
  const status = (code, headers = {}, body = content()) => (_, response) => {
    response.writeHead(code, { ...header(origin.statement(content())), ...headers }).end(code === 204 || code === 304 ? undefined : body);
  };
  const statement = (text) => (_, response) => response.writeHead(200, header(text)).end(content());
  const signed = () => origin.statement(content());
  const [head, claims, signature] = signed().split(".");
  return {
    "500": status(500),
    "503": status(503),
    "403, as to an edge whose clock is off": status(403),
    "404": status(404),
    "a redirect": status(302, { Location: "http://127.0.0.1:1/" }),
    "204": status(204),
    "206": status(206),
    "304 about other content": status(304),
    "no statement": (_, response) => response.writeHead(200).end(content()),
    "an empty statement": statement(""),
    "a statement without signature": statement(`${head}.${claims}.`),
    "a statement signed with another key": statement(new Key("policy").sign("policy-statement+jwt", JSON.parse(Buffer.from(claims, "base64url")))),
    "a statement of another type": statement(keys.policy.sign("revocation-statement+jwt", JSON.parse(Buffer.from(claims, "base64url")))),
    "a statement that says it needs no key": statement(`${Buffer.from('{"alg":"none","typ":"policy-statement+jwt"}').toString("base64url")}.${claims}.${signature}`),
    "a statement for another issuer": statement(keys.policy.sign("policy-statement+jwt", { ...JSON.parse(Buffer.from(claims, "base64url")), iss: "http://evil.test" })),
    "a statement about something else": statement(origin.statement(Buffer.from("{}"))),
    "garbage": (_, response) => response.writeHead(200, header(origin.statement(Buffer.from("\xff\xfe")))).end(Buffer.from("\xff\xfe")),
    "an empty body": (_, response) => response.writeHead(200, header(signed())).end(),
    "a body that breaks off": (_, response) => {
      response.writeHead(200, { ...header(signed()), "Content-Length": content().length }).write(content().subarray(0, 20), () => response.destroy());
    },
    "a shorter body than it says": (_, response) => response.writeHead(200, header(signed())).end(content().subarray(0, -1)),
    "a body without end": (_, response) => {
      response.writeHead(200, header(signed()));
      const more = () => { while (!response.destroyed && response.write(Buffer.alloc(1 << 20))); };
      response.on("drain", more);
      more();
    },
    "a connection that is closed": (_, response) => response.destroy(),
  };
}

gatewayTest("whatever a wrong origin answers, callers go on being served by the policy in force", async ({ keys, origin, edge }) => {
  origin.version = 7;
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  origin.version = 8;
  for (const [name, answer] of Object.entries(faultsOf(origin, keys))) {
    origin.policyAnswer = answer;
    edge.log = "";
    const before = origin.policyFetches;
    // A refresh that failed is not tried again for a second: until then requests are served without one.
    while (origin.policyFetches === before) assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200, name);
    await edge.logged(/the policy was not refreshed/);
    assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200, name);
    assert.equal(await version(edge), 7, name);
  }
  origin.policyAnswer = undefined;
  let answer;
  do answer = await edge.request("/notes/api/x", good(keys)); while ((await version(edge)) === 7);
  assert.equal(answer.status, 200);
});

rigTest("whatever a wrong origin answers, an edge without a policy says when to come back", async (rig) => {
  const keys = new Keys();
  const upstream = await startUpstream(rig);
  const origin = await new Origin(keys, upstream.url).start(rig);
  const edge = await startEdge(rig, keys, origin.server.url);
  for (const [name, answer] of Object.entries(faultsOf(origin, keys))) {
    origin.policyAnswer = answer;
    const before = origin.policyFetches;
    let refused;
    do {
      refused = await edge.request("/notes/api/x", good(keys));
      assert.equal(refused.status, 503, name);
      assert.equal(slug(refused), "policy-unavailable", name);
      assert.ok(Number(refused.headers["retry-after"]) > 0, name);
    } while (origin.policyFetches === before);
    assert.equal((await edge.request("/ping")).status, 200, name);
  }
  assert.deepEqual(upstream.requests, []);
});

gatewayTest("an origin whose answer trickles in holds one request up for a second", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  origin.policyAnswer = (_, response) => {
    const content = Buffer.from(JSON.stringify(origin.policy));
    response.writeHead(200, { "X-Gateway-Policy-Statement": origin.statement(content) }).write(content.subarray(0, 100));
  };
  const durations = [];
  for (let turn = 0; turn < 3; turn += 1) {
    const began = performance.now();
    assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
    durations.push(performance.now() - began);
  }
  assert.ok(durations[0] > 900 && durations[0] < 2_500, `${durations}`);
  assert.ok(durations[1] < 500 && durations[2] < 500, `${durations}`);
});

gatewayTest("of two origins, the one that is behind is not believed", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 6_000;
  origin.policy.revocations.grants = { g1: 9_999_999_999 };
  origin.version = 8;
  assert.equal(slug(await edge.request("/notes/api/x", good(keys))), "token-revoked");
  origin.policy.revocations.grants = {};
  origin.version = 7;
  const before = origin.policyFetches;
  while (origin.policyFetches < before + 2) {
    assert.equal(slug(await edge.request("/notes/api/x", good(keys))), "token-revoked");
  }
  origin.version = 9;
  let answer;
  do answer = await edge.request("/notes/api/x", good(keys)); while (answer.status === 401);
  assert.equal(answer.status, 200);
  assert.equal(await version(edge), 9);
});

gatewayTest("an origin whose clock is an hour ahead is asked as often as any other", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() + 3_600_000;
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  const from = performance.now();
  origin.version = 2;
  origin.policy.revocations.grants = { g1: 9_999_999_999 };
  let answer;
  do answer = await edge.request("/notes/api/x", good(keys)); while (answer.status === 200);
  assert.equal(slug(answer), "token-revoked");
  assert.ok(performance.now() - from < 6_000, `${performance.now() - from} ms`);
});

gatewayTest("an origin whose clock is behind is asked before each decision, and beyond the hard limit nothing is decided", async ({ keys, origin, edge }) => {
  origin.madeAt = () => Date.now() - 100_000;
  for (let turn = 1; turn <= 3; turn += 1) {
    assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
    assert.equal(origin.policyFetches, turn);
  }
  origin.madeAt = () => Date.now() - 301_000;
  origin.version = 2;
  const answer = await edge.request("/notes/api/x", good(keys));
  assert.equal(slug(answer), "policy-unavailable");
  assert.ok(Number(answer.headers["retry-after"]) > 0);
});

gatewayTest("an unknown key may be asked about once in five seconds, whoever invents it", async ({ keys, origin, edge }) => {
  // Fresh at every look, so that nothing but the key makes the edge ask.
  origin.policy.freshness = { soft_seconds: 60, stale_seconds: 60, hard_seconds: 300 };
  assert.equal((await edge.request("/notes/api/x", good(keys))).status, 200);
  assert.equal(origin.policyFetches, 1);
  let asked;
  const invent = async () => {
    const answer = await edge.request("/notes/api/x", { token: accessToken(keys, {}, new Key(crypto.randomUUID())) });
    assert.equal(answer.status, 401);
    assert.equal(slug(answer), "token-unknown-key");
  };
  await invent();
  asked = performance.now();
  assert.equal(origin.policyFetches, 2);
  while (origin.policyFetches === 2) await invent();
  const between = performance.now() - asked;
  assert.ok(between > 4_800 && between < 6_500, `${between} ms`);
  assert.equal(origin.policyFetches, 3);
});

gatewayTest("a service and a route may want a younger policy than the others", async ({ keys, origin, edge }) => {
  const { api } = origin.policy.projects.notes.services;
  origin.policy.projects.notes.services.strict = { ...api, hard_seconds: 10 };
  origin.policy.projects.notes.services.mixed = { ...api, routes: [{ path: "/pay", hard_seconds: 10 }] };
  origin.madeAt = () => Date.now() - 6_000;
  const ask = (path) => edge.request(path, good(keys));
  for (const path of ["/notes/api/x", "/notes/strict/x", "/notes/mixed/x", "/notes/mixed/pay"]) assert.equal((await ask(path)).status, 200, path);
  await origin.server.stop();
  let answer;
  do answer = await ask("/notes/strict/x"); while (answer.status === 200);
  assert.equal(answer.status, 503);
  assert.equal(slug(answer), "policy-unavailable");
  assert.ok(Number(answer.headers["retry-after"]) > 0);
  assert.equal(slug(await ask("/notes/mixed/pay")), "policy-unavailable");
  assert.equal((await ask("/notes/mixed/x")).status, 200);
  assert.equal((await ask("/notes/api/x")).status, 200);
});

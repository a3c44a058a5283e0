// What the edge asks the origin for one request: how it asks, and what becomes of the request when there is no answer.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { gatewayTest, ISSUER } from "./rig.mjs";

const RESOLVE = "/internal/credentials/resolve";
const [API_KEY] = JSON.parse(readFileSync(process.env.CORPUS_SAMPLE, "utf8")).live_keys;
const hash = createHash("sha256").update(API_KEY).digest("base64url");
const change = (policy) => {
  policy.projects.notes.services.api.credentials = ["api_key"];
  policy.projects.notes.credential_epoch = 1;
};
const call = (edge, options = {}) => edge.request("/notes/api/x", { headers: { "X-API-Key": API_KEY }, ...options });
const counted = async (edge, outcome) => Number(new RegExp(`^gateward_edge_look_ups_total\\{kind="credential",outcome="${outcome}"\\} (\\d+)$`, "m").exec((await edge.request("/metrics")).text)?.[1] ?? 0);
const statement = (keys) => keys.policy.sign("credential-statement+jwt", {
  iss: ISSUER,
  sha256: hash,
  made_at: Date.now(),
  credential: { id: "key-1", kind: "api_key", workspace_id: "w1", project: "notes", subject: "u7", issued_at: 1, scopes: "notes:read", epoch: 1 },
});

gatewayTest("a credential is asked about by its hash, with the edge's assertion over exactly that", async ({ keys, origin, edge }) => {
  let asked;
  origin.internal[RESOLVE] = (request, response) => { asked = request; response.end(JSON.stringify({ statement: statement(keys) })); };
  assert.equal((await call(edge)).status, 200);
  assert.deepEqual([asked.method, asked.headers["content-type"], JSON.parse(asked.body)], ["POST", "application/json", { sha256: hash }]);
  assert.ok(asked.assertion, "with an assertion; what it says is checked for every request");
  const all = JSON.stringify([asked.rawHeaders, asked.body.toString()]);
  assert.equal(all.includes(API_KEY), false);
  assert.equal(await counted(edge, "answered"), 1);
}, { change });

gatewayTest("without an answer in time, or with one that is none, the request is refused and may come again", async ({ keys, origin, edge }) => {
  const answers = {
    "500": (request, response) => response.writeHead(500).end(),
    "404": (request, response) => response.writeHead(404).end(),
    "a redirect": (request, response) => response.writeHead(302, { Location: `http://127.0.0.1:${origin.server.port}/elsewhere` }).end(),
    "not JSON": (request, response) => response.end("<html>"),
    "no statement": (request, response) => response.end("{}"),
    "too long": (request, response) => response.end(JSON.stringify({ statement: "x".repeat(100_000) })),
    "cut off": (request, response) => { response.writeHead(200, { "Content-Length": 1_000 }).write("{"); setImmediate(() => response.destroy()); },
    silent: () => {},
  };
  for (const [what, answer] of Object.entries(answers)) {
    origin.internal[RESOLVE] = answer;
    const started = performance.now();
    const refused = await call(edge);
    assert.equal(refused.status, 503, what);
    assert.match(refused.json.type, /origin-unavailable$/);
    assert.ok(Number(refused.headers["retry-after"]) >= 1);
    assert.ok(performance.now() - started < 10_000, what);
  }
  assert.equal(await counted(edge, "unavailable"), Object.keys(answers).length);
  assert.equal(edge.log.includes(API_KEY), false);
  // None of that is remembered.
  origin.internal[RESOLVE] = (request, response) => response.end(JSON.stringify({ statement: statement(keys) }));
  assert.equal((await call(edge)).status, 200);
}, { change });

gatewayTest("a credential, an exact count and an upstream that is gone: one request may need them all", async ({ rig, keys, origin, upstream, edge }) => {
  origin.internal[RESOLVE] = (request, response) => response.end(JSON.stringify({ statement: statement(keys) }));
  const answers = [];
  for (let turn = 0; turn < 6; turn += 1) answers.push((await call(edge)).status);
  // Sent twice where the first upstream was gone, and counted once.
  assert.deepEqual(answers, [200, 200, 200, 200, 200, 429]);
  assert.equal(upstream.requests.length, 5);
  assert.equal((await call(edge, { method: "POST", body: "x" })).status, 429);
}, {
  change: (policy) => {
    change(policy);
    const { api } = policy.projects.notes.services;
    api.upstreams.push({ url: "http://127.0.0.1:9", weight: 3 });
    api.limits = [{ by: "key", requests: 5, window_seconds: 86_400, tier: "exact" }];
  },
  edge: { exactLimits: true },
});

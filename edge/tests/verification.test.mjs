// Requests to projects: verified at the edge, never at the origin.
import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, sign } from "node:crypto";

import { ISSUER, Key, SERVICE_SECRET, accessToken, gatewayTest } from "./rig.mjs";

const slug = (answer) => answer.json?.type?.split("/").at(-1);
const now = () => Math.floor(Date.now() / 1000);

gatewayTest("a good token reaches the upstream, with the identity it stands for", async ({ keys, upstream, origin, edge }) => {
  const token = accessToken(keys, { jti: "t1", workspace_id: "w1" });
  for (let turn = 0; turn < 3; turn += 1) {
    const answer = await edge.request("/notes/api/a/b?x=1&y=%20", { token });
    assert.equal(answer.status, 200, answer.text);
  }
  const { url, headers } = upstream.requests.at(-1);
  assert.equal(url, "/a/b?x=1&y=%20");
  assert.equal(headers.authorization, undefined);
  const identity = { project: "notes", service: "api", subject: "u1", scopes: "notes:read", workspace: "w1", client: "app", "token-id": "t1" };
  for (const [name, value] of Object.entries(identity)) assert.equal(headers[`x-gateway-${name}`], value, name);
  assert.match(headers["x-gateway-request-id"], /^[0-9a-f-]{36}$/);
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
  assert.equal(upstream.requests.length, 3);
  assert.equal(new Set(upstream.requests.map((request) => request.headers["x-gateway-request-id"])).size, 3);
  assert.deepEqual(origin.forwarded, []);
  assert.equal(origin.policyFetches, 1);
});

gatewayTest("a token that is not good is refused at the edge, with what is wrong with it", async ({ keys, upstream, origin, edge }) => {
  const good = accessToken(keys);
  const cases = {
    "token-expired": accessToken(keys, { exp: now() - 120 }),
    "token-not-yet-valid": accessToken(keys, { nbf: now() + 600 }),
    "token-wrong-issuer": accessToken(keys, { iss: "https://evil.test" }),
    "token-wrong-audience": accessToken(keys, { aud: `${ISSUER}/other` }),
    "token-signature": accessToken(keys, {}, Object.assign(new Key("k1"))),
    "token-wrong-type": keys.token.sign("JWT", { iss: ISSUER }),
    // One character more than whole bytes: base64url of nothing, whatever the signature was.
    "token-malformed": good.slice(0, -41),
    "token-revoked": accessToken(keys, { jti: "revoked" }),
    "insufficient-scope": accessToken(keys, { scope: "other" }),
  };
  for (const [expected, token] of Object.entries(cases)) {
    const answer = await edge.request("/notes/api/x", { token });
    assert.equal(slug(answer), expected, answer.text);
    assert.equal(answer.status, expected === "insufficient-scope" ? 403 : 401);
    assert.match(answer.headers["www-authenticate"], /^Bearer /);
    assert.equal(answer.headers["cache-control"], "no-store");
    assert.equal(answer.json.request_id, answer.headers["x-request-id"]);
  }
  assert.equal(slug(await edge.request("/notes/api/x")), "credential-missing");
  assert.equal(slug(await edge.request("/notes/nothing/x", { token: good })), "not-found");
  assert.deepEqual(upstream.requests, []);
  assert.deepEqual(origin.forwarded, []);
}, { change: (policy) => { policy.revocations = { tokens: { revoked: now() + 600 } }; } });

gatewayTest("a revocation bites at the next refresh", async ({ keys, origin, edge }) => {
  const token = accessToken(keys, { jti: "t1" });
  origin.madeAt = () => Date.now() - 6_000;
  assert.equal((await edge.request("/notes/api/x", { token })).status, 200);
  origin.policy.revocations = { tokens: { t1: now() + 600 } };
  origin.version += 1;
  assert.equal(slug(await edge.request("/notes/api/x", { token })), "token-revoked");
});

gatewayTest("service tokens: EdDSA by a key of the policy, HS256 by the shared secret", async ({ keys, upstream, edge }) => {
  const claims = { iss: ISSUER, jti: "s1", project: "notes", service: "worker", iat: now(), exp: now() + 300, workspace_id: "w1" };
  const eddsa = keys.token.sign("service+jwt", claims);
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const { iss: _, ...seed } = claims;
  const input = `${encode({ alg: "HS256" })}.${encode(seed)}`;
  const hs256 = (secret) => `${input}.${createHmac("sha256", secret).update(input).digest("base64url")}`;
  for (const token of [eddsa, hs256(SERVICE_SECRET)]) {
    assert.equal((await edge.request("/notes/api/x", { token })).status, 200);
    assert.equal(upstream.requests.at(-1).headers["x-gateway-subject"], "service:worker");
  }
  assert.equal(slug(await edge.request("/notes/api/x", { token: hs256("another secret of at least 32 bytes") })), "token-signature");
});

const platformKeys = {
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
  RS256: generateKeyPairSync("rsa", { modulusLength: 2048 }),
};

gatewayTest("ES256 and RS256 are verified by the platform, by the same rules", async ({ keys, edge }) => {
  for (const [alg, { privateKey }] of Object.entries(platformKeys)) {
    const signer = Object.assign(Object.create(Key.prototype), { kid: alg });
    signer.sign = function platformSign(typ, claims) {
      const input = [{ alg, typ, kid: alg }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
      return `${input}.${sign("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
    };
    const token = accessToken(keys, { jti: alg }, signer);
    for (let turn = 0; turn < 2; turn += 1) assert.equal((await edge.request("/notes/api/x", { token })).status, 200, alg);
    const [header, payload, signature] = token.split(".");
    const flipped = Buffer.from(signature, "base64url");
    flipped[7] ^= 1;
    assert.equal(slug(await edge.request("/notes/api/x", { token: [header, payload, flipped.toString("base64url")].join(".") })), "token-signature");
    assert.equal(slug(await edge.request("/notes/api/x", { token: accessToken(keys, { exp: now() - 120 }, signer) })), "token-expired");
  }
}, {
  change: (policy) => {
    for (const [alg, { publicKey }] of Object.entries(platformKeys)) {
      policy.keys.push({ kid: alg, alg, phase: "active", signs: ["access"], jwk: publicKey.export({ format: "jwk" }) });
    }
  },
});

gatewayTest("an unknown key asks the origin once, and an invented one not again", async ({ keys, origin, edge }) => {
  assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys) })).status, 200);
  const fresh = new Key("k2");
  origin.policy.keys.push({ ...origin.policy.keys[0], kid: "k2", jwk: { kty: "OKP", crv: "Ed25519", x: fresh.x } });
  origin.version += 1;
  assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys, {}, fresh) })).status, 200);
  assert.equal(origin.policyFetches, 2);
  for (let turn = 0; turn < 5; turn += 1) {
    assert.equal(slug(await edge.request("/notes/api/x", { token: accessToken(keys, {}, new Key(`invented-${turn}`)) })), "token-unknown-key");
  }
  assert.equal(origin.policyFetches, 2);
});

gatewayTest("a public route needs no credential and ignores a bad one, by method and path only", async ({ upstream, edge }) => {
  for (const token of [undefined, "rubbish"]) assert.equal((await edge.request("/notes/api/health?x", { token })).status, 200);
  assert.equal(upstream.requests.at(-1).headers["x-gateway-subject"], undefined);
  for (const [method, path] of [["POST", "/notes/api/health"], ["GET", "/notes/api/health/"], ["GET", "/notes/api/x?/health"]]) {
    assert.equal(slug(await edge.request(path, { method })), "credential-missing", `${method} ${path}`);
  }
});

gatewayTest("limits are counted per address, with the draft's headers", async ({ edge }) => {
  const answers = [];
  for (let turn = 0; turn < 4; turn += 1) answers.push(await edge.request("/notes/api/health"));
  assert.deepEqual(answers.map((answer) => answer.status), [200, 200, 200, 429]);
  const { headers } = answers[3];
  assert.ok(Number(headers["retry-after"]) > 0);
  assert.match(headers["ratelimit-policy"], /^"address";q=3;w=600;tier=isolate$/);
  assert.match(headers.ratelimit, /^"address";r=0;t=\d+$/);
}, { change: (policy) => { policy.limits.address = { requests: 3, window_seconds: 600 }; } });

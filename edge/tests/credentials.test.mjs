// Every kind of credential through workerd, with the platform's own cryptography: external issuers, API keys and opaque tokens,
// proofs of possession, client certificates. That each is judged by the same rules natively stands in the corpus.
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";

import { accessToken, gatewayTest, ISSUER } from "./rig.mjs";

const IDP = "https://idp.test";
const base64url = (data) => Buffer.from(data).toString("base64url");
const sha256 = (data) => createHash("sha256").update(data).digest();
const seconds = () => Math.floor(Date.now() / 1000);
const KEYS = JSON.parse(readFileSync(process.env.CORPUS_SAMPLE, "utf8")).live_keys;

/** A key of an algorithm, that signs compact JWS. */
class Signer {
  constructor(alg, kid) {
    const made = alg === "ES256" ? generateKeyPairSync("ec", { namedCurve: "P-256" }) : generateKeyPairSync("rsa", { modulusLength: 2048 });
    Object.assign(this, { alg, kid, privateKey: made.privateKey, jwk: made.publicKey.export({ format: "jwk" }) });
  }

  sign(header, claims) {
    const input = `${base64url(JSON.stringify({ alg: this.alg, ...header }))}.${base64url(JSON.stringify(claims))}`;
    return `${input}.${base64url(sign("sha256", Buffer.from(input), { key: this.privateKey, dsaEncoding: "ieee-p1363" }))}`;
  }

  token(claims = {}) {
    const now = seconds();
    return this.sign({ kid: this.kid, typ: "JWT" }, { iss: IDP, sub: "u1", aud: "https://notes.test", exp: now + 300, iat: now, jti: randomUUID(), scope: "notes:read other", ...claims });
  }
}

const es256 = new Signer("ES256", "e1");
const rs256 = new Signer("RS256", "r1");
const issuerOf = (...signers) => ({ audiences: ["https://notes.test"], keys: signers.map(({ kid, alg, jwk }) => ({ kid, alg, jwk })), scope_claim: "scope", scopes: "notes:read" });
const CERTIFICATE = Buffer.from("a certificate's DER");
const thumbprint = base64url(sha256(CERTIFICATE));

const change = (policy) => {
  policy.projects.notes.issuers = { [IDP]: issuerOf(es256, rs256) };
  policy.projects.notes.certificates = { [thumbprint]: { id: "cert-1", service: "billing", scopes: "notes:read" } };
  policy.projects.notes.credential_epoch = 1;
  policy.projects.notes.services.api.credentials = ["access_token", "service_token", "external_token", "api_key", "opaque_token", "client_certificate"];
};
const slug = (answer) => `${answer.status} ${answer.json?.type?.split("/").at(-1) ?? "ok"}`;

gatewayTest("a trusted issuer's ES256 and RS256 tokens are verified by the platform, once each", async ({ upstream, edge }) => {
  for (const signer of [es256, rs256]) {
    const token = signer.token();
    for (let use = 0; use < 3; use += 1) assert.equal(slug(await edge.request("/notes/api/x", { token })), "200 ok", signer.alg);
    const { headers } = upstream.requests.at(-1);
    assert.equal(headers["x-gateway-subject"], `external:${IDP}#u1`);
    assert.equal(headers["x-gateway-scopes"], "notes:read");
    const [head, payload, signature] = token.split(".");
    const others = Buffer.from(signature, "base64url");
    others[10] ^= 1;
    assert.equal(slug(await edge.request("/notes/api/x", { token: `${head}.${payload}.${base64url(others)}` })), "401 token-signature", signer.alg);
    assert.equal(slug(await edge.request("/notes/api/x", { token: signer.token({ aud: "another" }) })), "401 token-wrong-audience", signer.alg);
    assert.equal(slug(await edge.request("/notes/api/x", { token: signer.token({ exp: seconds() - 1 }) })), "401 token-expired", signer.alg);
  }
  // The right name, another's key.
  const forger = new Signer("ES256", "e1");
  assert.equal(slug(await edge.request("/notes/api/x", { token: forger.token() })), "401 token-signature");
}, { change });

gatewayTest("an issuer's new key is known as soon as the policy has it", async ({ origin, edge }) => {
  assert.equal(slug(await edge.request("/notes/api/x", { token: es256.token() })), "200 ok");
  const next = new Signer("ES256", "e2");
  origin.policy.projects.notes.issuers[IDP] = issuerOf(es256, rs256, next);
  origin.version += 1;
  assert.equal(slug(await edge.request("/notes/api/x", { token: next.token() })), "200 ok");
}, { change });

gatewayTest("attack 6: what one project verified says nothing in another, though issuer, kid and token are the same", async ({ edge }) => {
  const token = es256.token();
  for (const [project, expected] of [["notes", "200 ok"], ["other", "401 token-signature"], ["notes", "200 ok"], ["other", "401 token-signature"]]) {
    assert.equal(slug(await edge.request(`/${project}/api/x`, { token })), expected, project);
  }
}, {
  change: (policy) => {
    change(policy);
    const others = new Signer("ES256", "e1");
    policy.projects.other = { ...structuredClone(policy.projects.notes), workspace_id: "w2", issuers: { [IDP]: issuerOf(others) } };
  },
});

/** Answers look-ups of credentials by `found(sha256)`, and counts them. */
function answerLookUps(origin, keys, found) {
  const lookUps = [];
  const echo = origin.answer;
  origin.answer = (request, response) => {
    if (request.url !== "/internal/credentials/resolve") return echo(request, response);
    const { sha256: hash } = JSON.parse(request.body.toString());
    lookUps.push(hash);
    const statement = keys.policy.sign("credential-statement+jwt", { iss: ISSUER, sha256: hash, made_at: Date.now(), credential: found(hash) ?? null });
    return response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ statement }));
  };
  return lookUps;
}

const resolved = (members = {}) => ({ id: "key-1", kind: "api_key", workspace_id: "w1", project: "notes", subject: "u7", issued_at: 1, scopes: "notes:read", epoch: 1, ...members });

gatewayTest("an API key is looked up once, and serves while the origin is away", async ({ keys, upstream, origin, edge }) => {
  const lookUps = answerLookUps(origin, keys, (hash) => (hash === base64url(sha256(KEYS[0])) ? resolved() : undefined));
  const call = (key) => edge.request("/notes/api/x", { headers: { "X-API-Key": key } });
  for (let use = 0; use < 5; use += 1) assert.equal(slug(await call(KEYS[0])), "200 ok");
  assert.deepEqual(lookUps, [base64url(sha256(KEYS[0]))]);
  const { headers } = upstream.requests.at(-1);
  assert.deepEqual([headers["x-gateway-subject"], headers["x-gateway-token-id"], headers["x-api-key"]], ["u7", "key-1", undefined]);
  assert.equal(slug(await edge.request("/notes/api/x", { token: KEYS[0] })), "200 ok");
  for (let use = 0; use < 3; use += 1) assert.equal(slug(await call(KEYS[1])), "401 token-revoked");
  assert.equal(lookUps.length, 2);
  for (const key of [KEYS[0].slice(0, -1), `${KEYS[0]}a`, KEYS[0].replace("live", "test")]) assert.equal(slug(await call(key)), "401 token-malformed");
  assert.equal(lookUps.length, 2);
  await origin.server.stop();
  assert.equal(slug(await call(KEYS[0])), "200 ok");
  const unknown = await call(KEYS[2]);
  assert.equal(slug(unknown), "503 origin-unavailable");
  assert.ok(Number(unknown.headers["retry-after"]) > 0);
}, { change });

gatewayTest("a changed project has its keys looked up again, and a revoked one is refused without", async ({ keys, origin, edge }) => {
  let scopes = "notes:read";
  const lookUps = answerLookUps(origin, keys, () => resolved({ scopes, epoch: origin.policy.projects.notes.credential_epoch }));
  const call = () => edge.request("/notes/api/x", { headers: { "X-API-Key": KEYS[0] } });
  assert.equal(slug(await call()), "200 ok");
  scopes = "";
  origin.policy.projects.notes.credential_epoch += 1;
  origin.version += 1;
  await refreshed(edge, keys);
  assert.equal(slug(await call()), "403 insufficient-scope");
  assert.equal(lookUps.length, 2);
  origin.policy.revocations = { tokens: { "key-1": seconds() + 600 } };
  origin.version += 1;
  await refreshed(edge, keys);
  assert.equal(slug(await call()), "401 token-revoked");
  assert.equal(lookUps.length, 2);
}, { change });

/** Has the edge fetch the newest policy: an unknown `kid` makes it ask, at most every few seconds. */
async function refreshed(edge, keys) {
  const version = async () => /gateward_edge_policy_version (\d+)/.exec((await edge.request("/metrics")).text)?.[1];
  const before = await version();
  while ((await version()) === before) await edge.request("/notes/api/x", { token: accessToken(keys) });
}

gatewayTest("an answer that is not the origin's own word opens nothing", async ({ keys, origin, edge }) => {
  const good = (hash) => ({ iss: ISSUER, sha256: hash, made_at: Date.now(), credential: resolved() });
  const lies = [
    (hash) => keys.edge.sign("credential-statement+jwt", good(hash)),
    (hash) => keys.policy.sign("policy-statement+jwt", good(hash)),
    (hash) => keys.policy.sign("credential-statement+jwt", { ...good(hash), sha256: base64url(sha256("another")) }),
    (hash) => keys.policy.sign("credential-statement+jwt", { ...good(hash), iss: "https://evil.test" }),
    (hash) => keys.policy.sign("credential-statement+jwt", { ...good(hash), made_at: Date.now() - 301_000 }),
    (hash) => keys.policy.sign("credential-statement+jwt", good(hash)).slice(0, -1),
    () => "",
  ];
  let lie;
  const echo = origin.answer;
  origin.answer = (request, response) => {
    if (request.url !== "/internal/credentials/resolve") return echo(request, response);
    const statement = lie(JSON.parse(request.body.toString()).sha256);
    return response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ statement }));
  };
  for (const [index, made] of lies.entries()) {
    lie = made;
    assert.equal(slug(await edge.request("/notes/api/x", { headers: { "X-API-Key": KEYS[index] } })), "503 origin-unavailable", made.toString());
  }
}, { change });

gatewayTest("a token that is bound to a key needs a proof for each request", async ({ keys, upstream, edge }) => {
  const holder = new Signer("ES256");
  const { kty, crv, x, y } = holder.jwk;
  const jkt = base64url(sha256(JSON.stringify({ crv, kty, x, y })));
  const token = accessToken(keys, { cnf: { jkt } });
  const proof = (claims = {}, header = {}) => {
    const good = { jti: randomUUID(), htm: "GET", htu: `${ISSUER}/notes/api/x`, iat: seconds(), ath: base64url(sha256(token)) };
    return holder.sign({ typ: "dpop+jwt", jwk: { kty, crv, x, y }, ...header }, { ...good, ...claims });
  };
  const send = (dpop, scheme = "DPoP") => edge.request("/notes/api/x", { headers: { Authorization: `${scheme} ${token}`, ...(dpop && { DPoP: dpop }) } });
  const once = proof();
  assert.equal(slug(await send(once)), "200 ok");
  assert.equal(upstream.requests.at(-1).headers.dpop, undefined);
  const replayed = await send(once);
  assert.equal(slug(replayed), "401 dpop-proof-invalid");
  assert.match(replayed.headers["www-authenticate"], /^DPoP .*error="invalid_dpop_proof".*algs="EdDSA ES256"/);
  assert.equal(slug(await send(proof(), "Bearer")), "401 token-binding");
  assert.equal(slug(await send(undefined)), "401 token-binding");
  for (const claims of [{ htm: "POST" }, { htu: `${ISSUER}/notes/api/y` }, { iat: seconds() - 61 }, { ath: "x" }]) {
    assert.equal(slug(await send(proof(claims))), "401 dpop-proof-invalid", JSON.stringify(claims));
  }
  const thief = new Signer("ES256");
  const stolen = thief.sign({ typ: "dpop+jwt", jwk: { kty, crv, x, y } }, { jti: "s", htm: "GET", htu: `${ISSUER}/notes/api/x`, iat: seconds(), ath: base64url(sha256(token)) });
  assert.equal(slug(await send(stolen)), "401 dpop-proof-invalid");
  assert.equal(slug(await send(`${proof()}, ${proof()}`)), "401 dpop-proof-invalid");
  // A good proof again, after all of that; the second use of two at once is refused.
  const twice = proof();
  const answers = await Promise.all([send(twice), send(twice)]);
  assert.deepEqual(answers.map(slug).sort(), ["200 ok", "401 dpop-proof-invalid"]);
}, { change });

gatewayTest("a client certificate counts where a terminator is trusted to have verified it", async ({ keys, upstream, edge }) => {
  const header = `:${CERTIFICATE.toString("base64")}:`;
  const send = (headers, token) => edge.request("/notes/api/x", { headers, token });
  assert.equal(slug(await send({ "Client-Cert": header })), "200 ok");
  const { headers } = upstream.requests.at(-1);
  assert.deepEqual([headers["x-gateway-subject"], headers["client-cert"]], ["service:billing", undefined]);
  assert.equal(slug(await send({ "Client-Cert": `:${Buffer.from("another").toString("base64")}:` })), "401 token-unknown-key");
  assert.equal(slug(await send({})), "401 credential-missing");
  const bound = accessToken(keys, { cnf: { "x5t#S256": thumbprint } });
  assert.equal(slug(await send({ "Client-Cert": header }, bound)), "200 ok");
  assert.equal(slug(await send({}, bound)), "401 token-binding");
}, { change, bindings: { CLIENT_CERTIFICATE: "client-cert-header" } });

gatewayTest("a certificate's header is anybody's where no terminator is trusted", async ({ upstream, edge }) => {
  const header = `:${CERTIFICATE.toString("base64")}:`;
  assert.equal(slug(await edge.request("/notes/api/x", { headers: { "Client-Cert": header } })), "401 credential-missing");
  await edge.request("/notes/api/health", { headers: { "Client-Cert": header, "client_cert": header } });
  assert.equal(JSON.stringify(upstream.requests.at(-1).rawHeaders).includes(header), false);
}, { change });

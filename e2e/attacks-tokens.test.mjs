// Attacks on tokens, by their rows in the catalogue: algorithm confusion (9), negated claims (10), damaged tokens (11). Every
// token is sent through the edge; the upstream must never see the request.
import assert from "node:assert/strict";
import { createHmac, createPrivateKey, sign as signWith } from "node:crypto";
import { after, before, test } from "node:test";
import { decodeJwt, decodeProtectedHeader, exportJWK, exportSPKI, generateKeyPair, importJWK } from "jose";
import { gateway, issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { applyProject, issueServiceToken } from "./driver/gateward.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { startUpstream } from "./driver/upstream.mjs";
import { inParallel } from "./driver/until.mjs";

let upstream;
let app;
let token;
let header;
let claims;
let publishedKey;
let secret;

before(async () => {
  upstream = await startUpstream();
  [app] = await OAuthApp.register({ upstream: upstream.url });
  ({ access_token: token } = await new Person().signInTo(app));
  header = decodeProtectedHeader(token);
  claims = decodeJwt(token);
  const { keys } = (await app.http.get(`${issuer}/.well-known/jwks.json`)).json;
  publishedKey = keys.find(({ kid }) => kid === header.kid);
  secret = gateway.environment.GATEWAY_JWT_SECRET;
  assert.equal((await app.call(token)).status, 200, "the token is good as it is");
  upstream.requests.splice(0);
});
after(() => upstream.close());

const encode = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const hmac = (key) => (input) => createHmac("sha256", key).update(input).digest();
const eddsa = (key) => (input) => signWith(null, Buffer.from(input), key);
const nothing = () => Buffer.alloc(0);

/** A token of any header, claims (or their text) and signature. */
function forge(protectedHeader, payload, signature) {
  const input = `${encode(protectedHeader)}.${encode(payload)}`;
  return `${input}.${signature(input).toString("base64url")}`;
}

async function assertRefused(what, forged, project = app.project) {
  const answer = await app.http.get(`${issuer}/${project}/api/hello`, { headers: { authorization: `Bearer ${forged}` } });
  assert.ok([400, 401, 403].includes(answer.status), `${what}: ${answer.status} ${answer.text}`);
  assert.equal(answer.headers["content-type"], "application/problem+json", what);
  if (answer.status === 401) assert.match(answer.headers["www-authenticate"] ?? "", /^Bearer /, what);
  assert.deepEqual(upstream.requests, [], `${what} reached the upstream`);
  return answer.json.type.split("/").at(-1);
}

test("row 9: an algorithm is its key's, never the header's", async () => {
  const own = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const ownPrivate = createPrivateKey({ key: await exportJWK(own.privateKey), format: "jwk" });
  const ownPublic = await exportJWK(own.publicKey);
  const publicBytes = Buffer.from(publishedKey.x, "base64url");
  const spki = await exportSPKI(await importJWK(publishedKey, "EdDSA", { extractable: true }));
  const { kid, typ } = header;
  const forgeries = {
    none: forge({ alg: "none", typ, kid }, claims, nothing),
    "none without kid": forge({ alg: "none", typ }, claims, nothing),
    "None in capitals": forge({ alg: "NONE", typ, kid }, claims, nothing),
    "no alg": forge({ typ, kid }, claims, eddsa(ownPrivate)),
    "EdDSA by another key under the published kid": forge({ alg: "EdDSA", typ, kid }, claims, eddsa(ownPrivate)),
    "EdDSA by another key under its own kid": forge({ alg: "EdDSA", typ, kid: "own" }, claims, eddsa(ownPrivate)),
    "HS256 with the public key's bytes": forge({ alg: "HS256", typ, kid }, claims, hmac(publicBytes)),
    "HS256 with the public key's text": forge({ alg: "HS256", typ, kid }, claims, hmac(publishedKey.x)),
    "HS256 with the public key as PEM": forge({ alg: "HS256", typ, kid }, claims, hmac(spki)),
    "HS256 with the public key as a JWK": forge({ alg: "HS256", typ, kid }, claims, hmac(JSON.stringify(publishedKey))),
    "HS256 with an empty key": forge({ alg: "HS256", typ, kid }, claims, hmac("")),
    "HS256 with the service secret under the published kid": forge({ alg: "HS256", typ, kid }, claims, hmac(secret)),
    "an access token by the service secret": forge({ alg: "HS256", typ }, claims, hmac(secret)),
    "a service token by the service secret under the published kid": forge(
      { alg: "HS256", typ: "JWT", kid },
      { ...claims, project: app.project, service: "x" },
      hmac(secret),
    ),
    "an embedded key": forge({ alg: "EdDSA", typ, jwk: ownPublic }, claims, eddsa(ownPrivate)),
    "an embedded key beside the published kid": forge({ alg: "EdDSA", typ, kid, jwk: ownPublic }, claims, eddsa(ownPrivate)),
    "a key by URL": forge({ alg: "EdDSA", typ, kid, jku: `${upstream.url}/jwks.json` }, claims, eddsa(ownPrivate)),
    "a certificate by URL": forge({ alg: "EdDSA", typ, kid, x5u: `${upstream.url}/cert.pem` }, claims, eddsa(ownPrivate)),
    "an unknown critical extension": forge({ alg: "EdDSA", typ, kid, crit: ["exp2"], exp2: 1 }, claims, eddsa(ownPrivate)),
    ES256: forge({ alg: "ES256", typ, kid }, claims, eddsa(ownPrivate)),
    "another kid's path": forge({ alg: "EdDSA", typ, kid: "../../etc/passwd" }, claims, eddsa(ownPrivate)),
  };
  for (const [what, forged] of Object.entries(forgeries)) await assertRefused(what, forged);
  // The token as issued still works: nothing above has poisoned what the edge remembers.
  assert.equal((await app.call(token)).status, 200);
  upstream.requests.splice(0);
});

test("row 9: headers that bring a key or an extension are refused although the signature would be good", async () => {
  // HS256 service tokens are the only ones a test can sign; with a plain header this one is accepted.
  const payload = serviceClaims();
  assert.equal((await app.call(forge({ alg: "HS256", typ: "JWT" }, payload, hmac(secret)))).status, 200);
  upstream.requests.splice(0);
  const own = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const additions = {
    jwk: await exportJWK(own.publicKey),
    jku: "https://keys.example.test/jwks.json",
    x5u: "https://keys.example.test/x.pem",
    x5c: ["MIIB"],
    crit: ["b64"],
    b64: false,
    typ: "at+jwt",
  };
  for (const [name, value] of Object.entries(additions)) {
    const more = name === "b64" ? { crit: ["b64"], b64: value } : { [name]: value };
    await assertRefused(`a header with ${name}`, forge({ alg: "HS256", typ: "JWT", ...more }, payload, hmac(secret)));
  }
  const doubled = `{"alg":"HS256","alg":"HS256","typ":"JWT"}`;
  await assertRefused("a header with a doubled member", forge(doubled, payload, hmac(secret)));
  await assertRefused(
    "claims with a doubled member",
    forge({ alg: "HS256", typ: "JWT" }, JSON.stringify(payload).replace("{", `{"project":"another",`), hmac(secret)),
  );
});

const serviceClaims = () => {
  const now = Math.floor(Date.now() / 1000);
  return { jti: `e2e-${now}-${process.pid}-${Math.random()}`, project: app.project, service: "modal", iat: now, exp: now + 300 };
};

test("row 10: every negated claim of a service token is refused", async () => {
  const now = Math.floor(Date.now() / 1000);
  const good = serviceClaims();
  const without = (name) => Object.fromEntries(Object.entries(good).filter(([key]) => key !== name));
  const negations = {
    expired: { ...good, exp: now - 1 },
    "expiring this very second": { ...good, exp: now },
    "no exp": without("exp"),
    "exp as text": { ...good, exp: String(good.exp) },
    "exp negative": { ...good, exp: -1 },
    "issued in the future": { ...good, iat: now + 120 },
    "not valid yet": { ...good, nbf: now + 120 },
    "no iat": without("iat"),
    "no jti": without("jti"),
    "another issuer": { ...good, iss: "https://other.example.test" },
    "another project": { ...good, project: "captionacc" },
    "no project": without("project"),
    "no service": without("service"),
    "project as a list": { ...good, project: [app.project] },
    "another workspace": { ...good, workspace_id: "00000000-0000-4000-8000-000000000001" },
    "too few scopes": { ...good, scope: "notes:write" },
    "claims that are no object": [good],
  };
  for (const [what, payload] of Object.entries(negations)) {
    await assertRefused(what, forge({ alg: "HS256", typ: "JWT" }, payload, hmac(secret)));
  }
});

test("row 10: a token is good for its own project alone", async () => {
  const other = await applyProject({ upstream: upstream.url });
  upstream.requests.splice(0);
  assert.equal(await assertRefused("another project's access token", token, other.project), "token-wrong-audience");
  const service = await issueServiceToken(other.project, "api");
  assert.equal(await assertRefused("another project's service token", service.token), "wrong-project");
  const refresh = (await new Person().signInTo(app)).refresh_token;
  await assertRefused("a refresh token", refresh);
});

test("row 11: every truncation and every flipped bit of a token fails", async (t) => {
  const damaged = [];
  for (let length = 0; length < token.length; length++) damaged.push(token.slice(0, length));
  for (let at = 0; at < token.length; at++) {
    for (let bit = 0; bit < 7; bit++) {
      const flipped = String.fromCharCode(token.charCodeAt(at) ^ (1 << bit));
      // Controls cannot stand in a header; HTTP itself refuses them.
      if (flipped >= "!" && flipped <= "~") damaged.push(token.slice(0, at) + flipped + token.slice(at + 1));
    }
  }
  damaged.push(
    `${token}.`,
    `${token}=`,
    `${token}A`,
    `${token}.AAAA`,
    `.${token}`,
    token.replace(".", ".."),
    `${token} ${token}`,
  );
  assert.equal((await app.call(token)).status, 200);
  upstream.requests.splice(0);
  // Each caller stays below its address's limit.
  const callers = Array.from({ length: Math.ceil(damaged.length / 50) }, () => new HttpClient({ connections: 1 }));
  const statuses = new Map();
  await inParallel(damaged, 16, async (forged, index) => {
    const caller = callers[Math.floor(index / 50)];
    const answer = await caller.get(`${issuer}/${app.project}/api/hello`, { headers: { authorization: `Bearer ${forged}` } });
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    assert.ok(answer.status === 401 || answer.status === 400, `${answer.status} to ${forged}`);
  });
  for (const caller of callers) caller.close();
  assert.deepEqual(upstream.requests, []);
  t.diagnostic(`${damaged.length} damaged tokens: ${JSON.stringify(Object.fromEntries(statuses))}`);
  assert.equal((await app.call(token)).status, 200, "the whole token still works");
});

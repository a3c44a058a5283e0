// API keys, opaque tokens and tokens of external issuers, through the whole gateway: made by the operator's commands, told by the origin,
// decided at the edge.
import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { assertProblem } from "./driver/assertions.mjs";
import { gateward, ownName } from "./driver/gateward.mjs";
import { gateway, issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { inParallel, until } from "./driver/until.mjs";
import { startUpstream } from "./driver/upstream.mjs";

/** The published bound of a change, in milliseconds. */
const BOUND = 6_000;

const project = ownName("credentials");
const other = ownName("credentials-other");
const http = new HttpClient();
let upstream;
let idp;

before(async () => {
  upstream = await startUpstream();
  idp = await startIssuer();
  const service = (slug) => `[[project]]
slug = "${slug}"
[[project.service]]
slug = "api"
upstreams = ["${upstream.url}"]
scopes = ["notes:read"]
public = [{ method = "GET", path = "/health" }]
credentials = ["api_key", "opaque_token", "external_token"]
`;
  const text = `[workspace]
slug = "${project}"
name = "Credentials"
${service(project)}[[project.issuer]]
issuer = "${idp.url}"
jwks_uri = "${idp.url}/jwks.json"
audiences = ["notes-api"]
scopes = ["notes:read"]
${service(other)}`;
  const folder = await mkdtemp(join(tmpdir(), "gateward-credentials-"));
  await writeFile(join(folder, "apply.toml"), text);
  await gateward("apply", join(folder, "apply.toml"));
  await rm(folder, { recursive: true });
  const known = async () => (await http.get(`${issuer}/${project}/api/health`)).status === 200;
  await until("the edge knows the project", known, { within: BOUND });
});

after(async () => {
  http.close();
  await upstream.close();
  await idp.close();
});

async function create(...given) {
  return JSON.parse(await gateward("api-key", "create", "--project", project, "--scopes", "notes:read", "--json", ...given));
}

function call(headers, { path = "/hello", through = project, client = http } = {}) {
  return client.get(`${issuer}/${through}/api${path}`, { headers });
}

const withKey = (key) => ({ "x-api-key": key });
const withBearer = (token) => ({ authorization: `Bearer ${token}` });

/** How many look-ups the origin has answered. */
async function lookUps() {
  const text = await (await fetch(`${gateway.origin_url}/metrics`)).text();
  return Number(/^gateward_origin_requests_total\{endpoint="credentials\/resolve"\} (\d+)/m.exec(text)?.[1] ?? 0);
}

test("an API key is looked up once, tells the upstream who calls, and does not get there itself", async () => {
  const { key, id } = await create("--name", "ci");
  assert.match(key, /^gw_live_[0-9A-Za-z]{22}_[0-9A-Za-z]{49}$/);
  const before = await lookUps();
  for (const headers of [withKey(key), withBearer(key), { authorization: `bearer ${key}` }]) {
    const answer = await call(headers);
    assert.equal(answer.status, 200, answer.text);
    const seen = answer.json.headers;
    assert.equal(seen["x-gateway-subject"], `api_key:${id}`);
    assert.equal(seen["x-gateway-token-id"], id);
    assert.equal(seen["x-gateway-scopes"], "notes:read");
    assert.equal(seen["x-gateway-project"], project);
    assert.ok(!JSON.stringify(answer.json).includes(key.slice(-49)), "the key reached the upstream");
  }
  const answers = await inParallel(Array.from({ length: 40 }), 8, () => call(withKey(key)));
  assert.ok(answers.every((answer) => answer.status === 200));
  // One isolate may have asked twice while the first answer was on its way.
  const asked = (await lookUps()) - before;
  assert.ok(asked >= 1 && asked <= 4, `${asked} look-ups for one key`);
});

test("row 11: a truncated or mistyped key is refused without a look-up", async () => {
  const { key } = await create("--name", "row 11");
  const client = new HttpClient();
  const before = await lookUps();
  const wrong = Array.from({ length: key.length - 1 }, (_, index) => key.slice(0, index + 1));
  for (let index = 8; index < key.length; index += 1) {
    wrong.push(key.slice(0, index) + (key[index] === "0" ? "1" : "0") + key.slice(index + 1));
  }
  wrong.push(`${key}0`, key.replace("gw_live_", "gw_test_"));
  for (const text of wrong) {
    assertProblem(await call(withKey(text), { client }), 401, "token-malformed");
  }
  client.close();
  assert.equal((await lookUps()) - before, 0);
});

test("a key that was never issued is refused, and asked about now and then only", async () => {
  const { key, id } = await create("--name", "never");
  // Well formed, and nobody's: the key's own checksum is what tells a slip, not a forgery.
  await gateward("api-key", "revoke", id, "--reason", "before it was used");
  const client = new HttpClient();
  const before = await lookUps();
  const started = performance.now();
  for (let index = 0; index < 60; index += 1) {
    assertProblem(await call(withKey(key), { client }), 401, "token-revoked");
  }
  client.close();
  const allowed = 2 + Math.ceil((performance.now() - started) / 5_000);
  const asked = (await lookUps()) - before;
  assert.ok(asked <= allowed, `${asked} look-ups, where ${allowed} are allowed`);
});

test("a revoked key is refused within the bound", async (t) => {
  const runs = 10;
  const keys = await Promise.all(Array.from({ length: runs }, (_, index) => create("--name", `revoked ${index}`)));
  const bystander = await create("--name", "bystander");
  const times = await Promise.all(
    keys.map(async ({ key, id }) => {
      const client = new HttpClient();
      assert.equal((await call(withKey(key), { client })).status, 200);
      await gateward("api-key", "revoke", id, "--reason", "test");
      const from = performance.now();
      const answer = await until(
        "the key is refused",
        async () => {
          const answer = await call(withKey(key), { client });
          return answer.status !== 200 && answer;
        },
        { within: BOUND, every: 50 },
      );
      const took = performance.now() - from;
      assertProblem(answer, 401, "token-revoked");
      for (let index = 0; index < 5; index += 1) assertProblem(await call(withKey(key), { client }), 401, "token-revoked");
      client.close();
      return took;
    }),
  );
  t.diagnostic(`${runs} keys refused after at most ${Math.max(...times).toFixed(0)} ms (bound ${BOUND} ms)`);
  assert.equal((await call(withKey(bystander.key))).status, 200, "nobody else's key is touched");
});

test("a key holds for its project, its scopes, its addresses and its time", async () => {
  const { key } = await create("--name", "bounds");
  assertProblem(await call(withKey(key), { through: other }), 403, "wrong-project");

  const weak = JSON.parse(await gateward("api-key", "create", "--project", project, "--name", "weak", "--json"));
  assertProblem(await call(withKey(weak.key)), 403, "insufficient-scope");

  const [here, elsewhere] = [new HttpClient(), new HttpClient()];
  const placed = await create("--name", "placed", "--address", `${here.address}/32`);
  assert.equal((await call(withKey(placed.key), { client: here })).status, 200);
  assertProblem(await call(withKey(placed.key), { client: elsewhere }), 403, "credential-not-accepted");
  here.close();
  elsewhere.close();

  const brief = await create("--name", "brief", "--ttl", "2");
  assert.equal((await call(withKey(brief.key))).status, 200);
  const answer = await until("it has expired", async () => {
    const answer = await call(withKey(brief.key));
    return answer.status !== 200 && answer;
  });
  // The edge knows from its look-up that it has ended, or hears from the origin that there is none.
  assert.ok(["token-expired", "token-revoked"].includes(answer.json.type.split("/").at(-1)), answer.text);
});

test("two credentials in one request are refused, whatever they are", async () => {
  const { key } = await create("--name", "two");
  for (const headers of [
    { ...withKey(key), ...withBearer(key) },
    { ...withKey(key), ...withBearer("e30.e30.e30") },
    { ...withKey(key), authorization: "Basic YTpi" },
  ]) {
    assertProblem(await call(headers), 400, "several-credentials");
  }
});

test("a token of another system is known by its hash, until it is revoked", async () => {
  const token = randomBytes(30).toString("base64url");
  const sha256 = createHash("sha256").update(token).digest("hex");
  assertProblem(await call(withBearer(token)), 401, "token-revoked");
  const imported = ["--project", project, "--name", "legacy", "--subject", "user-17", "--scopes", "notes:read"];
  const { id } = JSON.parse(await gateward("api-key", "import", ...imported, "--sha256", sha256, "--json"));
  // That there was no such token is remembered for a moment.
  const answer = await until(
    "the token is accepted",
    async () => {
      const answer = await call(withBearer(token));
      return answer.status === 200 && answer;
    },
    { within: 15_000 },
  );
  assert.equal(answer.json.headers["x-gateway-subject"], "user-17");
  assert.ok(!JSON.stringify(answer.json).includes(token));
  await gateward("api-key", "revoke", id, "--reason", "moved");
  const refused = await until(
    "the token is refused",
    async () => {
      const answer = await call(withBearer(token));
      return answer.status !== 200 && answer;
    },
    { within: BOUND },
  );
  assertProblem(refused, 401, "token-revoked");
  await assert.rejects(gateward("api-key", "import", ...imported, "--sha256", sha256), /known already/);
});

test("what is printed of keys is never the key", async () => {
  const { key, id } = await create("--name", "printed");
  const listed = await gateward("api-key", "list", "--project", project, "--json");
  assert.ok(!listed.includes(key.slice(-49)));
  const one = JSON.parse(listed).find((listed) => listed.id === id);
  assert.ok(key.startsWith(one.prefix));
  assert.equal(one.kind, "api_key");
});

test("tokens of an external issuer, by the keys that the origin fetched", async () => {
  const accepted = async (token) => {
    const answer = await call(withBearer(token));
    return answer.status === 200 && answer;
  };
  // Nobody has told the origin to fetch: `serve` does so by itself.
  for (const kid of ["es", "rs", "ed"]) {
    const answer = await until(`a token by ${kid} is accepted`, () => accepted(idp.token(kid)), { within: 15_000 });
    assert.equal(answer.json.headers["x-gateway-subject"], `external:${idp.url}#ann`);
    // Of the scopes it brings, those that the project lets the issuer give.
    assert.equal(answer.json.headers["x-gateway-scopes"], "notes:read");
  }
  const seconds = Math.floor(Date.now() / 1000);
  const refusals = {
    "another audience": [idp.token("es", { aud: "other" }), 401, "token-wrong-audience"],
    expired: [idp.token("es", { exp: seconds - 1 }), 401, "token-expired"],
    "not yet valid": [idp.token("es", { nbf: seconds + 60 }), 401, "token-not-yet-valid"],
    "another issuer's name": [idp.token("es", { iss: "https://other.test" }), 401, "token-unknown-key"],
    "our own name": [idp.token("es", { iss: issuer }), 401, "token-unknown-key"],
    "an unknown key": [idp.token("es", {}, { kid: "nobody" }), 401, "token-unknown-key"],
    "another key's name": [idp.token("es", {}, { kid: "rs" }), 401, "token-signature"],
    "another algorithm": [idp.token("es", {}, { alg: "RS256" }), 401, "token-signature"],
    "a key that is for encryption": [idp.token("enc"), 401, "token-unknown-key"],
    "no scope": [idp.token("es", { scope: "admin" }), 403, "insufficient-scope"],
  };
  for (const [what, [token, status, slug]] of Object.entries(refusals)) {
    const answer = await call(withBearer(token));
    assert.equal(answer.status, status, `${what}: ${answer.text}`);
    assert.ok(
      answer.json.type.endsWith(`/${slug}`) || ["another key's name", "another algorithm"].includes(what),
      `${what}: ${answer.text}`,
    );
  }
  // The same token in a project that does not name the issuer.
  assert.equal((await call(withBearer(idp.token("es")), { through: other })).status, 401);

  // The issuer withdraws a key.
  idp.publish(["rs", "next"]);
  const refreshed = JSON.parse(await gateward("issuers", "refresh", "--project", project, "--json"));
  assert.deepEqual(
    refreshed.map(({ issuer, outcome, keys }) => [issuer, outcome, keys]),
    [[idp.url, "changed", ["next", "rs"]]],
  );
  await until("the new key is believed", () => accepted(idp.token("next")), { within: BOUND });
  const withdrawn = async () => (await call(withBearer(idp.token("es")))).status === 401;
  await until("the old key is not", withdrawn, { within: BOUND });

  // The issuer is gone: what was fetched stays.
  idp.publish(undefined);
  await assert.rejects(gateward("issuers", "refresh", "--project", project), /issuers failed/);
  const [listed] = JSON.parse(await gateward("issuers", "list", "--project", project, "--json"));
  assert.deepEqual([listed.keys, listed.failures], [["next", "rs"], 1]);
  assert.match(listed.failure, /500/);
  assert.ok(await accepted(idp.token("rs")));
});

/** An issuer of the test's own, with a key of each kind. */
async function startIssuer() {
  const pairs = {
    es: ["ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })],
    next: ["ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })],
    rs: ["RS256", generateKeyPairSync("rsa", { modulusLength: 2048 })],
    ed: ["EdDSA", generateKeyPairSync("ed25519")],
    enc: ["ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })],
  };
  let published = ["es", "rs", "ed", "enc"];
  const server = createServer((_, response) => {
    if (published === undefined) return response.writeHead(500).end();
    const keys = published.map((kid) => {
      const [alg, { publicKey }] = pairs[kid];
      return { ...publicKey.export({ format: "jwk" }), kid, alg, use: kid === "enc" ? "enc" : "sig" };
    });
    return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ keys }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return {
    url,
    publish: (kids) => (published = kids),
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
    token: (kid, changes = {}, header = {}) => {
      const [alg, { privateKey }] = pairs[kid];
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: url, sub: "ann", aud: "notes-api", iat: now, exp: now + 300, jti: randomBytes(8).toString("hex") };
      const content = { ...claims, scope: "notes:read admin", ...changes };
      const input = `${encoded({ alg, kid, typ: "at+jwt", ...header })}.${encoded(content)}`;
      const key = alg === "ES256" ? { key: privateKey, dsaEncoding: "ieee-p1363" } : privateKey;
      return `${input}.${sign(alg === "EdDSA" ? null : "sha256", Buffer.from(input), key).toString("base64url")}`;
    },
  };
}

// Attacks on how a request is read, by their rows in the catalogue: paths seen two ways (1), identity headers forged, aliased
// and removed (3, 4, 5), public routes stretched (8). Sent byte by byte; what got through is what the upstream received.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { randomInt } from "node:crypto";
import { assertProblem } from "./driver/assertions.mjs";
import { issuer } from "./driver/gateway.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { exchange } from "./driver/raw-http.mjs";
import { startUpstream } from "./driver/upstream.mjs";
import { decodeJwt } from "jose";

const IDENTITY = ["project", "service", "subject", "scopes", "workspace", "client", "token-id", "request-id"];

let upstream;
let app;
let token;

before(async () => {
  upstream = await startUpstream();
  [app] = await OAuthApp.register({ upstream: upstream.url });
  ({ access_token: token } = await new Person().signInTo(app));
});
after(() => upstream.close());
beforeEach(() => upstream.requests.splice(0));

const bearer = () => ["Authorization", `Bearer ${token}`];
const send = (path, headers = [bearer()], more = {}) =>
  exchange(issuer, { target: `/${app.project}/api${path}`, headers, ...more });

/** What arrived, given that exactly one request did. */
function arrived() {
  assert.equal(upstream.requests.length, 1, `the upstream received ${JSON.stringify(upstream.requests.map(({ url }) => url))}`);
  return upstream.requests[0];
}

test("row 1: a path that can be read in two ways is a 400 and reaches nobody", async () => {
  const ambiguous = [
    "/a/../b",
    "/a/..",
    "/a/./b",
    "/.",
    "/%2e%2e/b",
    "/%2E./b",
    "/.%2e/b",
    "//a",
    "/a//b",
    "/a//",
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a\\b",
    "/a;b=1",
    "/a%3bb",
    "/a%00",
    "/a%0d%0aX-Gateway-Subject:%20root",
    "/a%23b",
    "/a%3fb",
    "/a%252fb",
    "/a%252e%252e/b",
    "/a%7f",
    "/a%",
    "/a%2",
    "/a%zz",
    "/a%c3",
    "/a%c0%af",
    "/health/../secret",
    "/health%2f..%2fsecret",
    "/open/../hello",
    "/open/%2e%2e/hello",
    "/open/..;/hello",
    "/health;/hello",
  ];
  for (const path of ambiguous) {
    for (const headers of [[bearer()], []]) {
      const answer = await send(path, headers);
      assertProblem(answer, 400, "path-not-canonical");
    }
  }
  for (const target of [
    `//${app.project}/api/health`,
    `/${app.project}/../${app.project}/api/health`,
    `/${app.project}%2fapi/health`,
  ]) {
    assertProblem(await exchange(issuer, { target }), 400, "path-not-canonical");
  }
  assert.deepEqual(upstream.requests, []);
});

test("row 1: the path that was matched is the path that is forwarded, in one spelling", async () => {
  for (const [sent, received] of [
    ["/%41dmin", "/Admin"],
    ["/caf%c3%a9", "/caf%C3%A9"],
    ["/a%20b", "/a%20b"],
    ["/100%25", "/100%25"],
    ["/a/b/", "/a/b/"],
    ["/a?x=1&y=%2f..%2f", "/a?x=1&y=%2f..%2f"],
    ["/a?next=/../b;c", "/a?next=/../b;c"],
  ]) {
    const answer = await send(sent);
    assert.equal(answer.status, 200, `${sent}: ${answer.text}`);
    assert.equal(arrived().url, received, sent);
    upstream.requests.splice(0);
  }
});

test("row 1: an absolute request target or another Host chooses neither project nor upstream", async () => {
  const absolute = await exchange(issuer, { target: `http://127.0.0.1:1/${app.project}/api/hello`, headers: [bearer()] });
  const foreign = await send("/hello", [bearer(), ["Host", "127.0.0.1:1"]]);
  for (const answer of [absolute, foreign])
    assert.ok(answer === undefined || [200, 400, 404, 421].includes(answer.status), `${answer?.status}`);
  for (const seen of upstream.requests) {
    assert.equal(seen.url, "/hello");
    assert.equal(seen.headers.host, new URL(upstream.url).host);
  }
});

test("row 8: a public route is one path and method, whatever query, fragment, user agent or spelling comes along", async () => {
  assert.equal((await send("/health", [])).status, 200);
  assert.equal((await send("/open/a", [])).status, 200);
  upstream.requests.splice(0);
  const closed = [
    "/hello?path=/health",
    "/hello?/health",
    "/Health",
    "/health/",
    "/healthz",
    "/open",
    "/openx/a",
    "/HEALTH",
    "/hello?x=/open/a",
  ];
  for (const path of closed) {
    const headers = [
      ["User-Agent", "kube-probe/1.0"],
      ["X-Original-URL", "/health"],
      ["X-Rewrite-URL", "/health"],
      ["X-Forwarded-Uri", "/health"],
    ];
    assertProblem(await send(path, headers), 401, "credential-missing");
  }
  for (const method of ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get", "PATCH"]) {
    const answer = await send("/health", [["X-HTTP-Method-Override", "GET"]], { method });
    assert.ok(answer === undefined || answer.status >= 400, `${method} /health: ${answer?.status}`);
  }
  assert.deepEqual(upstream.requests, []);
});

/** Every spelling of a name that some server folds into it. */
function spellings(name) {
  const words = name.split("-");
  const upperAndLower = [...name].map((letter, index) => (index % 2 ? letter.toUpperCase() : letter.toLowerCase())).join("");
  const sameWords = [name, name.toLowerCase(), name.toUpperCase(), upperAndLower];
  if (words.length === 1) return sameWords;
  return [
    ...sameWords,
    words.join("_"),
    words.join("."),
    words.join("_").toUpperCase(),
    `${words[0]}-${words.slice(1).join("_")}`,
    `${words[0]}_${words.slice(1).join(".")}`,
  ];
}

const FORGED = "forged-by-caller";
const forgedNames = [
  ...IDENTITY.map((name) => `X-Gateway-${name}`),
  "X-Gateway-Edge-Assertion",
  "X-Gateway-Anything-Else",
  "X-Forwarded-For",
  "X-Forwarded-Host",
  "X-Forwarded-User",
  "X-Forwarded-Proto",
  "X-Original-URL",
  "X-Real-IP",
  "X-Service-Name",
  "Forwarded",
].flatMap(spellings);

function assertNothingForged(seen) {
  const forged = seen.rawHeaders.filter(([, value]) => value.includes(FORGED));
  assert.deepEqual(forged, [], "the upstream was told what the caller had forged");
}

function assertIdentity(seen) {
  const claims = decodeJwt(token);
  const expected = {
    "x-gateway-project": app.project,
    "x-gateway-service": "api",
    "x-gateway-subject": claims.sub,
    "x-gateway-client": app.clientId,
    "x-gateway-token-id": claims.jti,
    "x-gateway-workspace": claims.workspace_id,
  };
  for (const [name, value] of Object.entries(expected)) {
    const values = seen.rawHeaders.filter(([sent]) => sent.toLowerCase() === name).map(([, sent]) => sent);
    assert.deepEqual(values, [value], name);
  }
  assert.deepEqual(seen.headers["x-gateway-scopes"].split(" ").sort(), [...app.scopes].sort());
  assert.match(seen.headers["x-gateway-request-id"], /^[\w-]{8,}$/);
}

test("rows 3 and 4: no spelling of a reserved header passes, with a token", async () => {
  // Each alone, so that one cannot hide behind another; then all of them, twice.
  const batches = [
    ...forgedNames.map((name) => [[name, FORGED]]),
    forgedNames
      .flatMap((name) => [
        [name, FORGED],
        [name, FORGED],
      ])
      .slice(0, 60),
  ];
  for (const batch of batches) {
    const answer = await send("/hello", [...batch, bearer(), ...batch]);
    assert.equal(answer.status, 200, `${JSON.stringify(batch[0])}: ${answer.text}`);
    const seen = arrived();
    assertNothingForged(seen);
    assertIdentity(seen);
    assert.equal(seen.headers.authorization, undefined, "the token is not passed on");
    upstream.requests.splice(0);
  }
});

test("rows 3 and 4: no spelling of a reserved header passes on a public route either", async () => {
  for (const name of forgedNames) {
    for (const credential of [[], [bearer()], [["Authorization", "Bearer nonsense"]]]) {
      assert.equal((await send("/health", [[name, FORGED], ...credential])).status, 200, name);
      const seen = arrived();
      assertNothingForged(seen);
      for (const person of ["subject", "scopes", "client", "token-id", "workspace"]) {
        assert.equal(seen.headers[`x-gateway-${person}`], undefined, `an anonymous request has no ${person} (${name})`);
      }
      upstream.requests.splice(0);
    }
  }
});

test("row 5: hop-by-hop names in Connection remove nothing that the gateway sets", async () => {
  const mixed = (name) => [...name].map((letter) => (randomInt(2) ? letter.toUpperCase() : letter.toLowerCase())).join("");
  const lists = [
    "X-Gateway-Subject",
    "x-gateway-subject, x-gateway-scopes",
    "close, X-Gateway-Project,X-Gateway-Workspace",
    "keep-alive,\tX-Gateway-Token-Id , close",
  ];
  for (let round = 0; round < 40; round++) {
    const chosen = IDENTITY.filter(() => randomInt(2)).map((name) => mixed(`x-gateway-${name}`));
    lists.push([...chosen, "close", mixed("authorization"), mixed("x-forwarded-for")].join(randomInt(2) ? ", " : ","));
  }
  for (const list of lists) {
    for (const extra of [
      [],
      [["Connection", mixed("x-gateway-subject")]],
      [["Proxy-Connection", list]],
      [["Keep-Alive", list]],
    ]) {
      const answer = await send("/hello", [["Connection", list], ...extra, ["X-Gateway-Subject", FORGED], bearer()]);
      assert.equal(answer.status, 200, `Connection: ${list}: ${answer.text}`);
      const seen = arrived();
      assertIdentity(seen);
      assertNothingForged(seen);
      upstream.requests.splice(0);
    }
  }
});

test("row 2: where a request comes from is the peer's address, not what X-Forwarded-For says", async () => {
  const address = "127.77.3.9";
  const claims = [
    ["X-Forwarded-For", "203.0.113.9"],
    ["CF-Connecting-IP", "203.0.113.9"],
    ["Forwarded", "for=203.0.113.9"],
    ["True-Client-IP", "203.0.113.9"],
  ];
  assert.equal((await send("/hello", [...claims, bearer()], { address })).status, 200);
  const seen = arrived();
  assert.equal(seen.headers["x-forwarded-for"], process.platform === "linux" ? address : "127.0.0.1");
  assert.equal(seen.headers.forwarded, undefined);
  assert.equal(seen.headers["true-client-ip"], undefined);
});

test("the gateway's own cookie stays with the gateway; an upstream gets the others", async () => {
  const cookie = ["Cookie", "theme=dark; __Host-gateward_session=secret; lang=en"];
  assert.equal((await send("/hello", [cookie, bearer()])).status, 200);
  assert.equal(arrived().headers.cookie, "theme=dark; lang=en");
});

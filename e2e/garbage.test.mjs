// Random garbage, a few thousand requests of it: never a 5xx from edge or origin other than the documented 502 and 503, never a
// hang, never a crash. Bodies above the bound are a 413. The seed is printed, and SEED repeats a run.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { randomInt } from "node:crypto";
import { assertProblem } from "./driver/assertions.mjs";
import { record, gateway, issuer } from "./driver/gateway.mjs";
import { HttpClient, ownAddress } from "./driver/http-client.mjs";
import { issueServiceToken } from "./driver/gateward.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { exchange, exchangeBytes } from "./driver/raw-http.mjs";
import { inParallel } from "./driver/until.mjs";

const REQUESTS = Number(process.env.GARBAGE_REQUESTS ?? 3_000);
const SEED = Number(process.env.SEED ?? randomInt(2 ** 31));
const AT_ONCE = 24;

let app;
let tokens;
let processes;

before(async () => {
  [app] = await OAuthApp.register();
  tokens = await new Person().signInTo(app);
  processes = record().processes;
});
after(() => {
  const now = record().processes;
  for (const part of ["edge", "origin", "forwarder"]) assert.equal(now[part], processes[part], `${part} was restarted`);
});

/** A small generator with a seed (mulberry32): the same seed gives the same garbage. */
function generator(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit) => Math.floor(next() * limit);
  const pick = (list) => list[below(list.length)];
  const text = (alphabet, longest) => Array.from({ length: below(longest + 1) }, () => alphabet[below(alphabet.length)]).join("");
  return { below, pick, text };
}

const VISIBLE = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join("");
const NASTY = [..."%%%%//..;\\?#&=+'\"<>{}[]()|^~`!@$*,:0aZé\u00ff\u0001\u007f\t"];
const SEGMENTS = [
  "oauth",
  "authorize",
  "token",
  "revoke",
  "sign-in",
  "code",
  "link",
  "sign-out",
  "consent",
  "account",
  "assets",
  "docs",
  "errors",
  "internal",
  "policy",
  ".well-known",
  "jwks.json",
  "metrics",
  "ping",
  "notes",
  "captionacc",
  "api",
  "prefect",
  "..",
  "%2e%2e",
  "%00",
  "%ff",
  "gateward.css",
];
const PATHS = [
  "/oauth/authorize",
  "/oauth/token",
  "/oauth/revoke",
  "/sign-in",
  "/sign-in/code",
  "/sign-in/link",
  "/sign-out",
  "/consent",
  "/account",
  "/",
  "/notes/api/health",
  "/docs/errors/rate-limited",
];
const METHODS = ["GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get", "QUERY"];
const NAMES = [
  "Authorization",
  "Cookie",
  "Content-Type",
  "Accept",
  "Origin",
  "Referer",
  "Sec-Fetch-Site",
  "X-Gateway-Subject",
  "X-Gateway-Edge-Assertion",
  "If-None-Match",
  "Range",
  "Expect",
  "TE",
  "Upgrade",
  "Accept-Encoding",
  "X-Request-Id",
  "Forwarded",
  "Transfer-Encoding",
  "Content-Encoding",
  "Host",
];
const FIELDS = [
  "grant_type",
  "code",
  "code_verifier",
  "client_id",
  "redirect_uri",
  "refresh_token",
  "token",
  "scope",
  "state",
  "request",
  "csrf",
  "decision",
  "email",
  "session",
  "resource",
  "response_type",
  "code_challenge",
  "code_challenge_method",
];

/** One request of garbage: near enough to the real thing that it gets past the first check now and then. */
function garbage({ below, pick, text }) {
  const real = {
    client_id: app.clientId,
    redirect_uri: app.redirectUri,
    refresh_token: tokens.refresh_token.slice(0, -3),
    token: tokens.access_token.slice(0, 40),
    grant_type: pick(["refresh_token", "authorization_code", "client_credentials"]),
    code: tokens.code,
    scope: "notes:read",
    response_type: "code",
    code_challenge_method: "S256",
    code_challenge: "A".repeat(43),
    email: `g${below(10 ** 9)}@example.test`,
  };
  const value = (name) =>
    pick([
      () => real[name] ?? "",
      () => text(NASTY, 30),
      () => text(VISIBLE, 60),
      () => "A".repeat(below(3_000)),
      () => "\u0000",
      () => "💥".repeat(below(9)),
    ])();
  const encoded = () =>
    Array.from({ length: below(8) }, () => pick(FIELDS))
      .map((name) => `${pick([encodeURIComponent, String])(name)}=${pick([encodeURIComponent, String])(value(name))}`)
      .join(pick(["&", "&", "&", ";", "&&"]));
  const made = () =>
    Array.from({ length: below(5) }, () =>
      pick([() => pick(SEGMENTS), () => pick(SEGMENTS), () => text(NASTY, 12), () => app.project])(),
    ).join(pick(["/", "/", "/", "//"]));
  const path = below(2) ? pick(PATHS) : `${pick(["/", "/", "/", "//", ""])}${made()}`;
  const query = below(2) ? `?${encoded()}` : "";
  // A target cannot hold what would end the request line; everything else is sent as it is.
  const target = `${path}${query}`.replace(/[\r\n\u0000 ]/g, "%20") || "/";
  const headers = Array.from({ length: below(5) }, () => {
    const name = pick([() => pick(NAMES), () => pick(NAMES), () => `X-${text("abcXYZ-_", 12)}a`])();
    const content = pick([
      () => text(VISIBLE, 80),
      () => `Bearer ${tokens.access_token}`,
      () => `Bearer ${text(VISIBLE, 200)}`,
      () => "application/x-www-form-urlencoded",
      () => "application/json",
      () => `__Host-gateward_session=${text(VISIBLE, 50)}`,
      () => "same-origin",
      () => "x".repeat(below(5_000)),
      () => "chunked",
    ])();
    return [name, content.replace(/[\r\n\u0000]/g, "")];
  });
  const method = pick(METHODS);
  const hasBody = ["POST", "PUT", "PATCH", "DELETE"].includes(method) && below(4) > 0;
  if (hasBody && below(2) && !headers.some(([name]) => name === "Content-Type"))
    headers.push(["Content-Type", "application/x-www-form-urlencoded"]);
  // With a Transfer-Encoding of garbage the length of the body is anybody's guess: those go without one.
  const chunked = headers.some(([name]) => name === "Transfer-Encoding");
  const body =
    hasBody && !chunked
      ? pick([
          encoded,
          encoded,
          () => JSON.stringify({ [text(VISIBLE, 9)]: text(NASTY, 99) }),
          () => "[".repeat(below(20_000)),
          () => text(NASTY, 400),
        ])()
      : "";
  return {
    method,
    target,
    headers: headers.filter(([name]) => name !== "Transfer-Encoding" && name !== "Expect" && name !== "Upgrade"),
    body,
  };
}

/** The origin's own count of its 5xx answers, those for an outage left out. */
async function originFaults() {
  const { text } = await new HttpClient().get(`${gateway.origin_url}/metrics`);
  assert.match(text, /^gateward_origin_answers_total\{/m);
  return text.match(/^gateward_origin_answers_total\{[^}]*status="5(?!03)\d\d"[^\n]*$/gm) ?? [];
}

function assertHandled(what, answer) {
  // A connection that is closed without an answer is HTTP's own refusal of what is not HTTP.
  if (answer === undefined) return;
  assert.ok(answer.status >= 200 && answer.status < 600, what);
  if (answer.status >= 500) {
    assert.ok(
      answer.status === 502 || answer.status === 503 || answer.status === 501,
      `${answer.status} to ${what}: ${answer.text.slice(0, 300)}`,
    );
  }
  assert.doesNotMatch(answer.text, /panicked|RuntimeError|stack backtrace|sqlx|at .*\.rs:\d+/, what);
}

test(`${REQUESTS} requests of garbage`, { timeout: 300_000 }, async (t) => {
  t.diagnostic(`SEED=${SEED}`);
  const random = generator(SEED);
  const faults = await originFaults();
  const requests = Array.from({ length: REQUESTS }, () => garbage(random));
  const statuses = {};
  await inParallel(requests, AT_ONCE, async (request) => {
    const what = JSON.stringify(request).slice(0, 1_500);
    const answer = await exchange(issuer, { ...request, address: ownAddress() }).catch((error) => {
      if (error.code === "ECONNRESET" || error.code === "EPIPE") return undefined;
      throw new Error(`${error.message}; SEED=${SEED}; ${what}`, { cause: error });
    });
    assertHandled(`${what}; SEED=${SEED}`, answer);
    statuses[answer?.status ?? "closed"] = (statuses[answer?.status ?? "closed"] ?? 0) + 1;
  });
  t.diagnostic(JSON.stringify(statuses));
  assert.deepEqual(await originFaults(), faults, "the origin answered with a fault of its own");
  assert.ok((statuses[404] ?? 0) + (statuses[400] ?? 0) > REQUESTS / 10, "the garbage reached the gateway");
  assert.equal((await app.call(tokens.access_token)).status, 200, "and it still works");
});

test("bytes that are no HTTP close the connection or get a 4xx, and hang nothing", async () => {
  const random = generator(SEED + 1);
  const streams = [
    "GET\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcde",
    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nConnection: close\r\n\r\n0\r\n\r\n",
    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\nConnection: close\r\n\r\n",
    "GET /ping HTTP/1.1\r\nHost : x\r\nConnection: close\r\n\r\n",
    `GET /ping HTTP/1.1\r\nHost: x\r\nX: ${"a".repeat(200_000)}\r\nConnection: close\r\n\r\n`,
    `GET /${"a".repeat(100_000)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
    `GET /ping HTTP/1.1\r\nHost: x\r\n${"X: y\r\n".repeat(5_000)}Connection: close\r\n\r\n`,
    "\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ...Array.from({ length: 50 }, () => `${random.text(VISIBLE, 200)}\r\n${random.text(NASTY, 200)}\r\n\r\n`),
  ];
  for (const stream of streams) {
    const bytes = Buffer.from(stream, "latin1");
    const answer = await exchangeBytes(issuer, bytes).catch((error) => {
      if (error.code === "ECONNRESET" || error.code === "EPIPE") return undefined;
      throw error;
    });
    assertHandled(JSON.stringify(stream.slice(0, 200)), answer);
    assert.ok(
      answer === undefined || answer.status < 500 || answer.status === 501,
      `${answer?.status} to ${JSON.stringify(stream.slice(0, 200))}`,
    );
  }
  assert.equal((await new HttpClient().get(`${issuer}/ping`)).status, 200);
});

test("a caller that sends half a request and stops keeps nobody else waiting", async () => {
  const halves = [
    "GET /ping HT",
    "POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\ngrant_type=",
  ];
  const stuck = Array.from({ length: 100 }, (_, index) =>
    exchangeBytes(issuer, Buffer.from(halves[index % 2]), { timeout: 4_000 }).catch(() => undefined),
  );
  const started = performance.now();
  const tokensNow = await new Person().signInTo(app);
  assert.equal((await app.call(tokensNow.access_token)).status, 200);
  assert.ok(performance.now() - started < 10_000);
  await Promise.all(stuck);
});

test("bodies above the bound are a 413, with and without a length, before the origin is asked", async () => {
  const http = new HttpClient();
  const origin = async () =>
    (await http.get(`${gateway.origin_url}/metrics`)).text
      .match(/^gateward_origin_requests_total\{endpoint="(?!policy)[^\n]*$/gm)
      ?.join("\n");
  const counted = await origin();
  /** The edge may answer and close while the rest is still being sent: then nothing but the close may be seen. */
  const send = (target, headers, body) =>
    exchange(issuer, { method: "POST", target, headers, body }).catch((error) => {
      if (error.code === "ECONNRESET" || error.code === "EPIPE") return undefined;
      throw error;
    });
  const type = ["Content-Type", "application/x-www-form-urlencoded"];
  for (const path of ["/oauth/token", "/oauth/revoke", "/oauth/authorize"]) {
    for (const size of [16 * 1024 + 1, 200_000, 3_000_000]) {
      const body = `client_id=${app.clientId}&padding=`.padEnd(size, "x");
      const whole = await send(path, [type], body);
      const chunked = await send(path, [type, ["Transfer-Encoding", "chunked"]], `${size.toString(16)}\r\n${body}\r\n0\r\n\r\n`);
      for (const answer of [whole, chunked]) {
        if (answer === undefined && size > 100_000) continue;
        assertProblem(answer, 413, "body-too-large");
      }
    }
  }
  assert.equal(await origin(), counted, "the origin was asked");
  for (const path of ["/sign-in", "/sign-in/code", "/consent", "/sign-out", "/account"]) {
    const answer = await send(path, [type, ["Sec-Fetch-Site", "same-origin"]], "email=".padEnd(3_000_000, "x"));
    if (answer !== undefined) assert.equal(answer.status, 413, `${path}: ${answer.status}`);
    const small = await send(path, [type, ["Sec-Fetch-Site", "same-origin"]], "email=".padEnd(100_000, "x"));
    if (small !== undefined) assert.ok(small.status >= 400 && small.status < 500, `${path}: ${small.status}`);
  }
  // Just below the bound is read.
  const below = await http.send("POST", `${issuer}/oauth/token`, {
    body: `client_id=${app.clientId}&x=`.padEnd(16 * 1024, "x"),
    headers: { "content-type": type[1] },
  });
  assert.equal(below.status, 400, below.text);
});

test("a project's upstream gets large bodies: the bound is the gateway's own endpoints'", async () => {
  const { token } = await issueServiceToken(app.project, "modal");
  const body = "x".repeat(900_000);
  const answer = await app.http.send("POST", `${issuer}/${app.project}/api/upload`, {
    body,
    headers: { authorization: `Bearer ${token}` },
  });
  assert.equal(answer.status, 200, answer.text.slice(0, 300));
  assert.equal(answer.json.body.length, body.length);
});

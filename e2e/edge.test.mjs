// What the edge does by itself: refuses before the origin is asked, publishes documents, limits rates, takes service tokens of
// both kinds, and learns of new projects while it runs.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readdirSync } from "node:fs";
import { before, test } from "node:test";
import { assertErrorPage, assertErrorRedirect, assertOAuthError, assertProblem } from "./driver/assertions.mjs";
import { applyProject, gateward, issueServiceToken } from "./driver/gateward.mjs";
import { gateway, issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { originRequests } from "./driver/metrics.mjs";
import { OAuthApp, pkce } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { exchange } from "./driver/raw-http.mjs";
import { until } from "./driver/until.mjs";

let app;
let http;

before(async () => {
  [app] = await OAuthApp.register();
  http = new HttpClient();
});

/** The origin's counters before and after `work`, which must not move them. */
async function withoutTheOrigin(work) {
  const counts = await originRequests();
  await work();
  assert.deepEqual(await originRequests(), counts, "the origin was asked");
}

test("the origin's counter does count what reaches it", async () => {
  const before = await originRequests();
  assert.equal((await http.get(`${issuer}/sign-in`)).status, 200);
  const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);
  assert.equal(total(await originRequests()), total(before) + 1);
});

test("a wrong verifier is refused at the edge, and does not use the code up", async () => {
  const request = app.request();
  const { code } = await new Person().authorize(request);
  await withoutTheOrigin(async () => {
    assertOAuthError(await app.redeem(code, pkce().verifier), 400, "invalid_grant");
    assertOAuthError(await app.redeem(code, undefined), 400, "invalid_request");
    assertOAuthError(await app.redeem(code, request.verifier, { redirect_uri: "https://evil.test/" }), 400, "invalid_grant");
    assertOAuthError(await app.redeem("made-up", request.verifier), 400, "invalid_grant");
  });
  assert.equal((await app.redeem(code, request.verifier)).status, 200);
});

test("an unregistered redirect, plain and a missing challenge are refused at the edge", async () => {
  await withoutTheOrigin(async () => {
    assertErrorPage(await http.get(app.request({ redirect_uri: "https://evil.test/" }).url), "an unregistered redirect");
    assertErrorPage(await http.get(app.request({ client_id: "nobody" }).url), "an unknown client");
    for (const change of [{ code_challenge_method: "plain" }, { code_challenge: undefined, code_challenge_method: undefined }]) {
      const request = app.request(change);
      assertErrorRedirect(await http.get(request.url), request, "invalid_request");
    }
    for (const [change, error] of [
      [{ response_type: "token" }, "unsupported_response_type"],
      [{ response_type: undefined }, "invalid_request"],
      [{ scope: "notes:read admin:all" }, "invalid_scope"],
      [{ resource: "https://elsewhere.test/" }, "invalid_target"],
    ]) {
      const request = app.request(change);
      assertErrorRedirect(await http.get(request.url), request, error);
    }
  });
});

test("OAuth requests that cannot be right are answered at the edge in OAuth's terms", async () => {
  const post = (form, headers) => http.post(`${issuer}/oauth/token`, form, { headers });
  const basic = (text) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` });
  await withoutTheOrigin(async () => {
    assertOAuthError(await post({ grant_type: "password", client_id: app.clientId }), 400, "unsupported_grant_type");
    assertOAuthError(await post({ client_id: app.clientId }), 400, "invalid_request");
    assertOAuthError(await post({ grant_type: "refresh_token", client_id: app.clientId }), 400, "invalid_request");
    assertOAuthError(
      await post({ grant_type: "refresh_token", client_id: app.clientId, refresh_token: "gw_rt_made-up" }),
      400,
      "invalid_grant",
    );
    assertOAuthError(await post({ grant_type: "refresh_token", client_id: "nobody", refresh_token: "x" }), 401, "invalid_client");
    const byHeader = await post({ grant_type: "refresh_token", refresh_token: "x" }, basic("nobody:secret"));
    assertOAuthError(byHeader, 401, "invalid_client");
    assert.match(byHeader.headers["www-authenticate"], /^Basic /);
    const repeated = await http.send("POST", `${issuer}/oauth/token`, {
      body: `grant_type=refresh_token&grant_type=refresh_token&client_id=${app.clientId}`,
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    assertOAuthError(repeated, 400, "invalid_request");
    const asJson = await http.send("POST", `${issuer}/oauth/token`, {
      body: "{}",
      headers: { "content-type": "application/json" },
    });
    assertOAuthError(asJson, 400, "invalid_request");
    const byGet = await http.get(`${issuer}/oauth/token`);
    assertProblem(byGet, 405, "method-not-allowed");
    assert.equal(byGet.headers.allow, "POST");
    assertOAuthError(await app.revoke(""), 400, "invalid_request");
  });
});

test("two credentials are a 400", async () => {
  const token = ["Authorization", `Bearer ${gateway.service_token}`];
  const target = "/captionacc/prefect/api";
  assert.equal((await exchange(issuer, { target, headers: [token] })).status, 200);
  assertProblem(await exchange(issuer, { target, headers: [token, token] }), 400, "several-credentials");
  assertProblem(
    await exchange(issuer, { target, headers: [token, ["Authorization", "Basic eDp5"]] }),
    400,
    "several-credentials",
  );
  const both = await http.post(
    `${issuer}/oauth/token`,
    { grant_type: "refresh_token", refresh_token: "x", client_id: app.clientId, client_secret: "y" },
    { headers: { authorization: "Basic eDp5" } },
  );
  assertOAuthError(both, 400, "invalid_request");
});

test("a project's credential: none, in the query, of another scheme, without the scope, of a kind not taken", async () => {
  const url = `${issuer}/${app.project}/api/hello`;
  const none = await http.get(url);
  assertProblem(none, 401, "credential-missing");
  assert.equal(
    none.headers["www-authenticate"],
    'Bearer realm="gateward"',
    "no error code when no token came (RFC 6750 section 3.1)",
  );
  const tokens = await new Person().signInTo(app);
  assertProblem(await http.get(`${url}?access_token=${tokens.access_token}`), 401, "credential-missing");
  assertProblem(await http.get(url, { headers: { authorization: "Basic eDp5" } }), 401, "credential-missing");
  assert.equal(
    (await http.get(url, { headers: { authorization: `bEARER ${tokens.access_token}` } })).status,
    200,
    "the scheme's case does not matter",
  );
  const narrow = await new Person().signInTo(app, { scope: "notes:write" });
  const missing = await app.call(narrow.access_token);
  assertProblem(missing, 403, "insufficient-scope");
  assert.match(missing.headers["www-authenticate"], /error="insufficient_scope", scope="notes:read"/);
  const wrongKind = await http.get(`${issuer}/captionacc/prefect/x`, {
    headers: { authorization: `Bearer ${tokens.access_token}` },
  });
  assertProblem(wrongKind, 403, "credential-not-accepted");
});

test("a service token of the gateway's own is taken, and says who calls", async () => {
  const { token, jti } = await issueServiceToken(app.project, "modal");
  const seen = (await app.call(token)).json.headers;
  assert.equal(seen["x-gateway-subject"], "service:modal");
  assert.equal(seen["x-gateway-token-id"], jti);
  assert.equal(seen["x-gateway-project"], app.project);
});

test("an HS256 service token of the seed's shape is taken for its project", async () => {
  const now = Math.floor(Date.now() / 1000);
  const seedToken = (claims) => {
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const input = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ jti: `seed-${now}-${Math.random()}`, service: "modal", iat: now, exp: now + 60, ...claims })}`;
    return `${input}.${createHmac("sha256", gateway.environment.GATEWAY_JWT_SECRET).update(input).digest("base64url")}`;
  };
  const answer = await http.get(`${issuer}/captionacc/prefect/api/health`, {
    headers: { authorization: `Bearer ${seedToken({ project: "captionacc" })}` },
  });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.headers["x-gateway-subject"], "service:modal");
  assert.equal(answer.json.url, "/api/health");
  const foreign = await http.get(`${issuer}/captionacc/prefect/x`, {
    headers: { authorization: `Bearer ${seedToken({ project: app.project })}` },
  });
  assertProblem(foreign, 403, "wrong-project");
});

test("method, query, body and the upstream's answer pass through unchanged", async () => {
  const { token } = await issueServiceToken(app.project, "modal");
  const body = JSON.stringify({ text: "ä€😀", padding: "x".repeat(100_000) });
  const headers = {
    authorization: `Bearer ${token}`,
    "content-type": "application/json",
    accept: "text/plain",
    "x-api-version": "7",
  };
  for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
    const answer = await http.send(method, `${issuer}/${app.project}/api/items/1?a=1&a=2&b=`, { headers, body });
    assert.equal(answer.status, 200, answer.text.slice(0, 300));
    const seen = answer.json;
    assert.equal(seen.method, method);
    assert.equal(seen.url, "/items/1?a=1&a=2&b=");
    assert.equal(seen.body, body);
    assert.equal(seen.headers["x-api-version"], "7");
    assert.equal(seen.headers.accept, "text/plain");
    assert.equal(seen.headers["content-type"], "application/json");
  }
});

test("an upstream that does not answer is a 502, not a hang", async () => {
  const dead = await applyProject({ upstream: "http://127.0.0.1:9" });
  const { token } = await issueServiceToken(dead.project, "modal");
  const answer = await http.get(`${issuer}/${dead.project}/api/x`, { headers: { authorization: `Bearer ${token}` } });
  assertProblem(answer, 502, "upstream-unavailable");
});

test("discovery and keys: media type, content, and 405 for other methods", async () => {
  const metadata = await http.get(`${issuer}/.well-known/oauth-authorization-server`);
  assert.equal(metadata.status, 200);
  assert.match(metadata.headers["content-type"], /^application\/json/);
  assert.equal(metadata.json.issuer, issuer);
  assert.deepEqual(metadata.json.code_challenge_methods_supported, ["S256"]);
  assert.deepEqual(metadata.json.response_types_supported, ["code"]);
  assert.deepEqual(metadata.json.grant_types_supported, ["authorization_code", "refresh_token", "client_credentials"]);
  const keys = await http.get(metadata.json.jwks_uri);
  assert.match(keys.headers["content-type"], /^application\/(jwk-set\+)?json/);
  assert.ok(keys.json.keys.every(({ kid, kty, alg }) => kid && kty && alg));
  for (const path of ["/.well-known/oauth-authorization-server", "/.well-known/jwks.json", "/ping"]) {
    assertProblem(await http.post(`${issuer}${path}`, {}), 405, "method-not-allowed");
    const head = await http.send("HEAD", `${issuer}${path}`);
    assert.equal(head.status, 200);
    assert.equal(head.text, "");
  }
  assert.equal((await http.get(`${issuer}/ping`)).status, 200);
});

test("/internal and unknown paths lead nowhere, and are not forwarded", async () => {
  await withoutTheOrigin(async () => {
    for (const path of [
      "/internal/policy",
      "/internal",
      "/console",
      "/v1/auth",
      "/oauth/other",
      "/.well-known/other",
      "/nobody/nothing/x",
      "/onlyone",
      "/assets/a/b",
    ]) {
      assertProblem(await http.get(`${issuer}${path}`), 404, "not-found");
    }
  });
});

test("the origin takes nothing that no edge has asserted", async () => {
  for (const [method, path] of [
    ["GET", "/"],
    ["GET", "/sign-in"],
    ["POST", "/oauth/token"],
    ["GET", "/internal/policy"],
    ["GET", "/oauth/authorize"],
    ["POST", "/sign-in"],
  ]) {
    for (const headers of [{}, { "x-gateway-edge-assertion": "e30.e30.e30" }]) {
      const answer = await http.send(method, `${gateway.origin_url}${path}`, {
        headers,
        form: method === "POST" ? { a: "b" } : undefined,
      });
      assert.equal(answer.status, 403, `${method} ${path}: ${answer.text.slice(0, 200)}`);
      assert.match(answer.json.type, /\/docs\/errors\/assertion-refused$/);
    }
  }
  assert.equal((await http.get(`${gateway.origin_url}/ping`)).status, 200);
});

test("every problem type resolves to a page that explains it", async () => {
  const folder = new URL("../docs/errors/", import.meta.url);
  const slugs = readdirSync(folder)
    .filter((name) => name.endsWith(".md"))
    .map((name) => name.slice(0, -3));
  assert.ok(slugs.length > 20);
  for (const slug of slugs) {
    const page = await http.get(`${issuer}/docs/errors/${slug}`);
    assert.equal(page.status, 200, slug);
    assert.match(page.headers["content-type"], /^text\/html/, slug);
    assert.ok(page.text.includes(slug) && page.text.includes("What to do"), slug);
  }
  assert.equal((await http.get(`${issuer}/docs/errors/no-such-error`)).status, 404);
  // And so does the type of a problem as it comes.
  const problem = assertProblem(await http.get(`${issuer}/nobody/nothing`), 404, "not-found");
  assert.equal((await http.get(problem.type)).status, 200);
});

test("an address that asks too often is told when to come back, and another address is not", async () => {
  const greedy = new HttpClient({ connections: 8 });
  const url = `${issuer}/${app.project}/api/hello`;
  let refused;
  let taken = 0;
  while (refused === undefined && taken < 20_000) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => greedy.get(url)));
    taken += answers.filter(({ status }) => status === 401).length;
    refused = answers.find(({ status }) => status === 429);
  }
  assertProblem(refused, 429, "rate-limited");
  const [, quota, window] = /^"address";q=(\d+);w=(\d+);tier=isolate$/.exec(refused.headers["ratelimit-policy"]) ?? [];
  assert.ok(quota, refused.headers["ratelimit-policy"]);
  assert.match(refused.headers.ratelimit, /^"address";r=0;t=\d+$/);
  assert.ok(
    Number(refused.headers["retry-after"]) >= 1 && Number(refused.headers["retry-after"]) <= Number(window),
    refused.headers["retry-after"],
  );
  // All of the quota, and no more than it and what came back meanwhile.
  assert.ok(taken >= Number(quota) && taken <= Number(quota) * 1.5 + 50, `${taken} of ${quota} were taken`);
  assertProblem(await http.get(url), 401, "credential-missing");
});

test("guessing at the token endpoint is limited more tightly", async () => {
  const guesser = new HttpClient({ connections: 8 });
  const guess = () =>
    guesser.post(`${issuer}/oauth/token`, { grant_type: "refresh_token", refresh_token: "gw_rt_guess", client_id: "nobody" });
  let refused;
  for (let round = 0; round < 200 && refused === undefined; round++) {
    refused = (await Promise.all(Array.from({ length: 20 }, guess))).find(({ status }) => status === 429);
  }
  assert.match(refused.headers["ratelimit-policy"], /^"credential";/);
  assert.ok(Number(refused.headers["retry-after"]) >= 1);
  assert.equal((await guesser.get(`${issuer}/ping`)).status, 200, "the rest of the gateway is open to it");
});

test("a project that is applied while the gateway runs is reachable within 6 s, without a restart", async (t) => {
  // `applyProject` fails by itself when it takes longer.
  const { project, milliseconds } = await applyProject({});
  t.diagnostic(`reachable after ${milliseconds.toFixed(0)} ms`);
  const { token } = await issueServiceToken(project, "modal");
  const call = () => http.get(`${issuer}/${project}/api/hello`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal((await call()).status, 200);
});

test("applying the same again changes nothing; applying a change does", async () => {
  const { project } = await applyProject({});
  const { token } = await issueServiceToken(project, "modal");
  const call = () => http.get(`${issuer}/${project}/api/hello`, { headers: { authorization: `Bearer ${token}` } });
  await applyProject({ project });
  assert.equal((await call()).status, 200);
  await applyProject({ project, upstream: "http://127.0.0.1:9" });
  await until("the new upstream is used", async () => (await call()).status === 502, { within: 6_000 });
});

test("an apply file with several faults is refused whole, naming them", async () => {
  const { project } = await applyProject({});
  const bad = { client_id: "bad client id", redirect_uris: ["javascript:alert(1)"], scopes: ["no spaces please"] };
  await assert.rejects(applyProject({ project, upstream: "ftp://127.0.0.1", clients: [bad] }), (error) => {
    for (const word of ["javascript", "ftp", "client_id"])
      assert.match(error.message, new RegExp(word), `${word} is not named in ${error.message}`);
    return true;
  });
  const list = await gateward("token", "list", "--project", project, "--json");
  assert.deepEqual(JSON.parse(list).tokens ?? JSON.parse(list), []);
});

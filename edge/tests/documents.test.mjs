// What the edge answers by itself, what it passes to the origin, and what it leaves in its log.
import assert from "node:assert/strict";

import { ISSUER, Key, Keys, accessToken, form, gatewayTest, rigTest, startEdge } from "./rig.mjs";

gatewayTest("metadata and keys are answered from the policy, for others to keep a minute", async ({ keys, origin, edge }) => {
  const metadata = await edge.request("/.well-known/oauth-authorization-server");
  assert.equal(metadata.status, 200);
  assert.equal(metadata.json.issuer, ISSUER);
  assert.equal(metadata.json.jwks_uri, `${ISSUER}/.well-known/jwks.json`);
  const jwks = await edge.request("/.well-known/jwks.json");
  assert.match(jwks.headers["content-type"], /^application\/jwk-set\+json/);
  assert.deepEqual(jwks.json.keys.map(({ kid, x, use }) => ({ kid, x, use })), [{ kid: "k1", x: keys.token.x, use: "sig" }]);
  for (const answer of [metadata, jwks]) {
    assert.equal(answer.headers["cache-control"], "public, max-age=60");
    assert.equal(answer.headers["x-content-type-options"], "nosniff");
    assert.equal(answer.headers["access-control-allow-origin"], "*");
  }
  const head = await edge.request("/.well-known/jwks.json", { method: "HEAD" });
  assert.deepEqual([head.status, head.text], [200, ""]);
  assert.equal((await edge.request("/.well-known/jwks.json", { method: "POST" })).headers.allow, "GET, HEAD");
  assert.deepEqual(origin.forwarded, []);
});

gatewayTest("metrics want their token, and have no label that a caller can invent", async ({ keys, edge }) => {
  const scrape = (token) => edge.request("/metrics", { token });
  for (const token of [undefined, "other"]) assert.equal((await scrape(token)).status, 401);
  await edge.request("/notes/api/x", { token: accessToken(keys) });
  await edge.request("/invented/by-a-caller");
  await edge.request("/notes/api/../x");
  const { status, headers, text } = await scrape("scrape-me");
  assert.equal(status, 200);
  assert.match(headers["content-type"], /^text\/plain; version=0\.0\.4/);
  assert.match(text, /^gateward_edge_decisions_total\{endpoint="project",outcome="to_upstream"\} 1$/m);
  assert.match(text, /^gateward_edge_decisions_total\{endpoint="project",outcome="not-found"\} 1$/m);
  assert.match(text, /^gateward_edge_policy_age_seconds \d+\.\d{3}$/m);
  assert.equal(text.includes("invented"), false);
}, { bindings: { METRICS_TOKEN: "scrape-me" } });

gatewayTest("the origin gets the named headers and no others, with the target and body as they came", async ({ origin, edge }) => {
  const headers = {
    Accept: "text/html", "Accept-Language": "de", Cookie: "__Host-gateward_session=s", Origin: ISSUER, Referer: `${ISSUER}/`, "Sec-Fetch-Site": "same-origin", "User-Agent": "browser",
    "X-Forwarded-For": "203.0.113.9", "X-Gateway-Edge-Assertion": "forged", "X-Gateway-Subject": "root", "X-Custom": "1", Connection: "Cookie",
  };
  // The platform writes one of these characters differently in a query; the assertion is about what was sent.
  const target = "/sign-in/code?request=a'b(c)&x=%41%2f&y=\\;[]";
  const answer = await edge.request(target, form({ code: "123456", "ä": "ö" }, headers));
  assert.equal(answer.status, 200, answer.text);
  assert.deepEqual(answer.headers["set-cookie"], ["a=1; Path=/", "b=2; Path=/"]);
  assert.equal(answer.headers["cache-control"], "no-store");
  assert.equal(answer.headers["x-content-type-options"], "nosniff");
  const [{ url, headers: received, body, assertion }] = origin.forwarded;
  assert.equal(url, target.replace("'", "%27"));
  assert.equal(body.toString(), "code=123456&%C3%A4=%C3%B6");
  assert.equal(assertion.jti, answer.headers["x-request-id"]);
  for (const name of ["accept", "accept-language", "cookie", "origin", "referer", "sec-fetch-site", "user-agent"]) assert.ok(received[name], name);
  for (const name of ["x-forwarded-for", "x-gateway-subject", "x-custom"]) assert.equal(received[name], undefined, name);
});

gatewayTest("a redirect, an empty answer and a refusal of the origin are passed on", async ({ origin, edge }) => {
  for (const [status, headers] of [[303, { Location: "https://app.test/cb?code=x" }], [204, {}], [304, { ETag: '"x"' }], [429, { "Retry-After": "7" }], [500, {}]]) {
    origin.answer = (_, response) => response.writeHead(status, headers).end();
    const answer = await edge.request("/account");
    assert.equal(answer.status, status);
    for (const [name, value] of Object.entries(headers)) assert.equal(answer.headers[name.toLowerCase()], value);
  }
});

gatewayTest("a body for the origin is bounded", async ({ origin, edge }) => {
  const post = (length, headers = {}) => edge.request("/sign-in", { method: "POST", headers: { "Content-Type": "text/plain", ...headers }, body: "x".repeat(length) });
  assert.equal((await post(65_536)).status, 200);
  for (const headers of [{}, { "Transfer-Encoding": "chunked" }]) {
    const answer = await post(65_537, headers);
    assert.equal(answer.status, 413);
    assert.match(answer.json.type, /body-too-large$/);
  }
  assert.equal((await edge.request("/sign-in", { method: "POST", headers: { "Sec-Fetch-Site": "cross-site" }, body: "x" })).status, 403);
  assert.equal(origin.forwarded.length, 1);
  assert.equal(origin.forwarded[0].body.length, 65_536);
});

gatewayTest("the gateway's inside is not to be reached", async ({ origin, edge }) => {
  for (const path of ["/internal/policy", "/internal/", "/internal", "/console", "/v1/x"]) assert.equal((await edge.request(path)).status, 404, path);
  assert.deepEqual(origin.forwarded, []);
});

gatewayTest("the log has a line a request, and no secret", async ({ keys, upstream, edge }) => {
  const token = accessToken(keys, { jti: "t1" });
  const passed = await edge.request("/notes/api/secret-path?code=secret-code", { token, headers: { Cookie: "secret-cookie=1" } });
  assert.equal(passed.status, 200);
  const refused = await edge.request("/notes/api/x", { token: accessToken(keys, {}, new Key("k1")) });
  const forwarded = await edge.request("/oauth/revoke", form({ client_id: "app", token: "secret-token" }));
  const [line] = await edge.logged(/\{.*"outcome":"to_upstream".*\}/);
  const { at, request_id: id, trace_id: trace, duration_ms: duration, ...rest } = JSON.parse(line);
  assert.ok(upstream.requests[0].headers.traceparent.startsWith(`00-${trace}-`));
  assert.deepEqual(rest, { method: "GET", endpoint: "project", project: "notes", service: "api", outcome: "to_upstream", upstream: 0, status: 200 });
  assert.ok(Math.abs(at - Date.now()) < 60_000 && duration >= 0 && /^[0-9a-f-]{36}$/.test(id));
  await edge.logged(new RegExp(`${refused.headers["x-request-id"]}.*"outcome":"token-signature","status":401`));
  await edge.logged(new RegExp(`${forwarded.headers["x-request-id"]}.*"endpoint":"revoke".*"outcome":"to_origin","status":200`));
  for (const secret of ["secret", token, token.split(".")[2]]) assert.equal(edge.log.includes(secret), false, edge.log);
});

gatewayTest("the log can be switched off", async ({ keys, edge }) => {
  assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys) })).status, 200);
  assert.equal((await edge.request("/notes/api/x")).status, 401);
  assert.equal(edge.log.replace(/^configuration: not bound: .*\n/, ""), "");
}, { bindings: { ACCESS_LOG: "off" } });

gatewayTest("the address is the trusted header's where one is named", async ({ keys, upstream, origin, edge }) => {
  await edge.request("/notes/api/x", { token: accessToken(keys), headers: { "CF-Connecting-IP": "192.0.2.7" } });
  assert.equal(upstream.requests[0].headers["x-forwarded-for"], "192.0.2.7");
  assert.equal(origin.requests[0].assertion.address, "192.0.2.7");
  origin.faults = [];
}, { bindings: { CLIENT_ADDRESS: "cf-connecting-ip" } });

rigTest("faults of the configuration are all in the log, and nothing is answered", async (rig) => {
  const edge = await startEdge(rig, new Keys(), "http://127.0.0.1:9", { ISSUER: "auth.test", EDGE_PRIVATE_KEY: "short", CODE_MAC_KEY: "" });
  for (const path of ["/ping", "/notes/api/x", "/metrics"]) assert.equal((await edge.request(path)).status, 500, path);
  for (const name of ["ISSUER must be", "EDGE_PRIVATE_KEY must be", "CODE_MAC_KEY is not set"]) await edge.logged(new RegExp(`configuration: ${name}`));
  assert.equal(edge.log.includes("short"), false);
});

// What the log and the metrics must not tell, whatever a caller sends and wherever it ends.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { accessToken, form, gatewayTest, Key, refreshToken } from "./rig.mjs";

const METRICS_TOKEN = "the scrape's own secret";
const API_KEYS = JSON.parse(readFileSync(process.env.CORPUS_SAMPLE, "utf8")).live_keys;

gatewayTest("no secret reaches the log or the metrics, wherever a caller puts it and however the request ends", async ({ keys, origin, edge }) => {
  const marks = [];
  const mark = (name) => { const text = `mark-${name}-${marks.length}-end`; marks.push(text); return text; };
  const secrets = [METRICS_TOKEN, keys.edge.seed, keys.codeMac.toString("base64url"), keys.codeMac.toString("hex")];
  const tokens = [accessToken(keys), accessToken(keys, { exp: 1 }), accessToken(keys, { sub: mark("subject") }, new Key("k1")), accessToken(keys, { aud: mark("audience") })];
  secrets.push(...tokens, ...tokens.map((token) => token.split(".")[2]), ...tokens.map((token) => token.split(".")[1]));
  const names = [
    "Authorization", "Cookie", "X-API-Key", "DPoP", "Origin", "Referer", "User-Agent", "Accept", "Content-Type", "Forwarded", "X-Forwarded-For", "CF-Connecting-IP", "True-Client-IP",
    "Client-Cert", "X-Gateway-Subject", "X-Gateway-Assertion", "Proxy-Authorization", "Traceparent", "Tracestate", "Baggage", "Access-Control-Request-Method", "Access-Control-Request-Headers",
    "X-Request-Id", "If-None-Match", "Sec-Fetch-Site", "X-Own",
  ];
  const everywhere = () => Object.fromEntries(names.map((name) => [name, mark(name)]));
  const paths = ["/notes/api/x", "/notes/api/health", "/notes/nothing/x", "/nowhere/api/x", "/oauth/authorize", "/oauth/token", "/oauth/revoke", "/sign-in/link", "/ping", "/metrics", "/.well-known/jwks.json", "/assets/x", "/v1/projects", "//x", "/a/%2e%2e/b"];
  for (const path of paths) {
    for (const method of ["GET", "POST", "OPTIONS"]) {
      const query = `?code=${mark("code")}&${mark("name")}=${mark("value")}&token=${mark("token")}`;
      await edge.request(path + query, { method, headers: everywhere(), body: method === "POST" ? mark("body") : undefined });
      for (const token of tokens) await edge.request(path + query, { method, token, headers: { Cookie: `__Host-gateward_session=${mark("session")}` } });
    }
  }
  for (const key of API_KEYS) await edge.request("/notes/api/x", { headers: { "X-API-Key": key } });
  const refresh = refreshToken();
  for (const grant of [
    { grant_type: "authorization_code", client_id: "app", code: mark("code"), code_verifier: mark("verifier"), redirect_uri: mark("redirect") },
    { grant_type: "refresh_token", client_id: "app", refresh_token: refresh, client_secret: mark("secret") },
    { grant_type: mark("grant"), client_id: mark("client") },
    { grant_type: "refresh_token", client_id: "app", refresh_token: mark("refresh") },
  ]) {
    for (const path of ["/oauth/token", "/oauth/revoke"]) await edge.request(path, form({ ...grant, token: mark("token") }, { Authorization: `Basic ${Buffer.from(`app:${mark("password")}`).toString("base64")}` }));
  }
  secrets.push(refresh, ...API_KEYS);
  // The origin and the upstream fail as well.
  origin.answer = (request, response) => response.destroy();
  await edge.request("/sign-in", form({ email: mark("email"), password: mark("password") }));
  await edge.request("/oauth/token", form({ grant_type: "refresh_token", client_id: "app", refresh_token: refresh }));
  const last = await edge.request("/notes/api/last");
  await edge.logged(new RegExp(last.headers["x-request-id"]));
  const scraped = await edge.request("/metrics", { token: METRICS_TOKEN });
  assert.equal(scraped.status, 200);
  assert.ok(edge.log.split("\n").filter((line) => line.startsWith("{")).length > 100, "the log was on");
  for (const [where, text] of [["the log", edge.log], ["the metrics", scraped.text]]) {
    // A path's first segments stand in the log as the project and service that were asked for.
    for (const secret of [...secrets, ...marks]) assert.equal(text.includes(secret), false, `${where} tells ${secret}`);
    for (const secret of secrets) assert.equal(text.includes(Buffer.from(secret).toString("base64")), false, `${where} tells ${secret} in base64`);
  }
  // As many series as there were: callers cannot make more.
  const series = scraped.text.split("\n").filter((line) => line && !line.startsWith("#")).length;
  for (let turn = 0; turn < 50; turn += 1) await edge.request(`/p${turn}/s${turn}/x`, { method: `M${turn}`, headers: { [`X-${turn}`]: "1" } });
  const again = (await edge.request("/metrics", { token: METRICS_TOKEN })).text.split("\n").filter((line) => line && !line.startsWith("#")).length;
  assert.ok(again <= series + 2, `${again} series instead of ${series}`);
}, {
  bindings: { METRICS_TOKEN },
  change: (policy) => { policy.projects.notes.services.api.credentials.push("api_key", "opaque_token", "client_certificate"); },
  upstreamAnswer: (request, response) => response.writeHead(200, { "Set-Cookie": "session=mark-upstream-cookie" }).end("mark-upstream-body"),
});

gatewayTest("a scrape needs its token, and nobody else's opens it", async ({ keys, edge }) => {
  const scrape = (headers = {}) => edge.request("/metrics", { headers });
  for (const authorization of [undefined, "Bearer ", `Bearer ${METRICS_TOKEN}x`, `Bearer ${METRICS_TOKEN.slice(1)}`, `Basic ${METRICS_TOKEN}`, `Bearer ${accessToken(keys)}`]) {
    const refused = await scrape(authorization === undefined ? {} : { Authorization: authorization });
    assert.equal(refused.status, 401, authorization);
    assert.doesNotMatch(refused.text, /gateward_edge/);
  }
  const scraped = await scrape({ Authorization: `Bearer ${METRICS_TOKEN}` });
  assert.equal(scraped.status, 200);
  assert.match(scraped.headers["content-type"], /^text\/plain; version=0.0.4/);
  // Every series has a family that says what it is.
  const families = new Set([...scraped.text.matchAll(/^# TYPE (\S+) (?:counter|gauge|histogram)$/gm)].map(([, name]) => name));
  for (const line of scraped.text.split("\n").filter((text) => text && !text.startsWith("#"))) assert.ok(families.has(/^[a-z_]+/.exec(line)[0].replace(/_(bucket|sum|count)$/, "")), line);
}, { bindings: { METRICS_TOKEN } });

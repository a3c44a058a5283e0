// The CORS protocol (E7): preflights end here, pages read the answers that were meant for them, refusals too.
import assert from "node:assert/strict";

import { accessToken, form, gatewayTest } from "./rig.mjs";

const APP = "https://app.test";
const EVIL = "https://evil.test";
const change = (policy) => {
  policy.projects.notes.cors = { origins: [APP], methods: ["PUT"], headers: ["authorization", "content-type"], expose: ["etag"], credentials: true, max_age_seconds: 60 };
  policy.projects.notes.services.api.limits = [{ by: "project", requests: 5, window_seconds: 600 }];
  policy.clients.app.origins = [APP];
};
const preflight = (origin, method = "PUT") => ({
  method: "OPTIONS",
  headers: { Origin: origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "Authorization, X-Other" },
});

gatewayTest("a preflight is answered at the edge, and reaches nobody", async ({ upstream, origin, edge }) => {
  const { status, headers } = await edge.request("/notes/api/x", preflight(APP));
  assert.equal(status, 204);
  assert.equal(headers["access-control-allow-origin"], APP);
  assert.deepEqual(headers["access-control-allow-methods"].split(", ").sort(), ["GET", "HEAD", "POST", "PUT"]);
  assert.equal(headers["access-control-allow-headers"], "authorization");
  assert.equal(headers["access-control-allow-credentials"], "true");
  assert.equal(headers["access-control-max-age"], "60");
  assert.match(headers.vary, /Origin/);
  const refused = await edge.request("/notes/api/x", preflight(EVIL));
  assert.equal(refused.status, 403);
  assert.equal(refused.headers["access-control-allow-origin"], undefined);
  const token = await edge.request("/oauth/token", preflight(APP, "POST"));
  assert.equal(token.status, 204);
  assert.equal(token.headers["access-control-allow-origin"], APP);
  assert.equal((await edge.request("/oauth/token", preflight(EVIL, "POST"))).status, 403);
  assert.deepEqual([upstream.requests, origin.forwarded], [[], []]);
}, { change });

gatewayTest("the gateway's word on CORS stands in place of the upstream's, beside the rest of its answer", async ({ keys, edge }) => {
  const call = (origin) => edge.request("/notes/api/x", { token: accessToken(keys), headers: origin ? { Origin: origin } : {} });
  const allowed = await call(APP);
  assert.equal(allowed.headers["access-control-allow-origin"], APP);
  assert.equal(allowed.headers["access-control-allow-credentials"], "true");
  assert.equal(allowed.headers["access-control-expose-headers"], "etag");
  assert.deepEqual(allowed.headers.vary.split(", ").sort(), ["Accept-Encoding", "Origin"]);
  assert.equal(allowed.headers.etag, '"1"');
  assert.match(allowed.headers["ratelimit-policy"], /^"service-project";q=5;w=600;tier=isolate$/);
  assert.match(allowed.headers.ratelimit, /^"service-project";r=4;t=\d+$/);
  assert.equal(allowed.text, "ok");
  const stranger = await call(EVIL);
  assert.equal(stranger.status, 200);
  assert.equal(stranger.headers["access-control-allow-origin"], undefined);
  const program = await call();
  assert.equal(program.headers["access-control-allow-origin"], undefined);
  assert.match(program.headers.vary, /Origin/);
}, {
  change,
  upstreamAnswer: (request, response) => response.writeHead(200, { "Access-Control-Allow-Origin": "*", Vary: "Accept-Encoding", ETag: '"1"' }).end("ok"),
});

gatewayTest("a page can read why it was refused, and when to come back", async ({ keys, edge }) => {
  const headers = { Origin: APP };
  const missing = await edge.request("/notes/api/x", { headers });
  assert.equal(missing.status, 401);
  assert.equal(missing.headers["access-control-allow-origin"], APP);
  const token = accessToken(keys);
  const answers = [];
  for (let count = 0; count < 6; count += 1) answers.push(await edge.request("/notes/api/x", { token, headers }));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200, 200, 429]);
  assert.equal(answers.at(-1).headers["access-control-allow-origin"], APP);
  assert.ok(Number(answers.at(-1).headers["retry-after"]) > 0);
}, { change });

gatewayTest("the token endpoint answers pages of the client's own origins only", async ({ edge }) => {
  const ask = (origin, parameters) => edge.request("/oauth/token", form({ grant_type: "refresh_token", refresh_token: "x", ...parameters }, { Origin: origin }));
  const own = await ask(APP, { client_id: "app" });
  assert.equal(own.status, 400);
  assert.equal(own.headers["access-control-allow-origin"], APP);
  assert.equal((await ask(EVIL, { client_id: "app" })).headers["access-control-allow-origin"], undefined);
  assert.equal((await ask(APP, { client_id: "nobody" })).headers["access-control-allow-origin"], undefined);
  const revoked = await edge.request("/oauth/revoke", form({ token: "x", client_id: "app" }, { Origin: APP }));
  assert.equal(revoked.status, 200);
  assert.equal(revoked.headers["access-control-allow-origin"], APP);
}, { change });

// OAuth at the edge: what is wrong ends here and the origin never hears of it; what may be right goes on with an assertion.
import assert from "node:assert/strict";

import { ISSUER, authorizationCode, form, gatewayTest } from "./rig.mjs";

const VERIFIER = "dBjftJeZ4CVP-mBqnLNRKWfaYrvc-NyqNjWkZmmDXkE";
const CHALLENGE = "HWNNWIY0Lu_QhlZ_1yHh5ULBu_x4n8bZ3NqcBfWOE0U";
const REDIRECT = "https://app.test/cb";
const grantId = { clientId: "app", redirectUri: REDIRECT, verifier: VERIFIER };

const redemption = (code, change = {}) =>
  form({ grant_type: "authorization_code", client_id: "app", redirect_uri: REDIRECT, code, code_verifier: VERIFIER, ...change });

gatewayTest("a code with its verifier goes on to the origin, once, byte for byte", async ({ keys, origin, edge }) => {
  const sent = redemption(authorizationCode(keys, grantId));
  const answer = await edge.request("/oauth/token", sent);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(origin.forwarded.length, 1);
  assert.equal(origin.forwarded[0].body.toString(), sent.body);
  assert.equal(origin.forwarded[0].assertion.policy_version, origin.version);
  assert.equal(origin.forwarded[0].assertion.jti, answer.headers["x-request-id"]);
  assert.equal(answer.headers["cache-control"], "no-store");
});

gatewayTest("a wrong verifier, client, redirect or code ends at the edge", async ({ keys, origin, edge }) => {
  const code = authorizationCode(keys, grantId);
  const cases = [
    ["invalid_grant", redemption(code, { code_verifier: "x".repeat(43) })],
    ["invalid_grant", redemption(code, { redirect_uri: "https://app.test/other" })],
    ["invalid_grant", redemption(`${code.slice(0, -1)}${code.endsWith("A") ? "E" : "A"}`)],
    ["invalid_grant", redemption(authorizationCode(keys, { ...grantId, clientId: "other" }))],
    ["invalid_grant", redemption(authorizationCode(keys, { ...grantId, lifetime: -1 }))],
    ["invalid_request", form({ grant_type: "authorization_code", client_id: "app", code })],
    ["invalid_client", redemption(code, { client_id: "nobody" })],
    ["unsupported_grant_type", redemption(code, { grant_type: "password" })],
    ["invalid_grant", form({ grant_type: "refresh_token", client_id: "app", refresh_token: "gw_rt_cut" })],
  ];
  for (const [error, sent] of cases) {
    const answer = await edge.request("/oauth/token", sent);
    assert.equal(answer.json?.error, error, answer.text);
    assert.equal(answer.status, error === "invalid_client" ? 401 : 400);
    assert.equal(answer.headers["cache-control"], "no-store");
  }
  const twice = redemption(code);
  twice.body += "&client_id=app";
  assert.equal((await edge.request("/oauth/token", twice)).json.error, "invalid_request");
  const large = redemption(code, { pad: "x".repeat(17_000) });
  assert.equal((await edge.request("/oauth/token", large)).status, 413);
  const endless = form({}, { "Transfer-Encoding": "chunked" });
  assert.equal((await edge.request("/oauth/token", { ...endless, body: "x".repeat(1_000_000) })).status, 413);
  assert.equal((await edge.request("/oauth/token", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" })).status, 400);
  assert.equal((await edge.request("/oauth/token")).status, 405);
  assert.deepEqual(origin.forwarded, []);
});

const authorize = (change = {}) => {
  const parameters = { response_type: "code", client_id: "app", redirect_uri: REDIRECT, scope: "notes:read", state: "s 1", code_challenge: CHALLENGE, code_challenge_method: "S256", ...change };
  return `/oauth/authorize?${new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined))}`;
};

gatewayTest("an authorization request goes on only with a registered redirect and an S256 challenge", async ({ origin, edge }) => {
  assert.equal((await edge.request(authorize())).status, 200);
  assert.equal(origin.forwarded.length, 1);
  assert.equal(origin.forwarded[0].url, authorize());
  const redirected = [
    ["invalid_request", { code_challenge: undefined, code_challenge_method: undefined }],
    ["invalid_request", { code_challenge_method: "plain" }],
    ["invalid_request", { code_challenge_method: undefined }],
    ["invalid_scope", { scope: "admin" }],
    ["unsupported_response_type", { response_type: "token" }],
  ];
  for (const [error, change] of redirected) {
    const answer = await edge.request(authorize(change));
    const location = new URL(answer.headers.location);
    assert.equal(answer.status, 303);
    assert.equal(location.origin + location.pathname, REDIRECT);
    assert.deepEqual(["error", "state", "iss"].map((name) => location.searchParams.get(name)), [error, "s 1", ISSUER]);
  }
  for (const change of [{ redirect_uri: "https://app.test/cb/" }, { redirect_uri: "https://evil.test/cb" }, { client_id: "nobody" }]) {
    const answer = await edge.request(authorize(change));
    assert.equal(answer.status, 400);
    assert.match(answer.headers["content-type"], /^text\/html/);
    assert.equal(answer.headers.location, undefined);
    assert.match(answer.headers["content-security-policy"], /default-src 'none'/);
  }
  assert.equal(origin.forwarded.length, 1);
});

gatewayTest("after a revocation through this edge, the next decision is by a policy made after it", async ({ origin, edge, keys }) => {
  const revocation = form({ client_id: "app", token: "gw_rt_x" });
  assert.equal((await edge.request("/oauth/revoke", revocation)).status, 200);
  const before = origin.policyFetches;
  assert.equal((await edge.request("/notes/api/health")).status, 200);
  assert.equal(origin.policyFetches, before + 1);
  // The policy that came was made after the change: nothing is asked again.
  assert.equal((await edge.request("/notes/api/health")).status, 200);
  assert.equal(origin.policyFetches, before + 1);
});

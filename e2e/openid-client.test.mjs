// The whole flow by libraries that know nothing of Gateward: openid-client as the application, jose as the resource server. A
// person fills in the forms between. What these libraries check (discovery, state, iss, PKCE, token responses) is checked by them.
import assert from "node:assert/strict";
import { test, before } from "node:test";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import * as client from "openid-client";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { issuer } from "./driver/gateway.mjs";
import { until } from "./driver/until.mjs";

const OPTIONS = { algorithm: "oauth2", execute: [client.allowInsecureRequests] };
let publicClient;
let app;
let config;

before(async () => {
  [app] = await OAuthApp.register();
  config = await client.discovery(new URL(issuer), app.clientId, undefined, client.None(), OPTIONS);
  publicClient = { app, config };
});

/** Sends a person through authorization and lets openid-client judge what comes back. */
async function signIn(person, { tamper, as: { app, config } = publicClient } = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const parameters = {
    redirect_uri: app.redirectUri,
    scope: app.scopes.join(" "),
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
  };
  const url = client.buildAuthorizationUrl(config, parameters);
  const received = await person.authorize({ url: url.href, parameters });
  const callback = new URL(`${app.redirectUri}?${new URLSearchParams(received)}`);
  tamper?.(callback);
  return client.authorizationCodeGrant(config, callback, { pkceCodeVerifier: verifier, expectedState: state });
}

test("discovery by RFC 8414 gives metadata that openid-client accepts, with iss and S256 announced", () => {
  const metadata = config.serverMetadata();
  assert.equal(metadata.issuer, issuer);
  assert.equal(metadata.supportsPKCE(), true);
  assert.equal(metadata.authorization_response_iss_parameter_supported, true);
  for (const endpoint of ["authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri"]) {
    assert.ok(metadata[endpoint].startsWith(`${issuer}/`), `${endpoint}: ${metadata[endpoint]}`);
  }
});

test("sign in, call the project, refresh, revoke", async () => {
  const person = new Person();
  const tokens = await signIn(person);
  assert.equal(tokens.token_type, "bearer");
  assert.ok(tokens.expires_in > 0 && tokens.expires_in <= 3600, `expires_in ${tokens.expires_in}`);
  assert.deepEqual(tokens.scope.split(" ").sort(), [...app.scopes].sort());
  const called = await client.fetchProtectedResource(
    config,
    tokens.access_token,
    new URL(`${issuer}/${app.project}/api/hello`),
    "GET",
  );
  assert.equal(called.status, 200);
  assert.equal((await called.json()).headers["x-gateway-project"], app.project);

  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(renewed.access_token, tokens.access_token);
  assert.notEqual(renewed.refresh_token, tokens.refresh_token);
  assert.equal((await app.call(renewed.access_token)).status, 200);

  await client.tokenRevocation(config, renewed.refresh_token);
  await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), { error: "invalid_grant" });
  const refused = async () => (await app.call(renewed.access_token)).status === 401;
  await until("the access token of a revoked grant is refused", refused, { within: 6_000 });
  // RFC 7009 section 2.2: a token that nobody knows is no error.
  await client.tokenRevocation(config, renewed.refresh_token);
});

test("the access token verifies with jose against the published keys and carries the claims of RFC 9068", async () => {
  const person = new Person();
  const began = Math.floor(Date.now() / 1000);
  const tokens = await signIn(person);
  const keys = createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
  const { payload, protectedHeader } = await jwtVerify(tokens.access_token, keys, {
    issuer,
    audience: `${issuer}/${app.project}`,
    typ: "at+jwt",
    algorithms: ["EdDSA", "Ed25519"],
    requiredClaims: ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"],
  });
  assert.ok(protectedHeader.kid, "the header names its key");
  assert.equal(payload.client_id, app.clientId);
  assert.deepEqual(payload.scope.split(" ").sort(), [...app.scopes].sort());
  assert.equal(payload.exp - payload.iat, tokens.expires_in);
  assert.ok(payload.auth_time >= began - 1 && payload.auth_time <= payload.iat, `auth_time ${payload.auth_time}, began ${began}`);
  assert.ok(Array.isArray(payload.amr) && payload.amr.includes("otp"), `amr ${JSON.stringify(payload.amr)}`);
  assert.ok(!JSON.stringify(payload).includes(person.email), "the token does not carry the address");

  const again = await signIn(person);
  const second = (await jwtVerify(again.access_token, keys)).payload;
  assert.equal(second.sub, payload.sub, "the same person is the same subject");
  assert.notEqual(second.jti, payload.jti);
  assert.notEqual(second.sid, payload.sid, "another grant is another family");
  const other = await jwtVerify((await signIn(new Person())).access_token, keys);
  assert.notEqual(other.payload.sub, payload.sub, "another person is another subject");
});

test("no private part of a key is published", async () => {
  const answer = await app.http.get(config.serverMetadata().jwks_uri);
  assert.ok(answer.json.keys.length > 0);
  for (const key of answer.json.keys) {
    for (const secret of ["d", "k", "p", "q", "dp", "dq", "qi"]) assert.ok(!(secret in key), `${key.kid} has ${secret}`);
    assert.equal(key.use, "sig");
  }
  const { access_token: token } = await signIn(new Person());
  assert.ok(answer.json.keys.some(({ kid }) => kid === decodeProtectedHeader(token).kid));
});

test("openid-client refuses an answer with another state or another iss, so both are really sent", async () => {
  const change = (name, value) => ({ tamper: (callback) => callback.searchParams.set(name, value) });
  await assert.rejects(signIn(new Person(), change("state", "another")), { code: "OAUTH_INVALID_RESPONSE" });
  await assert.rejects(signIn(new Person(), change("iss", "https://other.example.test")), { code: "OAUTH_INVALID_RESPONSE" });
  const remove = { tamper: (callback) => callback.searchParams.delete("iss") };
  await assert.rejects(signIn(new Person(), remove), { code: "OAUTH_INVALID_RESPONSE" });
});

test("a person who says no sends access_denied, with state and iss", async () => {
  const request = app.request();
  const received = await new Person().authorize(request, { decision: "deny" });
  assert.equal(received.error, "access_denied");
  assert.equal(received.state, request.parameters.state);
  assert.equal(received.iss, issuer);
  assert.equal(received.code, undefined);
});

for (const [name, method] of Object.entries({
  client_secret_basic: client.ClientSecretBasic,
  client_secret_post: client.ClientSecretPost,
})) {
  test(`a confidential client authenticates by ${name}, and not with another secret`, async () => {
    const [backend] = await OAuthApp.register({ confidential: true });
    assert.ok(backend.clientSecret.length >= 32);
    const configured = (secret) => client.discovery(new URL(issuer), backend.clientId, undefined, method(secret), OPTIONS);
    const good = await configured(backend.clientSecret);
    const tokens = await signIn(new Person(), { as: { app: backend, config: good } });
    assert.equal((await backend.call(tokens.access_token)).status, 200);
    const bad = await configured(`${backend.clientSecret}x`);
    // Who tried by header is challenged (RFC 6749 section 5.2), which openid-client tells in place of the error.
    const refused = ({ status, error, cause }) => status === 401 && (error === "invalid_client" || cause[0].scheme === "basic");
    await assert.rejects(client.refreshTokenGrant(bad, tokens.refresh_token), refused);
    await assert.rejects(signIn(new Person(), { as: { app: backend, config: bad } }), refused);
    // Without any proof, nobody: neither refresh nor revoke.
    assert.equal((await backend.refresh(tokens.refresh_token)).json.error, "invalid_client");
    assert.equal((await backend.revoke(tokens.refresh_token)).json.error, "invalid_client");
    const renewed = await client.refreshTokenGrant(good, tokens.refresh_token);
    await client.tokenRevocation(good, renewed.refresh_token);
    await assert.rejects(client.refreshTokenGrant(good, renewed.refresh_token), { error: "invalid_grant" });
  });
}

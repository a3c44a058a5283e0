// OpenID Connect by openid-client: discovery, an ID token that it verifies, userinfo, and what a client may want the person asked.
import assert from "node:assert/strict";
import { test, before } from "node:test";
import * as client from "openid-client";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { issuer } from "./driver/gateway.mjs";

const SCOPES = ["openid", "email", "profile", "notes:read"];
let app;
let config;

before(async () => {
  [app] = await OAuthApp.register({ scopes: SCOPES });
  // By OpenID Connect Discovery: openid-client's default.
  config = await client.discovery(new URL(issuer), app.clientId, undefined, client.None(), {
    execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
  });
});

/** Sends a person through; openid-client judges what comes back, the ID token's signature included. */
async function signIn(person, more = {}, expected = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const parameters = {
    redirect_uri: app.redirectUri,
    scope: "openid email",
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    nonce,
    ...more,
  };
  const url = client.buildAuthorizationUrl(config, parameters);
  const received = await person.authorize({ url: url.href, parameters });
  const callback = new URL(`${app.redirectUri}?${new URLSearchParams(received)}`);
  return client.authorizationCodeGrant(config, callback, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
    ...expected,
  });
}

test("discovery by OpenID Connect gives the metadata of RFC 8414, byte for byte", async () => {
  const [openid, oauth] = await Promise.all(
    ["openid-configuration", "oauth-authorization-server"].map((name) => app.http.get(`${issuer}/.well-known/${name}`)),
  );
  assert.equal(openid.text, oauth.text);
  assert.equal(config.serverMetadata().issuer, issuer);
  assert.deepEqual(openid.json.subject_types_supported, ["public"]);
  assert.equal(openid.json.request_uri_parameter_supported, false);
});

test("an ID token that openid-client verifies, and userinfo of the same person", async () => {
  const person = new Person();
  const tokens = await signIn(person, {}, { maxAge: 3600 });
  const claims = tokens.claims();
  assert.equal(claims.aud, app.clientId);
  assert.deepEqual(claims.amr, ["otp"]);
  assert.ok(!JSON.stringify(claims).includes(person.email), "the ID token does not carry the address");
  const told = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  assert.deepEqual(told, { sub: claims.sub, email: person.email, email_verified: true });

  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.equal(renewed.claims().sub, claims.sub);
  assert.equal(renewed.claims().auth_time, claims.auth_time);

  const narrow = await client.refreshTokenGrant(config, renewed.refresh_token, { scope: "email" });
  assert.equal(narrow.id_token, undefined);
  const refused = await app.http.get(`${issuer}/oauth/userinfo`, { headers: { authorization: `Bearer ${narrow.access_token}` } });
  assert.equal(refused.status, 403);
  assert.match(refused.headers["www-authenticate"], /insufficient_scope/);
});

test("attack 10: an ID token opens neither the project nor userinfo", async () => {
  const { id_token: token } = await signIn(new Person());
  assert.equal((await app.call(token)).status, 401);
  const answer = await app.http.get(`${issuer}/oauth/userinfo`, { headers: { authorization: `Bearer ${token}` } });
  assert.equal(answer.status, 401);
});

test("prompt=none without a session is login_required, and the answer names the issuer", async () => {
  const { url } = app.request({ scope: "openid", prompt: "none" });
  const answer = await app.http.get(url);
  const received = Object.fromEntries(new URL(answer.headers.location).searchParams);
  assert.equal(received.error, "login_required");
  assert.equal(received.iss, issuer);
});

test("the mirror answers like the endpoint it mirrors", async () => {
  const tokens = await signIn(new Person());
  const headers = { authorization: `Bearer ${tokens.access_token}` };
  const [one, other] = await Promise.all(
    ["oauth", "api/v1/oauth"].map((prefix) => app.http.get(`${issuer}/${prefix}/userinfo`, { headers })),
  );
  assert.equal(one.status, 200);
  assert.deepEqual(other.json, one.json);
  const revoked = await app.http.post(`${issuer}/api/v1/oauth/revoke`, { client_id: app.clientId, token: tokens.refresh_token });
  assert.equal(revoked.status, 200);
  assert.equal((await app.refresh(tokens.refresh_token)).json.error, "invalid_grant");
});

// Attacks on the OAuth flow, by their rows in the catalogue: redirect URIs (12), PKCE downgrade (13), credentials not bound to
// their client (14), refresh reuse (15), single use replayed (24).
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { assertErrorPage, assertErrorRedirect, assertOAuthError } from "./driver/assertions.mjs";
import * as database from "./driver/database.mjs";
import { formWith } from "./driver/forms.mjs";
import { gateward } from "./driver/gateward.mjs";
import { issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp, pkce } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { until } from "./driver/until.mjs";

const REVOKED_WITHIN = { within: 6_000, every: 50 };

let app;
let other;

before(async () => {
  [app, other] = await OAuthApp.register({ count: 2 });
});

/** A code that nobody has redeemed yet. */
async function freshCode(person = new Person(), changes = {}) {
  const request = app.request(changes);
  const { code } = await person.authorize(request);
  assert.ok(code, "the authorization gave a code");
  return { code, verifier: request.verifier };
}

async function assertRevoked(what, accessToken, of = app) {
  await until(`${what} is refused`, async () => (await of.call(accessToken)).status === 401, REVOKED_WITHIN);
}

test("row 12: a redirect URI is the registered string or nothing, and an error never redirects elsewhere", async () => {
  const registered = app.redirectUri;
  const host = new URL(registered).host;
  const changed = [
    `${registered}/`,
    `${registered}?x=1`,
    `${registered}#fragment`,
    `${registered}%2f..`,
    `${registered}/../evil`,
    registered.replace("https:", "http:"),
    registered.replace("/callback", "/Callback"),
    registered.replace("https://", "https://user@"),
    registered.replace(host, `${host}:443`),
    registered.replace(host, `${host}.`),
    registered.replace(host, host.toUpperCase()),
    registered.replace(host, `${host}.evil.test`),
    registered.replace(host, `${host}@evil.test`),
    registered.replace(host, `evil.test\\@${host}`),
    registered.replace(host, `evil.test/${host}`),
    registered.slice(0, -1),
    ` ${registered}`,
    `${registered}\t`,
    `${registered}\r\nX-Injected: 1`,
    `https://evil.test/?${registered}`,
    `//${host}/callback/0`,
    "javascript:alert(1)",
    "data:text/html,x",
    "http://127.0.0.1:9101/callback",
    other.redirectUri,
  ];
  const http = new HttpClient();
  for (const redirect_uri of changed) {
    // A request that is wrong in other ways too must not be sent there either.
    for (const more of [
      {},
      { response_type: "token" },
      { scope: "unknown:scope" },
      { code_challenge_method: "plain" },
      { code_challenge: undefined },
    ]) {
      const answer = await http.get(app.request({ redirect_uri, ...more }).url);
      assertErrorPage(answer, JSON.stringify(redirect_uri));
    }
  }
  const twice = app.request();
  assertErrorPage(await http.get(`${twice.url}&redirect_uri=https://evil.test/`), "two redirect URIs");
  assertErrorPage(await http.get(`${twice.url}&client_id=${other.clientId}`), "two client ids");
  assertErrorPage(await http.get(app.request({ client_id: "nobody" }).url), "an unknown client");
  assertErrorPage(await http.get(app.request({ client_id: undefined }).url), "no client");
});

test("row 12: an error page repeats nothing that the caller sent", async () => {
  const marker = "<script>alert(document.domain)</script>";
  const answer = await new HttpClient().get(
    app.request({ redirect_uri: `https://evil.test/${marker}`, state: marker, client_id: app.clientId }).url,
  );
  assertErrorPage(answer, "a script as redirect URI");
  assert.ok(!answer.text.includes("<script") && !answer.text.includes("evil.test"));
  assert.match(answer.headers["content-security-policy"], /default-src 'none'/);
  assert.match(answer.headers["content-security-policy"], /frame-ancestors 'none'/);
});

test("row 12: a code is redeemed with the redirect URI it was issued for", async () => {
  const { code, verifier } = await freshCode();
  for (const redirect_uri of [other.redirectUri, `${app.redirectUri}/`, "https://evil.test/"]) {
    assertOAuthError(await app.redeem(code, verifier, { redirect_uri }), 400, "invalid_grant");
  }
  assert.equal((await app.redeem(code, verifier)).status, 200, "and the refusals have not used it up");
});

test("row 12: a loopback redirect takes any port, and nothing else that differs (RFC 8252)", async () => {
  const [native] = await OAuthApp.register({ redirectUris: ["http://127.0.0.1/callback"] });
  const http = new HttpClient();
  for (const redirect_uri of [
    "http://127.0.0.1:1/other",
    "http://localhost:8000/callback",
    "http://127.0.0.1.evil.test/callback",
    "http://127.0.0.1:80@evil.test/callback",
    "https://127.0.0.1:8000/callback",
  ]) {
    assertErrorPage(await http.get(native.request({ redirect_uri }).url), redirect_uri);
  }
  const redirect_uri = "http://127.0.0.1:51234/callback";
  const request = native.request({ redirect_uri });
  const { code } = await new Person().authorize(request);
  assertOAuthError(
    await native.redeem(code, request.verifier, { redirect_uri: "http://127.0.0.1:51235/callback" }),
    400,
    "invalid_grant",
  );
  assert.equal((await native.redeem(code, request.verifier, { redirect_uri })).status, 200);
});

test("row 13: no challenge, plain, a method alone or a malformed challenge: no authorization", async () => {
  const http = new HttpClient();
  const { verifier } = pkce();
  const downgrades = [
    { code_challenge: undefined, code_challenge_method: undefined },
    { code_challenge: undefined },
    { code_challenge_method: undefined },
    { code_challenge_method: "plain", code_challenge: verifier },
    { code_challenge_method: "s256" },
    { code_challenge_method: "S512" },
    { code_challenge: "" },
    { code_challenge: "short" },
    { code_challenge: `${"A".repeat(43)}=` },
    { code_challenge: "A".repeat(44) },
    { code_challenge: `${"A".repeat(42)}+` },
  ];
  for (const change of downgrades) {
    const request = app.request(change);
    assertErrorRedirect(await http.get(request.url), request, "invalid_request");
  }
  const twice = app.request();
  assertErrorRedirect(await http.get(`${twice.url}&code_challenge_method=plain`), twice, "invalid_request");
  assertErrorRedirect(await http.get(`${twice.url}&code_challenge=${pkce().challenge}`), twice, "invalid_request");
});

test("row 13: a code without its verifier gives nothing", async () => {
  const { code, verifier } = await freshCode();
  const challenge = pkce().challenge;
  assertOAuthError(await app.redeem(code, undefined), 400, "invalid_request");
  assertOAuthError(await app.redeem(code, ""), 400, "invalid_request");
  assertOAuthError(await app.redeem(code, "too-short"), 400, "invalid_request");
  assertOAuthError(await app.redeem(code, "a".repeat(129)), 400, "invalid_request");
  assertOAuthError(await app.redeem(code, pkce().verifier), 400, "invalid_grant");
  assertOAuthError(await app.redeem(code, challenge), 400, "invalid_grant");
  assertOAuthError(
    await app.redeem(code, undefined, { code_challenge: challenge, code_challenge_method: "plain" }),
    400,
    "invalid_request",
  );
  for (let at = 0; at < code.length; at += 3) {
    const damaged = code.slice(0, at) + (code[at] === "A" ? "B" : "A") + code.slice(at + 1);
    assertOAuthError(await app.redeem(damaged, verifier), 400, "invalid_grant");
  }
  assert.equal((await app.redeem(code, verifier)).status, 200, "the right verifier still redeems it");
});

test("row 14: a code is redeemed by the client it was issued to", async () => {
  const { code, verifier } = await freshCode();
  assertOAuthError(await other.redeem(code, verifier), 400, "invalid_grant");
  assertOAuthError(await other.redeem(code, verifier, { redirect_uri: app.redirectUri }), 400, "invalid_grant");
  assertOAuthError(await app.redeem(code, verifier, { client_id: "nobody" }), 401, "invalid_client");
  assertOAuthError(await app.redeem(code, verifier, { client_id: undefined }), 401, "invalid_client");
  assertOAuthError(await app.redeem(code, verifier, { client_secret: "guess" }), 401, "invalid_client");
  assert.equal((await app.redeem(code, verifier)).status, 200, "its own client still redeems it");
});

test("row 14: a refresh token is used and revoked by the client it was issued to", async () => {
  const tokens = await new Person().signInTo(app);
  assertOAuthError(await other.refresh(tokens.refresh_token), 400, "invalid_grant");
  assertOAuthError(await app.refresh(tokens.refresh_token, { client_id: undefined }), 401, "invalid_client");
  const foreign = await other.revoke(tokens.refresh_token);
  assert.ok([200, 400].includes(foreign.status), `${foreign.status} ${foreign.text}`);
  assert.equal((await app.call(tokens.access_token)).status, 200, "another client revokes nothing");
  assert.equal((await app.refresh(tokens.refresh_token)).status, 200, "its own client still refreshes");
});

test("row 14: a refresh asks for no more than was granted", async () => {
  const tokens = await new Person().signInTo(app, { scope: "notes:read" });
  assertOAuthError(await app.refresh(tokens.refresh_token, { scope: "notes:read notes:write" }), 400, "invalid_scope");
  const renewed = await app.refresh(tokens.refresh_token, { scope: "notes:read" });
  assert.equal(renewed.status, 200, renewed.text);
  assert.equal(renewed.json.scope, "notes:read");
});

test("row 15: a refresh token of an earlier generation revokes its whole family, at the edge too", async () => {
  const first = await new Person().signInTo(app);
  const second = (await app.refresh(first.refresh_token)).json;
  const third = (await app.refresh(second.refresh_token)).json;
  assert.equal((await app.call(third.access_token)).status, 200);
  // Two generations back: no retry of a client that lost an answer looks like this.
  assertOAuthError(await app.refresh(first.refresh_token), 400, "invalid_grant");
  assertOAuthError(await app.refresh(third.refresh_token), 400, "invalid_grant");
  await assertRevoked("the newest access token of the family", third.access_token);
  await assertRevoked("the oldest one", first.access_token);
});

test("row 15: the previous refresh token, once its grace is over, revokes the family", async () => {
  const first = await new Person().signInTo(app);
  const second = (await app.refresh(first.refresh_token)).json;
  // The grace is 30 s: the rotation is moved into the past instead of waiting for it.
  const grant = grantOf(first.refresh_token);
  const moved = await database.command(
    "UPDATE auth_gateway.oauth_grants SET rotated_at = rotated_at - interval '1 hour' WHERE id = $1 RETURNING id",
    [grant],
  );
  assert.equal(moved.length, 1);
  assertOAuthError(await app.refresh(first.refresh_token), 400, "invalid_grant");
  assertOAuthError(await app.refresh(second.refresh_token), 400, "invalid_grant");
  await assertRevoked("the family's access token", second.access_token);
});

test("row 15: a forged generation or secret of a real family gives nothing and harms nobody", async () => {
  const tokens = await new Person().signInTo(app);
  for (let at = 6; at < tokens.refresh_token.length; at += 5) {
    const damaged =
      tokens.refresh_token.slice(0, at) + (tokens.refresh_token[at] === "A" ? "B" : "A") + tokens.refresh_token.slice(at + 1);
    assertOAuthError(await app.refresh(damaged), 400, "invalid_grant");
  }
  assert.equal((await app.call(tokens.access_token)).status, 200);
  assert.equal((await app.refresh(tokens.refresh_token)).status, 200);
});

test("row 16: a suspended account gets nothing more by any grant, session or code", async () => {
  const person = new Person();
  const tokens = await person.signInTo(app);
  const waiting = await freshCode(person);
  await database.command("UPDATE auth_gateway.user_accounts SET status = 'suspended' WHERE email = $1", [person.email]);
  assertOAuthError(await app.refresh(tokens.refresh_token), 400, "invalid_grant");
  assertOAuthError(await app.redeem(waiting.code, waiting.verifier), 400, "invalid_grant");
  assert.notEqual((await person.open("/account")).status, 200, "the session is over");
  const again = new Person({ email: person.email });
  const { page, code } = await again.askForCode(await again.follow(await again.open("/sign-in"))).catch(() => ({}));
  if (code !== undefined) await again.follow(await again.submit(formWith(page, "code"), { code }));
  assert.notEqual((await again.open("/account")).status, 200, "a suspended person signed in");
  await database.command("UPDATE auth_gateway.user_accounts SET status = 'active' WHERE email = $1", [person.email]);
  assert.equal((await app.refresh(tokens.refresh_token)).status, 200, "the refusal was for the suspension alone");
});

test("row 16: a disabled client's tokens are refused, at the edge too", async () => {
  const [gone] = await OAuthApp.register();
  const tokens = await new Person().signInTo(gone);
  await database.command("UPDATE auth_gateway.oauth_clients SET enabled = false WHERE client_id = $1", [gone.clientId]);
  await assertRevoked("a disabled client's token", tokens.access_token, gone);
  assertOAuthError(await gone.refresh(tokens.refresh_token), 401, "invalid_client");
  assertErrorPage(await new HttpClient().get(gone.request().url), "a disabled client");
});

test("row 25: nothing that is one person's may be stored by a cache", async () => {
  const person = new Person();
  const request = app.request();
  const page = await consentPage(person, request);
  const consented = await person.submit(formWith(page, "decision"), { decision: "allow" });
  const code = new URL(consented.location).searchParams.get("code");
  const token = await app.redeem(code, request.verifier);
  const answers = {
    "the consent page": page,
    "the redirect with the code": consented,
    "the token response": token,
    "a token error": await app.redeem(code, request.verifier),
    "the authorization endpoint": await person.open(app.request().url),
    "the account": await person.open("/account"),
    "the sign-in page": await new Person().open("/sign-in"),
    "a refusal": await app.call("nonsense"),
  };
  for (const [what, answer] of Object.entries(answers)) {
    assert.match(answer.headers["cache-control"] ?? "", /no-store/, what);
  }
  assert.equal(token.headers.pragma ?? "no-cache", "no-cache");
});

test("row 24: a code that comes twice fails and takes back what it gave", async () => {
  const { code, verifier } = await freshCode();
  const tokens = (await app.redeem(code, verifier)).json;
  assert.equal((await app.call(tokens.access_token)).status, 200);
  assertOAuthError(await app.redeem(code, verifier), 400, "invalid_grant");
  assertOAuthError(await app.refresh(tokens.refresh_token), 400, "invalid_grant");
  await assertRevoked("the access token that the code gave", tokens.access_token);
});

test("row 24: a one-time code signs in once, in the browser that asked for it", async () => {
  const person = new Person();
  const { page, code } = await person.askForCode(await person.follow(await person.open("/sign-in")));
  const form = formWith(page, "code");

  const thief = new Person();
  const stolen = await thief.follow(await thief.submit(form, { code }));
  const signedIn = async (who) => (await who.open("/account")).status === 200;
  assert.ok(!(await signedIn(thief)), `another browser was let in: ${stolen.status}`);

  const done = await person.follow(await person.submit(form, { code }));
  assert.equal(done.status, 200, done.text);
  assert.ok(await signedIn(person));

  const again = new Person({ email: person.email });
  for (const [name, value] of person.http.cookies) if (!name.includes("session")) again.http.cookies.set(name, value);
  await again.follow(await again.submit(form, { code }));
  assert.ok(!(await signedIn(again)), "the code signed in twice");
});

test("row 24: wrong guesses use a code up", async () => {
  const person = new Person();
  const { page, code } = await person.askForCode(await person.follow(await person.open("/sign-in")));
  const form = formWith(page, "code");
  for (let guess = 0; guess < 20; guess++) {
    const wrong = String((Number(code) + 1 + guess) % 10 ** code.length).padStart(code.length, "0");
    await person.follow(await person.submit(form, { code: wrong }));
  }
  await person.follow(await person.submit(form, { code }));
  assert.notEqual((await person.open("/account")).status, 200, "after 20 wrong guesses the code must be dead");
});

test("row 24: a sign-in link works once, and looking at it does not use it", async () => {
  const email = new Person().email;
  const link = (await gateward("sign-in-link", "--email", email))
    .trim()
    .split(/\s+/)
    .find((word) => word.startsWith("http"));
  const [person, late] = [new Person({ email }), new Person({ email })];
  // A mail scanner fetches every link it sees.
  await new Person().open(link);
  const page = await person.open(link);
  const form = formWith(page, "token");
  const latePage = await late.open(link);
  await person.follow(await person.submit(form));
  assert.equal((await person.open("/account")).status, 200);
  await late.follow(await late.submit(formWith(latePage, "token")));
  assert.notEqual((await late.open("/account")).status, 200, "the link signed in twice");
});

test("row 24: a consent answers one request once", async () => {
  const person = new Person();
  const request = app.request();
  assert.ok((await person.authorize(request)).code);
  const replay = await person.follow(await person.submit(person.consentForm, { decision: "allow" }));
  assert.equal(new URL(replay.location ?? "http://none/").searchParams.get("code"), null, "the same consent gave a second code");
  assert.ok(
    replay.status >= 400 || replay.location === undefined || replay.location.includes("error="),
    `${replay.status} ${replay.location}`,
  );
  const forger = new Person();
  await forger.signIn();
  const stolen = await forger.follow(await forger.submit(person.consentForm, { decision: "allow" }));
  assert.equal(
    new URL(stolen.location ?? "http://none/").searchParams.get("code"),
    null,
    "another person's consent form gave a code",
  );
});

test("a form without its token, or from another site, changes nothing", async () => {
  const person = new Person();
  const request = app.request();
  const page = await consentPage(person, request);
  const form = formWith(page, "decision");
  const { csrf, ...fields } = form.fields;
  assert.ok(csrf, "the consent form carries a token");
  for (const forged of [{ ...fields }, { ...fields, csrf: "" }, { ...fields, csrf: "A".repeat(csrf.length) }]) {
    const answer = await person.http.post(
      `${issuer}/consent`,
      { ...forged, decision: "allow" },
      { headers: { origin: issuer, "sec-fetch-site": "same-origin" } },
    );
    assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status} ${answer.location}`);
  }
  for (const site of ["cross-site", "same-site"]) {
    const answer = await person.http.post(
      `${issuer}/consent`,
      { ...form.fields, decision: "allow" },
      { headers: { "sec-fetch-site": site } },
    );
    assert.equal(answer.status, 403, `${site}: ${answer.status}`);
  }
  const allowed = await person.follow(await person.submit(form, { decision: "allow" }));
  assert.ok(new URL(allowed.location).searchParams.get("code"), "the real form still works");
});

/** Goes as far as the consent page. */
async function consentPage(person, request) {
  const { page, code } = await person.askForCode(await person.follow(await person.open(request.url)));
  return person.follow(await person.submit(formWith(page, "code"), { code }));
}

/** The grant that a refresh token names, as a UUID. */
function grantOf(refreshToken) {
  const hex = Buffer.from(refreshToken.slice("gw_rt_".length).split(".")[0], "base64url").toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

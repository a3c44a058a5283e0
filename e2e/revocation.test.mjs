// How fast a revocation bites: from the answer that confirms it until the edge first refuses the token, in parallel runs, for
// every way there is to revoke.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { assertProblem } from "./driver/assertions.mjs";
import { formsOf, textOf } from "./driver/forms.mjs";
import { gateward, issueServiceToken } from "./driver/gateward.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { percentile } from "./driver/until.mjs";
import { setTimeout as pause } from "node:timers/promises";

const BOUND = 6_000;
const RUNS = 20;
const PROBE_EVERY = 25;

let app;
before(async () => {
  [app] = await OAuthApp.register();
});

/** From now until the token is first refused as revoked, in milliseconds. It must stay refused. */
async function untilRefused(token) {
  // An address of its own, since so many probes side by side would exceed the limit of one.
  const http = new HttpClient({ connections: 1 });
  const from = performance.now();
  for (;;) {
    const answer = await app.call(token, "/hello", { http });
    const elapsed = performance.now() - from;
    if (answer.status === 401) {
      assertProblem(answer, 401, "token-revoked");
      assert.match(answer.headers["www-authenticate"], /error="invalid_token"/);
      assertProblem(await app.call(token, "/hello", { http }), 401, "token-revoked");
      http.close();
      return elapsed;
    }
    assert.equal(answer.status, 200, answer.text);
    assert.ok(elapsed <= BOUND, `still accepted ${elapsed.toFixed(0)} ms after it was revoked`);
    await pause(PROBE_EVERY);
  }
}

/** Prepares `RUNS` live tokens, then revokes all of them side by side and measures each. */
async function measure(t, what, prepare, revoke) {
  const prepared = await Promise.all(Array.from({ length: RUNS }, prepare));
  for (const one of prepared) assert.equal((await app.call(one.token)).status, 200, "the token is good before");
  const bystander = await new Person().signInTo(app);
  const times = await Promise.all(
    prepared.map(async (one) => {
      await revoke(one);
      return untilRefused(one.token);
    }),
  );
  const shown = [0, 0.5, 0.95, 1].map((share) => `${percentile(times, share).toFixed(0)} ms`);
  t.diagnostic(
    `${what}: ${RUNS} runs, min ${shown[0]}, median ${shown[1]}, p95 ${shown[2]}, max ${shown[3]} (bound ${BOUND} ms)`,
  );
  assert.ok(Math.max(...times) <= BOUND);
  assert.equal((await app.call(bystander.access_token)).status, 200, "nobody else is touched");
}

const signedIn = async () => {
  const person = new Person();
  const tokens = await person.signInTo(app);
  return { person, tokens, token: tokens.access_token };
};

test("revoking the refresh token (RFC 7009) ends its access tokens at the edge within 6 s", async (t) => {
  await measure(t, "by refresh token", signedIn, async ({ tokens }) => {
    assert.equal((await app.revoke(tokens.refresh_token)).status, 200);
    const refreshed = await app.refresh(tokens.refresh_token);
    assert.equal(refreshed.status, 400, "the refresh token itself is dead at once");
    assert.equal(refreshed.json.error, "invalid_grant");
  });
});

test("revoking an access token ends it at the edge within 6 s", async (t) => {
  await measure(t, "by access token", signedIn, async ({ token }) => {
    assert.equal((await app.revoke(token, { token_type_hint: "access_token" })).status, 200);
  });
});

test("`gateward token revoke` ends a service token at the edge within 6 s", async (t) => {
  const issue = () => issueServiceToken(app.project, "modal");
  // The program is started for each: a few at a time are enough.
  await measure(t, "by the operator", issue, ({ jti }) => gateward("token", "revoke", jti, "--reason", "e2e", "--json"));
});

test("signing out ends what the session gave at the edge within 6 s", async (t) => {
  await measure(t, "by sign-out", signedIn, async ({ person }) => {
    const page = await person.open("/account");
    const form = formsOf(page.text).find(({ action }) => action === "/sign-out");
    assert.ok(form, textOf(page.text));
    const done = await person.follow(await person.submit(form));
    assert.ok(done.status < 400, `${done.status}`);
    assert.notEqual((await person.open("/account")).status, 200, "the session is over");
  });
});

test("ending the session from another browser does the same", async (t) => {
  const elsewhere = async () => {
    const one = await signedIn();
    const other = new Person({ email: one.person.email });
    await other.signIn();
    return { ...one, other };
  };
  await measure(t, "from another browser", elsewhere, async ({ other }) => {
    const page = await other.open("/account");
    const form = formsOf(page.text).find(({ fields }) => "session" in fields);
    assert.ok(form, textOf(page.text));
    assert.ok((await other.follow(await other.submit(form))).status < 400);
  });
});

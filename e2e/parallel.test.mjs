// Many at once: of 64 parallel redemptions exactly one succeeds, and the record of events has no gap, no double and no loss.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import * as database from "./driver/database.mjs";
import { formWith } from "./driver/forms.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { until } from "./driver/until.mjs";
import { assertEventsAreWhole, assertReadSideIsEqual } from "./driver/record.mjs";
import { decodeJwt } from "jose";

const AT_ONCE = 64;
let app;

before(async () => {
  [app] = await OAuthApp.register();
});

/** Opens the connections first, so that the requests really run side by side. */
async function atOnce(work) {
  const clients = Array.from({ length: AT_ONCE }, () => new HttpClient({ connections: 1 }));
  await Promise.all(clients.map((http) => http.get(new URL("/ping", app.request().url).href)));
  const answers = await Promise.all(clients.map((http) => work(http)));
  for (const http of clients) http.close();
  return answers;
}

function split(answers) {
  const good = answers.filter(({ status }) => status === 200);
  for (const answer of answers) {
    if (answer.status === 200) continue;
    assert.equal(answer.status, 400, answer.text);
    assert.equal(answer.json.error, "invalid_grant", answer.text);
  }
  return good;
}

const eventsOf = (grant) =>
  database.command(
    "SELECT event_type, version::int FROM auth_gateway.events WHERE aggregate_type = 'grant' AND aggregate_id = $1 ORDER BY version",
    [grant],
  );

test("64 parallel redemptions of one code: exactly one success", async () => {
  const request = app.request();
  const { code } = await new Person().authorize(request);
  const good = split(await atOnce((http) => app.redeem(code, request.verifier, {}, http)));
  assert.equal(good.length, 1, `${good.length} of ${AT_ONCE} got tokens`);
  const { sid } = decodeJwt(good[0].json.access_token);
  // Whoever raced for the code is no better than a thief: what it gave is taken back.
  const refused = async () => (await app.call(good[0].json.access_token)).status === 401;
  await until("the replayed code's token is refused", refused, { within: 6_000 });
  const events = await eventsOf(sid);
  const count = (word) => events.filter(({ event_type: type }) => type.toLowerCase().includes(word)).length;
  assert.deepEqual(
    events.map(({ version }) => version),
    events.map((_, index) => index + 1),
    JSON.stringify(events),
  );
  assert.equal(count("revoked"), 1, JSON.stringify(events));
  const [{ issued }] = await database.command(
    "SELECT count(*)::int AS issued FROM auth_gateway.oauth_tokens WHERE grant_id = $1",
    [sid],
  );
  assert.equal(issued, 1);
});

test("64 parallel redemptions of one refresh token: exactly one success", async () => {
  const tokens = await new Person().signInTo(app);
  const { sid } = decodeJwt(tokens.access_token);
  const good = split(await atOnce((http) => app.refresh(tokens.refresh_token, {}, http)));
  assert.equal(good.length, 1, `${good.length} of ${AT_ONCE} got tokens`);
  // Within the grace this is a client that lost its answer: the family lives on.
  assert.equal((await app.call(good[0].json.access_token)).status, 200);
  const next = await app.refresh(good[0].json.refresh_token);
  assert.equal(next.status, 200, next.text);
  const events = await eventsOf(sid);
  assert.deepEqual(
    events.map(({ version }) => version),
    events.map((_, index) => index + 1),
    JSON.stringify(events),
  );
  const [{ issued }] = await database.command(
    "SELECT count(*)::int AS issued FROM auth_gateway.oauth_tokens WHERE grant_id = $1",
    [sid],
  );
  assert.equal(issued, 3, "one at sign-in, one by the winner, one by the next refresh");
});

test("64 parallel revocations of one refresh token: all answer 200, one event", async () => {
  const tokens = await new Person().signInTo(app);
  const { sid } = decodeJwt(tokens.access_token);
  const answers = await atOnce((http) =>
    http.post(new URL("/oauth/revoke", app.request().url).href, { client_id: app.clientId, token: tokens.refresh_token }),
  );
  for (const answer of answers) assert.equal(answer.status, 200, answer.text);
  const events = await eventsOf(sid);
  assert.equal(events.filter(({ event_type: type }) => type.toLowerCase().includes("revoked")).length, 1, JSON.stringify(events));
});

test("64 people sign in at once", async () => {
  const people = Array.from({ length: AT_ONCE }, () => new Person());
  const tokens = await Promise.all(people.map((person) => person.signInTo(app)));
  assert.equal(new Set(tokens.map(({ access_token: token }) => decodeJwt(token).sub)).size, AT_ONCE);
  assert.equal(new Set(tokens.map(({ access_token: token }) => decodeJwt(token).jti)).size, AT_ONCE);
});

test("one new person in 4 browsers at once gets one account", async () => {
  const { email } = new Person();
  const browsers = Array.from({ length: 4 }, () => new Person({ email }));
  // One after the other, so that each browser gets its own code; then all codes at once.
  const asked = [];
  for (const browser of browsers) asked.push(await browser.askForCode(await browser.follow(await browser.open("/sign-in"))));
  const submit = async (browser, index) =>
    browser.follow(await browser.submit(formWith(asked[index].page, "code"), { code: asked[index].code }));
  await Promise.all(browsers.map(submit));
  const tokens = await Promise.all(browsers.map((browser) => browser.signInTo(app)));
  assert.equal(new Set(tokens.map(({ access_token: token }) => decodeJwt(token).sub)).size, 1);
  const [{ accounts }] = await database.command(
    "SELECT count(*)::int AS accounts FROM auth_gateway.user_accounts WHERE email = $1",
    [email],
  );
  assert.equal(accounts, 1);
});

test("the record is whole: versions without a gap, chained, and the read side is equal to it", async () => {
  await assertEventsAreWhole();
  await assertReadSideIsEqual();
});

// What still works while a part is down, what is said meanwhile, and that everything works again afterwards without touching
// the edge. Stops parts of the gateway, so that it needs one of its own and runs alone.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { assertProblem } from "./driver/assertions.mjs";
import { applyProject, gateward } from "./driver/gateward.mjs";
import { control, gateway, issuer, record, startWhatIsStopped } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { assertEventsAreWhole, assertReadSideIsEqual } from "./driver/record.mjs";
import { until } from "./driver/until.mjs";

const RECOVERY = { within: 30_000, every: 100 };
let app;
let edge;

before(async () => {
  await startWhatIsStopped();
  [app] = await OAuthApp.register();
  edge = record().processes.edge;
});
// A test that failed half-way leaves nothing stopped for the next one.
afterEach(startWhatIsStopped);
after(() => {
  assert.equal(record().processes.edge, edge, "the edge was never restarted");
});

const http = new HttpClient();
const writes = (tokens, request) => [
  ["POST /oauth/token", () => app.refresh(tokens.refresh_token)],
  ["POST /oauth/revoke", () => app.revoke(tokens.refresh_token)],
  [
    "POST /sign-in",
    () =>
      http.post(
        `${issuer}/sign-in`,
        { email: new Person().email },
        { headers: { "sec-fetch-site": "same-origin", origin: issuer } },
      ),
  ],
  ["GET /oauth/authorize", () => http.get(request.url)],
  ["GET /sign-in", () => http.get(`${issuer}/sign-in`)],
];

/** Asks from an address of its own, so that asking again and again is not limited. */
async function fromElsewhere(ask) {
  const caller = new HttpClient();
  try {
    return await ask(caller);
  } finally {
    caller.close();
  }
}

/** A refusal that tells what to do: 503, when to come back, and nothing of the inside. */
function assertUnavailable(what, answer) {
  assert.equal(answer.status, 503, `${what}: ${answer.status} ${answer.text.slice(0, 300)}`);
  assert.ok(Number(answer.headers["retry-after"]) >= 1, `${what}: Retry-After is ${answer.headers["retry-after"]}`);
  assert.doesNotMatch(answer.text, /127\.0\.0\.1:\d{4,5}(?!.*docs\/errors)|sqlx|panicked|postgres:/i, what);
}

/** Everything a person and an application do, from the beginning. */
async function everythingWorks(tokens) {
  const renewed = await app.refresh(tokens.refresh_token);
  assert.equal(renewed.status, 200, renewed.text);
  assert.equal((await app.call(renewed.json.access_token)).status, 200);
  const fresh = await new Person().signInTo(app);
  assert.equal((await app.call(fresh.access_token)).status, 200);
  assert.equal((await app.revoke(fresh.refresh_token)).status, 200);
  await until("a revocation bites again", async () => (await app.call(fresh.access_token)).status === 401, { within: 6_000 });
}

for (const how of ["stop", "kill"]) {
  test(`origin down (${how}): valid tokens still reach the upstream, writes are a 503 with Retry-After, all works again`, async (t) => {
    const tokens = await new Person().signInTo(app);
    const halfway = app.request();
    const { code } = await new Person().authorize(halfway);
    await control(how, "origin");
    for (let call = 0; call < 20; call++) {
      const started = performance.now();
      const answer = await app.call(tokens.access_token);
      assert.equal(answer.status, 200, answer.text);
      assert.ok(performance.now() - started < 2_000, "a call waited for the origin");
    }
    const damaged = tokens.access_token.replace(/.(?=.{20}$)/, (letter) => (letter === "A" ? "B" : "A"));
    assertProblem(await app.call(damaged), 401, "token-signature");
    assert.equal((await http.get(`${issuer}/.well-known/jwks.json`)).status, 200);
    for (const [what, send] of writes(tokens, app.request())) {
      const started = performance.now();
      assertUnavailable(what, await send());
      assert.ok(performance.now() - started < 5_000, `${what} took ${(performance.now() - started).toFixed(0)} ms`);
    }
    // What can be refused without the origin still is.
    assert.equal((await app.redeem(code, "a".repeat(43))).json.error, "invalid_grant");

    await control("start", "origin");
    const back = performance.now();
    const redeemed = await until(
      "the code from before is redeemed",
      async () => {
        const answer = await fromElsewhere((http) => app.redeem(code, halfway.verifier, {}, http));
        return answer.status !== 503 && answer;
      },
      RECOVERY,
    );
    t.diagnostic(`writes work again ${(performance.now() - back).toFixed(0)} ms after the origin's start`);
    assert.equal(redeemed.status, 200, redeemed.text);
    await everythingWorks(tokens);
  });
}

test("origin down: an API key that was looked up goes on, one that was not is a 503, and both work again", async () => {
  const { project } = await applyProject({ credentials: ["api_key"] });
  const create = async (name) => {
    const given = ["--project", project, "--name", name, "--scopes", "notes:read", "--json"];
    return JSON.parse(await gateward("api-key", "create", ...given));
  };
  const [known, unknown] = [await create("known"), await create("unknown")];
  const call = ({ key }) => http.get(`${issuer}/${project}/api/hello`, { headers: { "x-api-key": key } });
  assert.equal((await call(known)).status, 200);
  await control("stop", "origin");
  for (let index = 0; index < 10; index += 1) assert.equal((await call(known)).status, 200);
  assertUnavailable("a key that must be looked up", await call(unknown));
  assertProblem(await call({ key: known.key.slice(0, -1) }), 401, "token-malformed");
  await control("start", "origin");
  await until("the other key is looked up", async () => (await call(unknown)).status === 200, RECOVERY);
  // What was revoked is refused again within the bound.
  await gateward("api-key", "revoke", known.id, "--reason", "test");
  await until("the revocation bites", async () => (await call(known)).status === 401, { within: 6_000 });
  assert.equal((await call(unknown)).status, 200);
});

for (const how of ["stop", "kill"]) {
  test(`Postgres down (${how}): clear errors, and recovery without a restart of anything else`, async (t) => {
    const tokens = await new Person().signInTo(app);
    const { origin, forwarder } = record().processes;
    await control(how, "postgres");
    assert.equal((await app.call(tokens.access_token)).status, 200);
    for (const [what, send] of writes(tokens, app.request())) {
      // The sign-in page itself needs no database.
      if (what === "GET /sign-in") continue;
      assertUnavailable(what, await send());
    }
    await control("start", "postgres");
    const back = performance.now();
    const renewed = await until(
      "a refresh works again",
      async () => {
        const answer = await fromElsewhere((http) => app.refresh(tokens.refresh_token, {}, http));
        return answer.status !== 503 && answer;
      },
      RECOVERY,
    );
    assert.equal(renewed.status, 200, `what was committed before is lost: ${renewed.text}`);
    t.diagnostic(`writes work again ${(performance.now() - back).toFixed(0)} ms after Postgres' start`);
    await everythingWorks(renewed.json);
    const now = record().processes;
    assert.deepEqual([now.origin, now.forwarder], [origin, forwarder], "origin and forwarder went on by themselves");
    await assertEventsAreWhole();
    await assertReadSideIsEqual();
  });
}

test("forwarder down: sign-in goes on, and what waited arrives in order once it is back", async () => {
  await control("kill", "forwarder");
  for (let person = 0; person < 5; person++) await new Person().signInTo(app);
  await control("start", "forwarder");
  await assertReadSideIsEqual();
});

test("mailbox down: asking for a code says so, and works again", async () => {
  await control("stop", "mailbox");
  try {
    const person = new Person();
    const page = await person.open("/sign-in");
    const answer = await person.submit({ action: "/sign-in", fields: {} }, { email: person.email });
    const shown = await person.follow(answer);
    assert.equal(page.status, 200);
    assert.ok(
      shown.status === 503 || shown.status === 502 || /try again|later/i.test(shown.text),
      `${shown.status} ${shown.text.slice(0, 500)}`,
    );
  } finally {
    await control("start", "mailbox");
  }
  await new Person().signInTo(app);
});

test("a refresh family survives a restart of the origin in its middle", async () => {
  const first = await new Person().signInTo(app);
  const second = (await app.refresh(first.refresh_token)).json;
  await control("kill", "origin");
  await control("start", "origin");
  const third = await until(
    "the family goes on",
    async () => {
      const answer = await fromElsewhere((http) => app.refresh(second.refresh_token, {}, http));
      return answer.status === 200 && answer.json;
    },
    RECOVERY,
  );
  // The generation was kept: a token of two generations back still ends the family.
  assert.equal((await app.refresh(first.refresh_token)).json.error, "invalid_grant");
  assert.equal((await app.refresh(third.refresh_token)).json.error, "invalid_grant");
});

test("the edge comes back by itself after a kill, policy and all", async () => {
  const tokens = await new Person().signInTo(app);
  await control("kill", "edge");
  await control("start", "edge");
  edge = record().processes.edge;
  await until("a call works", async () => (await app.call(tokens.access_token)).status === 200, { within: 6_000 });
  assert.ok(gateway.issuer);
});

// 1,000 sign-ins while origin and forwarder are killed with SIGKILL at random moments. Afterwards every committed event is on the
// read side exactly once and in order, and nothing of a sign-in is left half-written. Runs alone, on a gateway of its own.
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { before, after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import * as database from "./driver/database.mjs";
import { control, startWhatIsStopped } from "./driver/gateway.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { assertEventsAreWhole, assertReadSideIsEqual } from "./driver/record.mjs";
import { inParallel, percentile } from "./driver/until.mjs";
import { decodeJwt } from "jose";

const SIGN_INS = Number(process.env.CRASH_SIGN_INS ?? 1_000);
const AT_ONCE = 16;
const KILLS_OF_EACH = 5;
/** A person tries again this often before the test says that the gateway did not recover. */
const TRIES = 60;

let apps;
before(async () => {
  await startWhatIsStopped();
  // A client has a rate limit of its own: the sign-ins are spread over several.
  apps = await OAuthApp.register({ count: 20 });
});
after(startWhatIsStopped);

test(`${SIGN_INS} sign-ins with ${KILLS_OF_EACH} kills each of origin and forwarder`, { timeout: 900_000 }, async (t) => {
  let finished = 0;
  let interrupted = 0;
  const times = [];
  const kills = [];
  /** Kills a part at random shares of the way, each time starting it again at once. */
  const killer = async (part) => {
    const moments = Array.from({ length: KILLS_OF_EACH }, (_, index) =>
      Math.floor(((index + Math.random()) / KILLS_OF_EACH) * SIGN_INS * 0.95),
    );
    for (const moment of moments) {
      while (finished < moment) await pause(5);
      await pause(randomInt(0, 200));
      await control("kill", part);
      kills.push(`${part} at ${finished}`);
      await control("start", part);
    }
  };
  const numbers = Array.from({ length: SIGN_INS }, (_, index) => index);
  const signIns = inParallel(numbers, AT_ONCE, async (number) => {
    const app = apps[number % apps.length];
    const started = performance.now();
    let lastError;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      // Another person each time: how many codes one address is sent is limited.
      const person = new Person();
      try {
        const tokens = await person.signInTo(app);
        finished += 1;
        times.push(performance.now() - started);
        return { ...decodeJwt(tokens.access_token), tries: attempt + 1 };
      } catch (error) {
        // While a part is down there is nothing else to do than what a person does: try again from the start.
        interrupted += 1;
        lastError = error;
        await pause(250);
      } finally {
        person.http.close();
      }
    }
    throw new Error(`sign-in ${number} did not succeed in ${TRIES} tries`, { cause: lastError });
  });
  const began = performance.now();
  const [tokens] = await Promise.all([signIns, killer("origin"), killer("forwarder")]);
  const seconds = (performance.now() - began) / 1000;
  t.diagnostic(
    `${SIGN_INS} sign-ins in ${seconds.toFixed(0)} s (median ${percentile(times, 0.5).toFixed(0)} ms), ${interrupted} attempts cut off; killed ${kills.join(", ")}`,
  );
  assert.ok(interrupted > 0, "no attempt was cut off: the kills did not hit anything");
  assert.equal(new Set(tokens.map(({ sub }) => sub)).size, SIGN_INS);

  await assertEventsAreWhole();
  const events = await assertReadSideIsEqual({ within: 120_000 });
  t.diagnostic(`${events} events, each on the read side once, in order`);
  await assertNothingHalfWritten(tokens);
});

/** Each row of state has the events that belong to it, and each event its row. */
async function assertNothingHalfWritten(tokens) {
  const none = async (what, sql, values) => assert.deepEqual(await database.command(`${sql} LIMIT 5`, values), [], what);
  const event = (type, aggregate, id) =>
    `EXISTS (SELECT FROM auth_gateway.events AS e WHERE e.aggregate_type = '${aggregate}' AND e.aggregate_id = ${id} AND e.event_type ~ '${type}')`;

  await none(
    "an account without its first event",
    `SELECT id FROM auth_gateway.user_accounts AS a WHERE NOT ${event(".", "user_account", "a.id")}`,
  );
  await none(
    "a session without its first event",
    `SELECT id FROM auth_gateway.sessions AS s WHERE NOT ${event(".", "session", "s.id")}`,
  );
  await none(
    "events of a session that is not there",
    "SELECT aggregate_id FROM auth_gateway.events AS e WHERE aggregate_type = 'session' AND NOT EXISTS (SELECT FROM auth_gateway.sessions AS s WHERE s.id = e.aggregate_id)",
  );
  await none(
    "events of an account that is not there",
    "SELECT aggregate_id FROM auth_gateway.events AS e WHERE aggregate_type = 'user_account' AND NOT EXISTS (SELECT FROM auth_gateway.user_accounts AS a WHERE a.id = e.aggregate_id)",
  );
  await none(
    "a used code without its grant",
    "SELECT grant_id FROM auth_gateway.oauth_authorization_codes AS c WHERE used_at IS NOT NULL AND NOT EXISTS (SELECT FROM auth_gateway.oauth_grants AS g WHERE g.id = c.grant_id)",
  );
  await none(
    "a grant whose code is still unused",
    "SELECT grant_id FROM auth_gateway.oauth_authorization_codes AS c JOIN auth_gateway.oauth_grants AS g ON g.id = c.grant_id WHERE c.used_at IS NULL",
  );
  await none(
    "a grant without a token",
    "SELECT id FROM auth_gateway.oauth_grants AS g WHERE NOT EXISTS (SELECT FROM auth_gateway.oauth_tokens AS t WHERE t.grant_id = g.id)",
  );
  await none(
    "a code without its event",
    `SELECT grant_id FROM auth_gateway.oauth_authorization_codes AS c WHERE NOT ${event(".", "grant", "c.grant_id")}`,
  );
  await none(
    "a grant with more or fewer tokens than its events tell of",
    `SELECT g.id, count(t.jti), (SELECT count(*) FROM auth_gateway.events AS e WHERE e.aggregate_type = 'grant' AND e.aggregate_id = g.id AND e.payload ? 'jti' AND e.event_type !~* 'revoked')
     FROM auth_gateway.oauth_grants AS g JOIN auth_gateway.oauth_tokens AS t ON t.grant_id = g.id GROUP BY g.id
     HAVING count(t.jti) <> (SELECT count(*) FROM auth_gateway.events AS e WHERE e.aggregate_type = 'grant' AND e.aggregate_id = g.id AND e.payload ? 'jti' AND e.event_type !~* 'revoked')`,
  );
  await none(
    "a met challenge without a session",
    "SELECT c.id FROM auth_gateway.sign_in_challenges AS c WHERE c.used_at IS NOT NULL AND NOT EXISTS (SELECT FROM auth_gateway.user_accounts AS a WHERE a.email = c.email)",
  );
  await none(
    "an event that no destination was told of and none has",
    "SELECT event_id FROM auth_gateway.outbox AS o WHERE NOT EXISTS (SELECT FROM auth_gateway.events AS e WHERE e.event_id = o.event_id)",
  );
  // What a client was given is there: an answer was sent after its commit, never before.
  const known = await database.command("SELECT jti::text FROM auth_gateway.oauth_tokens WHERE jti = ANY($1::uuid[])", [
    tokens.map(({ jti }) => jti),
  ]);
  assert.equal(known.length, tokens.length, "a token was handed out whose transaction did not commit");
}

// More revocations than the policy lists: the bulk travels as a filter, what it hits is confirmed, nobody else notices, and when they have
// expired the list is enough again. Fills the table of revocations for less than a minute, so that it runs alone.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { assertProblem } from "./driver/assertions.mjs";
import { command } from "./driver/database.mjs";
import { issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { until } from "./driver/until.mjs";

/** The default of POLICY_REVOCATION_LIST. */
const LISTED = 10_000;
const LIFETIME_SECONDS = 40;

let app;
before(async () => {
  [app] = await OAuthApp.register();
});

/** Confirmations that the edge has asked for. */
async function confirmations() {
  const http = new HttpClient({ connections: 1 });
  const { text } = await http.get(`${issuer}/metrics`);
  http.close();
  return Number(/^gateward_edge_look_ups_total\{kind="confirmation",outcome="answered"\} (\d+)$/m.exec(text)?.[1] ?? 0);
}

const filterInForce = async () => {
  const [row] = await command(
    "SELECT f.entries, f.exceptions, octet_length(f.content) AS bytes FROM auth_gateway.revocation_filter_head AS h JOIN auth_gateway.revocation_filters AS f USING (generation)",
  );
  return row;
};

/** Calls from an address of its own, since so many probes would exceed the limit of one. */
async function call(token) {
  const http = new HttpClient({ connections: 1 });
  try {
    return await app.call(token, "/hello", { http });
  } finally {
    http.close();
  }
}

test("beyond 10,000 revocations the revoked are refused, the others served, before, while and after a filter", async (t) => {
  assert.equal(await filterInForce(), undefined, "no filter is in force before");
  const [revoked, bystander, later] = await Promise.all([0, 1, 2].map(() => new Person().signInTo(app)));
  assert.equal((await app.revoke(revoked.refresh_token)).status, 200);
  await until("the revocation bites", async () => (await call(revoked.access_token)).status === 401, { within: 6_000 });
  const asked = await confirmations();
  await command(
    `INSERT INTO auth_gateway.revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
     SELECT 'jti', gen_random_uuid(), '00000000-0000-0000-0000-000000000000', now(), now() + make_interval(secs => $2), 'e2e', '{}', now()
     FROM generate_series(1, $1::integer)`,
    [LISTED + 50, LIFETIME_SECONDS],
  );
  // From now until all of them have expired, at every moment:
  const check = async () => {
    assertProblem(await call(revoked.access_token), 401, "token-revoked");
    const answer = await call(bystander.access_token);
    assert.equal(answer.status, 200, answer.text);
  };
  const filter = await until("a filter is built", async () => { await check(); return filterInForce(); }, { within: 20_000 });
  t.diagnostic(`a filter of ${filter.entries} entries has ${filter.bytes} bytes, ${filter.exceptions} known false hits among them`);
  assert.ok(Number(filter.entries) > LISTED);
  await until("the edge decides by the filter", async () => { await check(); return (await confirmations()) > asked; }, { within: 6_000 });
  assert.equal((await call(later.access_token)).status, 200);
  assert.equal((await app.revoke(later.refresh_token)).status, 200);
  await until("a later revocation bites", async () => (await call(later.access_token)).status === 401, { within: 6_000 });
  const fresh = await new Person().signInTo(app);
  assert.equal((await call(fresh.access_token)).status, 200);
  const gone = async () => { await check(); return (await filterInForce()) === undefined; };
  await until("the list is enough again", gone, { within: (LIFETIME_SECONDS + 10) * 1_000, every: 200 });
  await check();
  assertProblem(await call(later.access_token), 401, "token-revoked");
  assert.equal((await call(fresh.access_token)).status, 200);
});

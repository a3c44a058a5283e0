// A person is erased from a running gateway: what they could do ends at the edge, nothing of them is left in any of the three
// databases or in an export of the log, and the log still verifies.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { AuditLog } from "./driver/audit-log.mjs";
import * as database from "./driver/database.mjs";
import { gateward } from "./driver/gateward.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { until } from "./driver/until.mjs";

let log;

before(async () => {
  log = await AuditLog.open();
});

after(() => log.close());

/** Tables of a database in which a row holds one of these texts, or their bytes. */
async function tablesWith(store, needles) {
  const tables = await store(
    `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')`,
  );
  const found = [];
  for (const { name } of tables) {
    const [{ rows }] = await store(
      `SELECT count(*)::int AS rows FROM ${name} AS held
       WHERE EXISTS (SELECT FROM unnest($1::text[]) AS needle WHERE strpos(lower(to_jsonb(held)::text), needle) > 0)`,
      [needles],
    );
    if (rows > 0) found.push(name);
  }
  return found;
}

test("a person who was erased can do nothing, is nowhere, and the log still verifies", async () => {
  const [app] = await OAuthApp.register();
  const person = new Person();
  const tokens = await person.signInTo(app);
  assert.equal((await app.call(tokens.access_token)).status, 200);
  const [{ salt }] = await database.command(
    "SELECT encode(email_salt, 'hex') AS salt FROM auth_gateway.user_accounts WHERE email = $1",
    [person.email],
  );
  const needles = [person.email, Buffer.from(person.email).toString("hex"), salt];
  assert.ok((await tablesWith(database.command, needles)).includes("auth_gateway.user_accounts"));

  const erased = JSON.parse(await gateward("person", "erase", "--email", person.email, "--yes", "--json"));
  assert.deepEqual([erased.sessions, erased.grants, erased.was_erased_before], [1, 1, false]);
  await until("the edge refuses the token", async () => (await app.call(tokens.access_token)).status === 401);
  assert.equal((await app.refresh(tokens.refresh_token)).status, 400);

  const { file, checkpoint } = await log.exported("erased.ndjson");
  const [arrived] = await until("the erasure is on the read side", async () => {
    const rows = await database.readSide(
      "SELECT payload FROM public.auth_events WHERE event_type = 'UserErased' AND aggregate_id = $1",
      [erased.user_id],
    );
    return rows.length > 0 && rows;
  });
  assert.deepEqual(arrived.payload, { sessions: 1, grants: 1, credentials: 0 });
  for (const store of ["command", "readSide", "registry"]) {
    assert.deepEqual(await tablesWith(database[store], needles), [], store);
  }
  const text = (await readFile(file, "utf8")).toLowerCase();
  for (const needle of needles) assert.ok(!text.includes(needle), `the log holds ${needle}`);
  const verified = await log.verify(file, "--checkpoint", checkpoint);
  assert.deepEqual(verified.report.faults, []);
  assert.ok(verified.whole);
});

// The audit log of the running gateway, after real traffic through the edge, judged by a verifier of another make; and what an owner
// of the database does to it, judged by both.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AuditLog, checkpointFile } from "./driver/audit-log.mjs";
import * as database from "./driver/database.mjs";
import { gateward, issueServiceToken } from "./driver/gateward.mjs";
import { issuer } from "./driver/gateway.mjs";
import { leafOf, openCheckpoint, rootOfPath, verifyLog } from "./driver/log-verifier.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { createHash } from "node:crypto";

let log;
let folder;
let key;

before(async () => {
  log = await AuditLog.open();
  ({ folder, key } = log);
});

after(() => log.close());

test("what happened through the edge is in the log, and two verifiers agree that it is whole", async (t) => {
  const [app] = await OAuthApp.register();
  const person = await new Person().signInTo(app);
  assert.equal((await app.call(person.access_token)).status, 200);
  const { jti } = await issueServiceToken(app.project, "api");
  await gateward("token", "revoke", jti, "--reason", "audit test");
  const { file, checkpoint, published, events } = await log.exported("traffic.ndjson");
  assert.equal(openCheckpoint(published, key).origin, new URL(issuer).host);

  const ours = await log.verify(file, "--checkpoint", checkpoint);
  assert.deepEqual(ours.report.faults, []);
  assert.ok(ours.whole);
  const theirs = await verifyLog(file, published, key);
  assert.equal(theirs.events.length, ours.report.events);
  assert.equal(theirs.aggregates, ours.report.aggregates);
  assert.ok(theirs.events.length >= events);
  const types = new Set(theirs.events.map((event) => event.event_type));
  for (const type of ["ConsentGranted", "TokensIssued", "SessionStarted", "ServiceTokenRevoked"]) {
    assert.ok(types.has(type), `${type} is not among ${[...types]}`);
  }
  t.diagnostic(`${theirs.events.length} events of ${theirs.aggregates} aggregates, ${theirs.checkpoints} checkpoints`);

  // Every day's file holds checkpoints that the log grew from.
  const day = new Date().toISOString().slice(0, 10);
  const history = await log.verify(file, "--checkpoint", `${checkpointFile}.${day}`);
  // What was published since the export is of more events than it has.
  const kinds = new Set(history.report.faults.map((fault) => fault.kind));
  assert.ok(history.whole || [...kinds].every((kind) => kind === "truncated"), JSON.stringify(history.report));
});

test("an event is proved to somebody who has the log's key alone", async () => {
  const [{ event_id: id }] = await database.command(
    "SELECT event_id::text FROM auth_gateway.event_log ORDER BY position DESC OFFSET 5 LIMIT 1",
  );
  const proof = await gateward("audit", "prove", id);
  const file = join(folder, "event.tlog-proof");
  await writeFile(file, proof);
  const proved = JSON.parse(await gateward("audit", "verify-proof", file, "--key", key, "--json"));
  assert.equal(proved.event.event_id, id);

  // c2sp.org/tlog-proof, read by hand.
  const [head, ...rest] = proof.split("\n\n");
  const [first, extra, index, ...path] = head.split("\n");
  assert.equal(first, "c2sp.org/tlog-proof@v1");
  const leaf = Buffer.from(extra.replace("extra ", ""), "base64");
  const { size, root } = openCheckpoint(rest.join("\n\n"), key);
  const hash = createHash("sha256").update(Buffer.of(0)).update(leaf).digest();
  const hashes = path.map((line) => Buffer.from(line, "base64"));
  assert.deepEqual(rootOfPath(hash, Number(index.replace("index ", "")), size, hashes), root);
  assert.ok(leaf.toString().includes(id));
});

test("a log that was changed is refused by both", async () => {
  const { file, checkpoint, published } = await log.exported("changed.ndjson");
  const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
  const first = lines.findIndex((line) => line.startsWith('{"position":'));
  const middle = first + Math.floor((lines.length - first) / 2);
  const changes = {
    "a changed byte": (copy) => (copy[middle] = copy[middle].replace("occurred_at", "occurred_ad")),
    "a changed leaf hash": (copy) => {
      const event = JSON.parse(copy[middle]);
      assert.equal(leafOf(event).includes(event.body), true);
      copy[middle] = copy[middle].replace(`"version":${event.version}`, `"version":${event.version + 1}`);
    },
    "a dropped tail": (copy) => copy.splice(-3),
    "a dropped middle": (copy) => copy.splice(middle, 1),
    "another order": (copy) => ([copy[middle], copy[middle + 1]] = [copy[middle + 1], copy[middle]]),
    "an inserted event": (copy) => copy.splice(middle, 0, copy[middle]),
  };
  for (const [what, change] of Object.entries(changes)) {
    const copy = [...lines];
    change(copy);
    const changed = join(folder, "mutated.ndjson");
    await writeFile(changed, `${copy.join("\n")}\n`);
    const { code, report } = await log.verify(changed, "--checkpoint", checkpoint);
    assert.equal(code, 1, what);
    assert.ok(report.faults.length > 0 && report.faults.every((fault) => fault.reason), what);
    await assert.rejects(verifyLog(changed, published, key), undefined, what);
  }
});

test("what an owner of the database changes shows in a fresh export", async () => {
  const { checkpoint } = await log.exported("before.ndjson");
  const [{ event_id: id, payload }] = await database.command(
    `SELECT event_id::text, payload::text FROM auth_gateway.events WHERE event_type = 'ConsentGranted' LIMIT 1`,
  );
  const file = join(folder, "after.ndjson");
  try {
    await database.command(
      `UPDATE auth_gateway.events SET payload = jsonb_set(payload, '{client_id}', '"somebody-else"') WHERE event_id = $1`,
      [id],
    );
    await gateward("audit", "export", "--out", file);
    const { code, report } = await log.verify(file, "--checkpoint", checkpoint);
    assert.equal(code, 1);
    assert.deepEqual(report.faults.map((fault) => fault.kind), ["row"]);
  } finally {
    await database.command("UPDATE auth_gateway.events SET payload = $2::jsonb WHERE event_id = $1", [id, payload]);
  }
  await gateward("audit", "export", "--out", file);
  assert.ok((await log.verify(file, "--checkpoint", checkpoint)).whole);
});

test("the state of the log and of its publication can be read", async () => {
  const status = JSON.parse(await gateward("audit", "status", "--json"));
  assert.equal(status.publications[0].publisher, "file");
  assert.equal(status.publications[0].failures, 0);
  assert.ok(status.checkpoint.size > 0 && status.size >= status.checkpoint.size);
  const latest = await gateward("audit", "checkpoint");
  assert.ok(openCheckpoint(latest, key).size >= status.checkpoint.size);
});

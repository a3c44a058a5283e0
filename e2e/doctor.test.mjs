// `gateward doctor` beside a running gateway: well at first; then parts are stopped, rows changed and events refused, each is found with what
// to do about it, and is gone when it is mended. And people go on as if nothing were while the stores made of events are away. Runs alone.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { command, readSide, registry } from "./driver/database.mjs";
import { applyProject, gateward } from "./driver/gateward.mjs";
import { control, gateway, startWhatIsStopped } from "./driver/gateway.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { assertReadSideIsEqual, outboxState } from "./driver/record.mjs";
import { until } from "./driver/until.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
// The comparison leaves alone what is younger than a minute.
const SETTLED = { within: 120_000, every: 1_000 };

before(startWhatIsStopped);
afterEach(startWhatIsStopped);

/** Runs the doctor: its exit code, its report, and what it printed. Whatever it says, it says no secret. */
function doctor(...args) {
  return new Promise((resolve, reject) => {
    const options = { env: { PATH: process.env.PATH, ...gateway.environment }, timeout: 120_000 };
    execFile(gateway.gateward, ["doctor", ...args], options, (error, stdout, stderr) => {
      if (error && typeof error.code !== "number") return reject(error);
      for (const [name, value] of Object.entries(gateway.environment)) {
        const secret = /KEY|SECRET/.test(name) && !name.includes("PUBLIC") ? value : (/^postgres:\/\/[^:]*:([^@]+)@/.exec(value)?.[1] ?? undefined);
        if (secret) assert.ok(!(stdout + stderr).includes(secret), `the value of ${name} was printed`);
      }
      resolve({ code: error?.code ?? 0, stdout, report: args.includes("--json") ? JSON.parse(stdout) : undefined });
    });
  });
}

const ids = ({ report }) => report.findings.map(({ id }) => id);

async function isWell() {
  const seen = await doctor("--json");
  return seen.code === 0 ? seen : undefined;
}

/** Looks until there is such a finding; the exit code and the page fit it. */
async function finding(id, { within = 60_000 } = {}) {
  return await until(
    `the doctor finds ${id}`,
    async () => {
      const seen = await doctor("--json");
      const found = seen.report.findings.find((one) => one.id === id);
      if (!found) return undefined;
      assert.equal(seen.code, seen.report.worst === "failure" ? 2 : 1);
      assert.ok(existsSync(ROOT + found.runbook), `${found.runbook} is not there`);
      assert.ok(found.found.length > 0 && found.action.length > 0);
      return { ...found, seen };
    },
    { within, every: 500 },
  );
}

async function mended() {
  await until("all is well again", isWell, { within: 90_000, every: 1_000 });
}

test("a gateway at work is well, and says so in one line", async (t) => {
  await until("everything is delivered", async () => (await outboxState()).waiting === 0, { within: 60_000 });
  await mended();
  const { code, stdout } = await doctor();
  assert.equal(code, 0, stdout);
  assert.match(stdout, /all is well; \d+ checks in \d+ ms/);
  assert.ok(stdout.trim().split("\n").length <= 3, stdout);
  t.diagnostic(stdout.trim().split("\n").at(-1));
});

test("a forwarder that is stopped is missed once something waits for it", async () => {
  await control("stop", "forwarder");
  await applyProject({});
  await command("UPDATE auth_gateway.outbox SET created_at = created_at - interval '2 minutes'");
  const { severity, subject, seen } = await finding("forwarder-silent");
  assert.equal(severity, "failure");
  assert.ok(["read-database", "client-registry"].includes(subject) || subject.length > 0);
  assert.ok(!ids(seen).includes("read-drift"), "what is queued is no difference");
  await control("start", "forwarder");
  await mended();
});

test("a row changed by hand, one that is gone and one that nobody wrote are found, repaired and named", async () => {
  const [changed, gone] = await readSide("SELECT event_id FROM public.auth_events ORDER BY event_id LIMIT 2");
  await readSide(`UPDATE public.auth_events SET payload = '{"changed": true}' WHERE event_id = $1`, [changed.event_id]);
  await readSide("DELETE FROM public.auth_events WHERE event_id = $1", [gone.event_id]);
  const stranger = "00000000-0000-0000-0000-00000000beef";
  await readSide(
    `INSERT INTO public.auth_events SELECT $1::uuid, $1::uuid, 'x', $1::uuid, 1, 'x', 1, '{}', '{}', now()`,
    [stranger],
  );
  await registry("UPDATE public.projects SET name = 'changed'");
  const { found, seen } = await until(
    "all of it is found",
    async () => {
      const one = await finding("read-drift");
      return one.found.startsWith("1 missing, 1 changed, 1 extra") && one;
    },
    SETTLED,
  );
  for (const { event_id: id } of [changed, gone, { event_id: stranger }]) assert.ok(found.includes(id), found);
  assert.ok(ids(seen).includes("registry-drift"));

  const mending = await doctor("--repair");
  assert.equal(mending.code, 0, mending.stdout);
  assert.match(mending.stdout, /repaired read: 1 added, 1 replaced, 1 removed, 0 refused/);
  assert.match(mending.stdout, new RegExp(`removed auth_events ${stranger}`));
  assert.match(mending.stdout, /repaired registry: 0 added, \d+ replaced, 0 removed/);
  const twice = await doctor("--repair", "--json");
  assert.deepEqual([twice.code, twice.report.repairs], [0, []]);
  await assertReadSideIsEqual();
});

test("events that the read side refuses are set aside, found, and gone after a replay", async () => {
  await readSide(
    "ALTER TABLE public.auth_events ADD CONSTRAINT no_projects CHECK (event_type <> 'ProjectCreated') NOT VALID",
  );
  try {
    await applyProject({});
    const { found, seen } = await finding("outbox-failed", { within: 120_000 });
    assert.match(found, /violates check constraint/);
    assert.ok(!ids(seen).includes("read-drift"), "what was set aside is no difference");
  } finally {
    await readSide("ALTER TABLE public.auth_events DROP CONSTRAINT no_projects");
  }
  await gateward("outbox", "replay", "--destination", "read-database", "--all");
  await mended();
  await assertReadSideIsEqual();
});

test("a group role that may log in is found", async () => {
  await command("ALTER ROLE gateward_auditor LOGIN");
  try {
    assert.equal((await finding("role-privileged")).severity, "failure");
  } finally {
    await command("ALTER ROLE gateward_auditor NOLOGIN");
  }
  await mended();
});

test("read database and client registry gone: everything works for people, the doctor says what is away, and all of it arrives later", async () => {
  const [app] = await OAuthApp.register();
  const tokens = await new Person().signInTo(app);
  const away = ["gateward_read", "gateward_registry"];
  for (const name of away) {
    await command(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
    await command("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [name]);
  }
  try {
    const renewed = await app.refresh(tokens.refresh_token);
    assert.equal(renewed.status, 200, renewed.text);
    assert.equal((await app.call(renewed.json.access_token)).status, 200);
    const fresh = await new Person().signInTo(app);
    assert.equal((await app.call(fresh.access_token)).status, 200);
    const { project } = await applyProject({});
    assert.ok(project);
    assert.equal((await app.revoke(fresh.refresh_token)).status, 200);
    await until("a revocation bites", async () => (await app.call(fresh.access_token)).status === 401, { within: 6_000 });

    const seen = (await finding("database-unreachable")).seen;
    assert.equal(seen.code, 2);
    assert.equal(ids(seen).filter((id) => id === "database-unreachable").length, 2);
    const states = Object.fromEntries(seen.report.checks.map(({ check, state }) => [check, state]));
    assert.deepEqual([states["read side"], states["client registry"], states["signing keys"]], ["not_examined", "not_examined", "ok"]);
    await finding("destination-away");
  } finally {
    for (const name of away) await command(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  }
  await mended();
  await assertReadSideIsEqual();
});

test("a rebuild while people sign in loses and doubles nothing", async (t) => {
  const [app] = await OAuthApp.register();
  let over = false;
  const people = (async () => {
    let signedIn = 0;
    while (!over) {
      await new Person().signInTo(app);
      signedIn += 1;
    }
    return signedIn;
  })();
  try {
    for (let round = 0; round < 3; round += 1) {
      const rebuilt = JSON.parse(await gateward("project", "rebuild", "--json"));
      assert.deepEqual(rebuilt.map(({ store }) => store), ["read", "registry"]);
      t.diagnostic(rebuilt.map((one) => `${one.store}: ${one.events} events in ${one.milliseconds} ms`).join(", "));
    }
  } finally {
    over = true;
  }
  assert.ok((await people) > 0);
  await assertReadSideIsEqual();
  await mended();
});

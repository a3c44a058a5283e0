// `cargo xtask up` itself: however it ends, nothing of it stays behind, and the next start finds its data. Each test runs
// a gateway of its own, on ports and data of its own.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, existsSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { until } from "./driver/until.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
// `cargo xtask test` names its own program: it needs no cargo to find it.
const [PROGRAM, ...FIRST] = process.env.XTASK ? [process.env.XTASK] : ["cargo", "xtask"];
// A warm start is promised in 15 s; building is not part of it, since the suite has built everything.
const START_WITHIN = 60_000;
const GONE_WITHIN = 40_000;

const folder = mkdtempSync(join(tmpdir(), "gateward-up-"));
const data = join(folder, "data");
const upFile = join(folder, "up.json");
const base = await freePorts();

// Postgres runs as another user when we are root, and must be able to enter.
chmodSync(folder, 0o755);
const running = new Set();

afterEach(async () => {
  for (const up of running) {
    up.child.kill("SIGTERM");
    await up.ended;
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

function listen(port) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

/** The first of eight consecutive ports that are all free. */
async function freePorts() {
  for (let first = 21_000 + Math.floor(Math.random() * 4_000); first < 32_000; first += 8) {
    const taken = await Promise.allSettled(Array.from({ length: 8 }, (_, offset) => listen(first + offset)));
    const servers = taken.flatMap(({ value }) => value ?? []);
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    if (servers.length === 8) return first;
  }
  throw new Error("there are no eight consecutive free ports");
}

/** Starts `up`; `ready()` waits until it has written its up.json, `ended` is its exit. */
function startUp() {
  const child = spawn(PROGRAM, [...FIRST, "up", "--port-base", `${base}`, "--data", data, "--up-file", upFile, "--no-fsync"], {
    cwd: ROOT,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const up = { child, stdout: "", stderr: "", over: false };
  child.stdout.on("data", (text) => (up.stdout += text));
  child.stderr.on("data", (text) => (up.stderr += text));
  running.add(up);
  up.ended = once(child, "exit").then(([code, signal]) => {
    up.over = true;
    running.delete(up);
    return { code, signal };
  });
  up.ready = () =>
    until(
      "up",
      () => {
        if (up.over) return { failed: true };
        const record = existsSync(upFile) ? JSON.parse(readFileSync(upFile, "utf8")) : undefined;
        return record?.pid === child.pid ? record : undefined;
      },
      { within: START_WITHIN },
    ).then((record) => {
      assert.ok(!record.failed, `up ended: ${up.stderr}`);
      return record;
    });
  return up;
}

const read = (pid, file) => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
};

/** A zombie has ended; only its parent has not looked yet. */
const isLiving = (pid) => /^State:\s+[^Z\s]/m.test(read(pid, "status"));

/** Living processes that mention this test's data folder or are among `pids`. */
function living(pids = []) {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number);
  return all.filter((pid) => isLiving(pid) && (pids.includes(pid) || read(pid, "cmdline").includes(data)));
}

const allGone = (pids) => until("no process is left", () => living(pids).length === 0, { within: GONE_WITHIN });

async function workspaceId({ database_url }) {
  const client = new pg.Client({ connectionString: database_url });
  await client.connect();
  try {
    const { rows } = await client.query("SELECT id FROM auth_gateway.workspaces WHERE slug = 'demo'");
    return rows[0]?.id;
  } finally {
    await client.end();
  }
}

const options = { skip: process.platform !== "linux" && "it looks for processes in /proc" };

test("Ctrl-C stops all of it, and the next start takes seconds and finds its data", options, async () => {
  const first = startUp();
  const record = await first.ready();
  const before = await workspaceId(record);
  assert.ok(before);
  assert.match(first.stdout, /curl -i .*\/ping/);
  assert.ok(first.stdout.includes(record.sign_in_link));
  const processes = Object.values(record.processes);
  assert.equal(processes.length, 7);
  first.child.kill("SIGINT");
  assert.deepEqual(await first.ended, { code: 0, signal: null }, first.stderr);
  assert.deepEqual(living(processes), []);
  assert.ok(!existsSync(upFile), "up.json is still there");

  const started = performance.now();
  const second = startUp();
  const again = await second.ready();
  const took = performance.now() - started;
  assert.ok(took < 15_000, `the second start took ${took} ms`);
  assert.equal(await workspaceId(again), before);
  second.child.kill("SIGTERM");
  assert.deepEqual(await second.ended, { code: 0, signal: null }, second.stderr);
  assert.deepEqual(living(Object.values(again.processes)), []);
});

test("kill -9 of up leaves no process behind, and the next start copes with what stayed", options, async () => {
  const first = startUp();
  const record = await first.ready();
  first.child.kill("SIGKILL");
  await first.ended;
  // At once: the parts of the first may still be stopping, and its up.json is still there.
  const second = startUp();
  const again = await second.ready();
  const old = Object.values(record.processes);
  await until("the first's parts are gone", () => !old.some((pid) => isLiving(pid)), { within: GONE_WITHIN });
  second.child.kill("SIGKILL");
  await second.ended;
  await allGone(Object.values(again.processes));
});

test("the crash of one part stops the rest and is named", options, async () => {
  const up = startUp();
  const record = await up.ready();
  process.kill(record.processes.forwarder, "SIGKILL");
  assert.deepEqual(await up.ended, { code: 1, signal: null }, up.stderr);
  assert.match(up.stderr, /error: forwarder ended by signal 9/);
  assert.deepEqual(living(Object.values(record.processes)), []);
});

test("a port in use is named with its option before anything starts", options, async () => {
  const holder = await listen(base + 3);
  try {
    const up = startUp();
    assert.deepEqual(await up.ended, { code: 1, signal: null }, up.stderr);
    assert.match(up.stderr, new RegExp(`port ${base + 3} \\(another one: --app-port PORT\\)`));
    assert.deepEqual(living(), []);
  } finally {
    holder.close();
  }
});

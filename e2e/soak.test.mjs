// Mixed load while the origin is killed and started again every 20 s: every answer is the one its kind of request must get, no
// valid read sees a 5xx, and the edge's memory stays flat. SOAK_SECONDS says how long; `cargo xtask soak` runs it for minutes.
// Kills a part of the gateway, so that it runs among the last.
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { control, gateway, issuer, record, startWhatIsStopped } from "./driver/gateway.mjs";
import { gateward, issueServiceToken } from "./driver/gateward.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { percentile, until } from "./driver/until.mjs";

const SECONDS = Number(process.env.SOAK_SECONDS ?? 45);
/** Where the result goes as JSON, for whoever started this. */
const REPORT = process.env.SOAK_REPORT;
const KILL_EVERY = 20_000;
const PEOPLE = 8;
/** Access tokens live for minutes: each is renewed at this age, or as soon after it as the origin answers. */
const RENEW_AFTER = 100_000;
/** From its first kill on an origin is away for a second or two; this much growth of memory is not a leak. */
const MOST_GROWTH = 1.15;
const MOST_GROWTH_KIB = 24 * 1024;

let app;
before(async () => {
  await startWhatIsStopped();
  // Run on its own, this is the first to ask a gateway that has just started.
  const http = new HttpClient();
  const keys = async () => (await http.get(`${issuer}/.well-known/jwks.json`)).status === 200;
  await until("the edge has a policy", keys, { within: 10_000, every: 100 });
  http.close();
  [app] = await OAuthApp.register();
});
after(startWhatIsStopped);

test(`${SECONDS} s of mixed load with the origin killed every ${KILL_EVERY / 1000} s`, { timeout: (SECONDS + 180) * 1000 }, async (t) => {
  const good = await Promise.all(Array.from({ length: PEOPLE }, () => Renewed.begin()));
  const service = await issueServiceToken(app.project, "soak");
  const revoked = await Promise.all(Array.from({ length: 4 }, revokedToken));
  const request = app.request();
  const { code } = await new Person().authorize(request);
  const soak = new Soak();

  const edge = record().processes.edge;
  const memory = [];
  const watch = setInterval(() => memory.push(residentKib(edge)), 250);
  const load = [
    ...good.map((tokens) => soak.keepAsking("valid access token", [200], (http) => app.call(tokens.access, "/soak", { http }))),
    soak.keepAsking("valid service token", [200], (http) => app.call(service.token, "/soak", { http })),
    soak.keepAsking("public route, bad token", [200], (http) => app.call("bad", "/health", { http })),
    soak.keepAsking("revoked", [401], (http) => app.call(pick(revoked), "/soak", { http }), "token-revoked"),
    soak.keepAsking("expired", [401], (http) => app.call(expiredToken(), "/soak", { http }), "token-expired"),
    soak.keepAsking("garbage", [401], (http) => app.call(garbage(pick(good).access), "/soak", { http })),
    soak.keepAsking("wrong verifier", [400], (http) => wrongVerifier(http, code), "invalid_grant", { every: 1_000 }),
    soak.keepAsking("over the limit", [200, 429], (http) => app.call(service.token, "/soak", { http }), undefined, {
      addressFor: Infinity,
    }),
    ...good.map((tokens) => soak.until(() => tokens.renewWhenOld())),
  ];
  const kills = await killOrigin(soak);
  await Promise.all(load);
  clearInterval(watch);

  const [early, late] = [memory.slice(memory.length * 0.3, memory.length * 0.5), memory.slice(memory.length * 0.8)];
  const [before, end] = [early, late].map((samples) => percentile(samples, 0.5));
  const result = {
    seconds: SECONDS,
    kills,
    classes: soak.counts(),
    wrong: soak.wrong.length,
    memory_kib: { after_warm_up: before, at_end: end, largest: Math.max(...memory) },
  };
  for (const line of soak.lines()) t.diagnostic(line);
  t.diagnostic(`${kills} kills of the origin; the edge's memory ${mib(before)} after warm-up, ${mib(end)} at the end`);
  if (REPORT) await writeFile(REPORT, JSON.stringify(result));

  assert.deepEqual(soak.wrong.slice(0, 5), [], `${soak.wrong.length} wrong answers`);
  assert.ok(kills >= Math.floor(SECONDS / (KILL_EVERY / 1000)) - 1, `${kills} kills`);
  for (const [name, statuses] of Object.entries(soak.counts())) assert.ok(Object.keys(statuses).length > 0, `${name}: no answer`);
  assertLimited(soak);
  assert.equal(record().processes.edge, edge, "the edge was never restarted");
  assert.ok(end <= before * MOST_GROWTH + MOST_GROWTH_KIB, `the edge grew from ${mib(before)} to ${mib(end)}`);
});

/** Asks without a pause until the time is over, and judges every answer. */
class Soak {
  wrong = [];
  #ends = performance.now() + SECONDS * 1000;
  #counts = {};
  #times = {};
  #began = performance.now();
  limitPolicy;

  get isOver() {
    return performance.now() >= this.#ends;
  }

  get elapsed() {
    return (performance.now() - this.#began) / 1000;
  }

  /** `ask` again and again; another address after every `addressFor` requests, so that no limit is reached by accident. */
  async keepAsking(name, expected, ask, slug, { addressFor = 60, every = 0 } = {}) {
    this.#counts[name] = {};
    this.#times[name] = [];
    let http;
    for (let count = 0; !this.isOver; count++) {
      if (http === undefined || count % addressFor === 0) {
        http?.close();
        http = new HttpClient({ connections: 2 });
      }
      const started = performance.now();
      const answer = await ask(http).catch((error) => ({ status: 0, text: String(error.cause ?? error), headers: {} }));
      this.#times[name].push(performance.now() - started);
      this.#counts[name][answer.status] = (this.#counts[name][answer.status] ?? 0) + 1;
      if (answer.status === 429) this.limitPolicy ??= answer.headers["ratelimit-policy"];
      const isExpected = expected.includes(answer.status) && (slug === undefined || answer.text.includes(slug));
      if (!isExpected) this.wrong.push(`${name} at ${this.elapsed.toFixed(1)} s: ${answer.status} ${answer.text.slice(0, 200)}`);
      if (every > 0) await pause(every);
    }
    http.close();
  }

  /** `act` again and again. */
  async until(act) {
    while (!this.isOver) {
      await act();
      await pause(500);
    }
  }

  counts() {
    return this.#counts;
  }

  lines() {
    return Object.entries(this.#counts).map(([name, statuses]) => {
      const shown = Object.entries(statuses).map(([status, count]) => `${count} × ${status}`);
      const times = this.#times[name];
      return `${name}: ${shown.join(", ")}; median ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(0)} ms`;
    });
  }
}

/** Access tokens of one person, renewed while the origin is there. */
class Renewed {
  static async begin() {
    const renewed = new Renewed();
    renewed.#take(await new Person().signInTo(app));
    return renewed;
  }

  #refresh;
  #since;

  #take({ access_token: access, refresh_token: refresh }) {
    this.access = access;
    this.#refresh = refresh;
    this.#since = performance.now();
  }

  async renewWhenOld() {
    if (performance.now() - this.#since < RENEW_AFTER) return;
    // While the origin is away this is refused; the same refresh token is good again for a while after an answer was lost.
    const answer = await app.refresh(this.#refresh).catch(() => undefined);
    if (answer?.status === 200) this.#take(answer.json);
  }
}

/** Kills the origin and starts it again, every 20 s until the load is over. */
async function killOrigin(soak) {
  let kills = 0;
  while (!soak.isOver) {
    await pause(Math.min(KILL_EVERY, Math.max(0, SECONDS - soak.elapsed) * 1000));
    if (soak.isOver) break;
    await control("kill", "origin");
    await control("start", "origin");
    kills += 1;
  }
  return kills;
}

/** A token that was good and is refused everywhere by now; one that lives longer than any run, so that it does not expire meanwhile. */
async function revokedToken() {
  const { token, jti } = await issueServiceToken(app.project, "soak");
  await gateward("token", "revoke", jti, "--reason", "soak", "--json");
  const isRefused = async () => (await app.call(token)).status === 401;
  await until("a revocation bites", isRefused, { within: 6_000, every: 100 });
  return token;
}

/** A service token whose time is over, signed as it must be. */
function expiredToken() {
  const now = Math.floor(Date.now() / 1000);
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { jti: randomBytes(8).toString("hex"), project: app.project, service: "soak", iat: now - 120, exp: now - 60 };
  const input = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${input}.${createHmac("sha256", gateway.environment.GATEWAY_JWT_SECRET).update(input).digest("base64url")}`;
}

/** What is no token, or was one until it was damaged. */
function garbage(token) {
  const [header, payload, signature] = token.split(".");
  return pick([
    randomBytes(40).toString("base64url"),
    `${header}.${payload}`,
    `${header}.${payload}.${randomBytes(64).toString("base64url")}`,
    `${header}.${randomBytes(60).toString("base64url")}.${signature}`,
    `${Buffer.from('{"alg":"none"}').toString("base64url")}.${payload}.`,
  ]);
}

function wrongVerifier(http, code) {
  const form = {
    grant_type: "authorization_code",
    client_id: app.clientId,
    redirect_uri: app.redirectUri,
    code,
    code_verifier: randomBytes(32).toString("base64url"),
  };
  return http.post(`${issuer}/oauth/token`, form);
}

/** The address that never pauses was limited, and got no more through than its quota gives. */
function assertLimited(soak) {
  const { 200: passed = 0, 429: refused = 0 } = soak.counts()["over the limit"];
  const [, quota, window] = /q=(\d+);w=(\d+)/.exec(soak.limitPolicy ?? "") ?? [];
  if (refused === 0) {
    // A short run on a slow machine may stay within the quota.
    assert.ok(SECONDS < 120, "the limit was never reached");
    return;
  }
  const most = Number(quota) * (1 + soak.elapsed / Number(window));
  assert.ok(passed <= most + 1, `${passed} passed where the quota gives ${most.toFixed(0)}`);
}

const pick = (list) => list[Math.floor(Math.random() * list.length)];
const mib = (kib) => `${(kib / 1024).toFixed(0)} MiB`;

/** Memory in use of a process (resident set), in KiB. */
function residentKib(pid) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);
}

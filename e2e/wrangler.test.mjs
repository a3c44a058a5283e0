// The standard workflow of a Workers developer: `wrangler dev` runs the same edge against the same origin, and `wrangler deploy
// --dry-run` passes. Offline; wrangler's own Node is the one that npm brought.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gateway, issuer } from "./driver/gateway.mjs";
import { applyProject, issueServiceToken } from "./driver/gateward.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { until } from "./driver/until.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MODULES = fileURLToPath(new URL("node_modules/", import.meta.url));
const READY_WITHIN = 300_000;

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "gateward-wrangler-"));
});
after(() => rm(folder, { recursive: true }));

/** The Node that wrangler needs: npm's, or this one where it is new enough. */
function node() {
  const own = join(MODULES, `node-${process.platform}-${process.arch}`, "bin", "node");
  return existsSync(own) ? own : process.execPath;
}

function wrangler(...args) {
  const environment = {
    ...process.env,
    WRANGLER_SEND_METRICS: "false",
    WRANGLER_SEND_ERROR_REPORTS: "false",
    WRANGLER_LOG_PATH: folder,
    XDG_CONFIG_HOME: folder,
    CI: "1",
  };
  // A group of its own, so that everything wrangler starts ends with it.
  const options = { cwd: ROOT, env: environment, detached: true, stdio: ["ignore", "pipe", "pipe"] };
  const child = spawn(node(), [join(MODULES, "wrangler/bin/wrangler.js"), ...args], options);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const ended = new Promise((resolve) => child.on("close", (code, signal) => resolve({ code, signal })));
  return { child, ended, output: () => output };
}

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** What the running edge was given, as wrangler wants it: `gateward`'s environment plus the edge's own secrets. */
function bindings() {
  const secrets = JSON.parse(readFileSync(join(gateway.data, "secrets.json"), "utf8"));
  const [edgeId] = gateway.environment.EDGE_PUBLIC_KEYS.split("=");
  return {
    ISSUER: issuer,
    ORIGIN_URL: gateway.origin_url,
    EDGE_ID: edgeId,
    EDGE_PRIVATE_KEY: secrets.edge_private_key,
    POLICY_PUBLIC_KEY: publicHalf(gateway.environment.POLICY_SIGNING_KEY),
    CODE_MAC_KEY: gateway.environment.CODE_MAC_KEY,
    GATEWAY_JWT_SECRET: gateway.environment.GATEWAY_JWT_SECRET,
    CLIENT_ADDRESS: "cf-connecting-ip",
  };
}

/** The public key of an Ed25519 seed (RFC 8410 wraps the seed in 16 fixed bytes). */
function publicHalf(seed) {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(seed, "base64url")]);
  return createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({ format: "jwk" }).x;
}

test("`wrangler dev` serves /ping and verifies a call", { timeout: READY_WITHIN + 60_000 }, async (t) => {
  const { project } = await applyProject({ limits: [{ by: "service", requests: 5, window: "24h", tier: "exact" }] });
  const { token, jti } = await issueServiceToken(project, "modal");
  const port = await freePort();
  const file = join(folder, "bindings.env");
  await writeFile(
    file,
    Object.entries(bindings())
      .map(([name, value]) => `${name}="${value}"\n`)
      .join(""),
    { mode: 0o600 },
  );
  const started = performance.now();
  const { child, ended, output } = wrangler(
    "dev",
    "--local",
    "--ip",
    "127.0.0.1",
    "--port",
    String(port),
    "--inspector-port",
    "0",
    "--show-interactive-dev-session=false",
    "--env-file",
    file,
  );
  const base = `http://127.0.0.1:${port}`;
  const http = new HttpClient({ address: "127.0.0.1" });
  try {
    let over = false;
    ended.then(() => (over = true));
    await until(
      "wrangler dev serves /ping",
      async () => {
        if (over) return "over";
        return (await http.get(`${base}/ping`, { timeout: 2_000 })).status === 200;
      },
      { within: READY_WITHIN, every: 250 },
    ).catch((error) => {
      throw new Error(`${error.message}\n${output()}`);
    });
    assert.ok(!over, output());
    t.diagnostic(`ready after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    const call = (authorization) => http.get(`${base}/${project}/api/hello`, { headers: authorization ? { authorization } : {} });
    const verified = await call(`Bearer ${token}`);
    assert.equal(verified.status, 200, verified.text);
    assert.equal(verified.json.headers["x-gateway-token-id"], jti);
    assert.equal((await call()).status, 401);
    assert.equal((await call(`Bearer ${token.slice(0, -1)}`)).status, 401);
    assert.equal((await http.get(`${base}/.well-known/oauth-authorization-server`)).json.issuer, issuer);
    assert.equal((await http.get(`${base}/sign-in`)).status, 200, "the origin takes its assertion");
    // Every object that wrangler.toml binds is there and answers.
    assert.match(verified.headers["ratelimit-policy"], /tier=exact/);
    const statuses = [];
    for (let turn = 0; turn < 6; turn += 1) statuses.push((await call(`Bearer ${token}`)).status);
    assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429]);
    assert.equal((await http.post(`${base}/oauth/token`, { grant_type: "none" })).status, 401);
    const metrics = (await http.get(`${base}/metrics`)).text;
    for (const name of ["EXACT_LIMITS", "LOCATION_LIMIT", "POLICY_STORE"]) {
      assert.match(metrics, new RegExp(`^gateward_edge_binding\\{name="${name}"\\} 1$`, "m"));
    }
    assert.match(metrics, /^gateward_edge_limits_total\{tier="location",outcome="allowed"\} \d+$/m);
  } finally {
    process.kill(-child.pid, "SIGTERM");
    const stubborn = setTimeout(() => process.kill(-child.pid, "SIGKILL"), 20_000);
    await ended;
    clearTimeout(stubborn);
  }
});

for (const environment of ["", "staging", "production"]) {
  const of = environment ? ` --env ${environment}` : "";
  test(`\`wrangler deploy --dry-run${of}\` bundles the worker with its wasm and names every binding`, { timeout: READY_WITHIN }, async () => {
    const outdir = join(folder, `bundle-${environment}`);
    const { ended, output } = wrangler("deploy", "--dry-run", "--outdir", outdir, `--env=${environment}`);
    const { code } = await ended;
    assert.equal(code, 0, output());
    assert.match(output(), /--dry-run: exiting now/);
    for (const binding of ["EXACT_LIMITS", "LOCATION_LIMIT", "POLICY_STORE", "ISSUER", "ORIGIN_URL", "EDGE_ID", "CLIENT_ADDRESS"]) {
      assert.match(output(), new RegExp(`env\\.${binding}\\b`), output());
    }
    const bundled = await readdir(outdir);
    assert.ok(bundled.some((name) => name.endsWith(".wasm")) && bundled.some((name) => /\.m?js$/.test(name)), bundled.join(" "));
  });
}

// The edge on workerd with the configuration that `cargo xtask workerd-config` writes.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { Key, Keys, Origin, accessToken, request, rigTest, spawnWorkerd, startUpstream, textBindings } from "./rig.mjs";

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

rigTest("a generated configuration holds no secret, and keeps exact counts and the policy over a restart", async (rig) => {
  const { XTASK } = process.env;
  assert.ok(XTASK, "XTASK must name the binary of xtask");
  const folder = mkdtempSync(join(tmpdir(), "gateward self-hosted-"));
  rig.onStop(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "edge.capnp");
  const port = await freePort();
  await promisify(execFile)(XTASK, ["workerd-config", "--out", file, "--port", String(port)]);
  const keys = new Keys();
  const bindings = { ...textBindings(keys, ""), METRICS_TOKEN: "a token of the scrape", REGION: "eu" };
  const text = readFileSync(file, "utf8");
  for (const secret of ["EDGE_PRIVATE_KEY", "CODE_MAC_KEY", "GATEWAY_JWT_SECRET", "METRICS_TOKEN"]) {
    assert.match(text, new RegExp(`fromEnvironment = "${secret}"`));
    assert.equal(text.includes(bindings[secret]), false);
  }
  const upstream = await startUpstream(rig);
  const origin = await new Origin(keys, upstream.url, (policy) => {
    policy.projects.notes.services.api.limits = [{ by: "service", requests: 3, window_seconds: 86_400, tier: "exact" }];
  }).start(rig);
  const statuses = [];
  for (let start = 0; start < 2; start += 1) {
    const edge = await spawnWorkerd(rig, file, ["http"], { ...bindings, ORIGIN_URL: origin.server.url });
    assert.deepEqual(edge.ports, [port]);
    assert.equal((await request(port, "/ping")).status, 200);
    for (let turn = 0; turn < 2; turn += 1) statuses.push((await request(port, "/notes/api/x", { token: accessToken(keys) })).status);
    assert.equal((await request(port, "/metrics")).status, 401);
    const metrics = await request(port, "/metrics", { token: bindings.METRICS_TOKEN });
    for (const [name, bound] of [["EXACT_LIMITS", 1], ["REGION", 1], ["METRICS_TOKEN", 1], ["LOCATION_LIMIT", 0], ["POLICY_STORE", 1]]) {
      assert.match(metrics.text, new RegExp(`^gateward_edge_binding\\{name="${name}"\\} ${bound}$`, "m"));
    }
    // The copy is written beside the answers.
    while (!/kind="policy_store",outcome="written"\} 1/.test((await request(port, "/metrics", { token: bindings.METRICS_TOKEN })).text)) await request(port, "/ping");
    await edge.kill();
  }
  assert.deepEqual(statuses, [200, 200, 200, 429]);
  // With the origin gone, the next one starts with the policy that the last one had.
  await origin.server.stop();
  await spawnWorkerd(rig, file, ["http"], { ...bindings, ORIGIN_URL: origin.server.url });
  assert.equal((await request(port, "/notes/api/health")).status, 429);
  assert.equal((await request(port, "/notes/api/x", { token: accessToken(keys, {}, new Key("k1")) })).status, 401);
  assert.deepEqual(origin.faults, []);
});

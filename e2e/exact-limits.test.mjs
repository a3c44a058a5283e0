// An exact limit through the whole gateway: declared in a project's file, counted by the edge's object, and kept when the edge is killed.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { applyProject, issueServiceToken } from "./driver/gateward.mjs";
import { control, issuer, startWhatIsStopped } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { until } from "./driver/until.mjs";

before(startWhatIsStopped);
after(startWhatIsStopped);

test("an exact limit lets exactly its number through, also when the edge is killed meanwhile", async () => {
  const { project } = await applyProject({ limits: [{ by: "subject", requests: 20, window: "24h", tier: "exact" }] });
  const { token } = await issueServiceToken(project, "worker");
  const http = new HttpClient({ address: "127.0.0.1" });
  const call = () => http.get(`${issuer}/${project}/api/hello`, { headers: { authorization: `Bearer ${token}` } });
  const first = await call();
  assert.equal(first.status, 200, first.text);
  assert.match(first.headers["ratelimit-policy"], /"service-subject";q=20;w=86400;tier=exact/);
  let passed = 1;
  const many = async (count) => {
    for (const { status } of await Promise.all(Array.from({ length: count }, call))) {
      assert.ok(status === 200 || status === 429, `${status}`);
      passed += Number(status === 200);
    }
  };
  await many(9);
  assert.equal(passed, 10);
  await control("kill", "edge");
  await control("start", "edge");
  await until("the edge serves again", async () => (await http.get(`${issuer}/ping`)).status === 200);
  await many(30);
  assert.equal(passed, 20);
  const refused = await call();
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers["retry-after"]) > 3_000, refused.headers["retry-after"]);
});

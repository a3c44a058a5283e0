// Webhooks on their way to the origin: whose secret only it can judge, and a backfill that passes piece by piece.
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";

import { gatewayTest } from "./rig.mjs";

const BACKFILL = "/v1/sync/backfill-api-keys";
const secret = "a webhook's secret of at least 32 bytes";

gatewayTest("a webhook reaches the origin whole, with its secret and the service's name", async ({ origin, edge }) => {
  for (const path of ["/v1/sync/user", "/v1/sync/api-key"]) {
    const headers = { "X-Webhook-Secret": secret, "X-Service-Name": "supabase", "Content-Type": "application/json", "X-Other": "1" };
    const answer = await edge.request(path, { method: "POST", body: "{}", headers });
    assert.equal(answer.status, 200);
    assert.equal(answer.json.url, path);
    assert.equal(answer.json.body, "{}");
    assert.equal(answer.json.headers["x-webhook-secret"], secret);
    assert.equal(answer.json.headers["x-service-name"], "supabase");
    assert.equal(answer.json.headers["x-other"], undefined);
    assert.equal(answer.headers["access-control-allow-origin"], undefined);
  }
  assert.deepEqual(origin.faults, []);
});

gatewayTest("what is no webhook ends at the edge", async ({ origin, edge }) => {
  const before = origin.forwarded.length;
  for (const [method, path, headers, status, slug] of [
    ["POST", "/v1/sync/user", {}, 401, "webhook-secret-refused"],
    ["POST", BACKFILL, {}, 401, "webhook-secret-refused"],
    ["GET", "/v1/sync/user", { "X-Webhook-Secret": secret }, 405, "method-not-allowed"],
    ["OPTIONS", "/v1/sync/user", { Origin: "https://app.test", "Access-Control-Request-Method": "POST" }, 405, "method-not-allowed"],
    ["POST", "/v1/sync/nothing", { "X-Webhook-Secret": secret }, 404, "not-found"],
  ]) {
    const answer = await edge.request(path, { method, headers });
    assert.equal(answer.status, status, `${method} ${path}`);
    assert.ok(answer.json.type.endsWith(`/${slug}`), answer.text);
    assert.equal(answer.headers["access-control-allow-origin"], undefined);
  }
  assert.equal(origin.forwarded.length, before);
});

/** Opens a backfill whose pieces the test sends one by one, and whose answer it reads as it comes. */
function open(edge, target, headers = {}) {
  const request = httpRequest({
    host: "127.0.0.1",
    port: edge.port,
    method: "POST",
    path: target,
    headers: { "X-Webhook-Secret": secret, "Content-Type": "application/x-ndjson", ...headers },
  });
  request.flushHeaders();
  const answered = new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
  return { request, answered };
}

for (const [what, headers] of [["without a length", {}], ["of announced length", { "Content-Length": "15" }]]) {
  gatewayTest(`a backfill ${what} passes piece by piece in both directions`, async ({ origin, edge }) => {
    let came;
    const next = () => new Promise((resolve) => { came = resolve; });
    let respond;
    origin.streamed[`${BACKFILL}?after=7`] = (request, response) => {
      respond = response;
      request.setEncoding("utf8").on("data", (piece) => came(piece)).on("end", () => response.end("end\n"));
    };
    const arrived = next();
    const { request, answered } = open(edge, `${BACKFILL}?after=7`, headers);
    request.write("one\n");
    // The first piece is there while the caller still holds the others back.
    assert.equal(await arrived, "one\n");
    respond.writeHead(200, { "Content-Type": "application/x-ndjson" }).write("got one\n");
    const answer = (await answered).setEncoding("utf8");
    assert.equal(answer.statusCode, 200);
    const lines = answer[Symbol.asyncIterator]();
    assert.equal((await lines.next()).value, "got one\n");
    const second = next();
    request.write("two\n");
    assert.equal(await second, "two\n");
    respond.write("got two\n");
    assert.equal((await lines.next()).value, "got two\n");
    request.end("three!\n");
    assert.equal((await lines.next()).value, "end\n");
    assert.deepEqual(origin.faults, []);
    const { assertion } = origin.forwarded.at(-1);
    assert.deepEqual([assertion.body, assertion.body_sha256], ["unhashed", undefined]);
  });
}

gatewayTest("the origin learns that whoever sent a backfill has gone", async ({ origin, edge }) => {
  let lost;
  const gone = new Promise((resolve) => { lost = resolve; });
  let came;
  const first = new Promise((resolve) => { came = resolve; });
  origin.streamed[BACKFILL] = (request) => request.on("data", () => came()).on("error", () => lost()).on("close", () => lost());
  const { request, answered } = open(edge, BACKFILL);
  answered.catch(() => {});
  request.write("one\n");
  await first;
  request.destroy();
  await gone;
});

gatewayTest("an announced length beyond the bound is refused before anybody is asked", async ({ origin, edge }) => {
  const before = origin.forwarded.length;
  const { request, answered } = open(edge, BACKFILL, { "Content-Length": "104857601" });
  const answer = await answered;
  assert.equal(answer.statusCode, 413);
  request.on("error", () => {}).destroy();
  assert.equal(origin.forwarded.length, before);
});

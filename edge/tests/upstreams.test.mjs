// Several upstreams, those that fail, and what of their answers comes back.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { gunzipSync, gzipSync } from "node:zlib";

import { Keys, Origin, accessToken, gatewayTest, rigTest, startEdge, startUpstream } from "./rig.mjs";

const get = (edge, keys, path = "/notes/api/x", options = {}) => edge.request(path, { token: accessToken(keys), ...options });

/** A gateway whose service has as many upstreams as `answers`; each answer handles the requests of one. */
function upstreamsTest(name, answers, body, change = () => {}) {
  rigTest(name, async (rig) => {
    const keys = new Keys();
    const upstreams = [];
    for (const answer of answers) upstreams.push(await startUpstream(rig, answer));
    const origin = await new Origin(keys, upstreams[0].url, (policy) => {
      const { api } = policy.projects.notes.services;
      api.upstreams = upstreams.map(({ url }) => ({ url }));
      change(policy, api);
    }).start(rig);
    const edge = await startEdge(rig, keys, origin.server.url);
    try {
      await body({ rig, keys, origin, edge, upstreams });
    } catch (fault) {
      fault.message += `\nlog of the edge:\n${edge.log}`;
      throw fault;
    }
  });
}

const metric = async (edge, name) => Number(new RegExp(`^${name.replace(/[{}]/g, "\\$&")} (\\d+)$`, "m").exec((await edge.request("/metrics")).text)?.[1] ?? 0);
const status = (code) => (request, response) => response.writeHead(code).end("from the upstream");
const hangs = () => {};

upstreamsTest("a read goes to another upstream when one is gone, which is soon left alone", [undefined, undefined], async ({ keys, edge, upstreams }) => {
  await upstreams[1].stop();
  const [well] = upstreams;
  for (let turn = 0; turn < 6; turn += 1) assert.equal((await get(edge, keys)).status, 200);
  assert.equal(well.requests.length, 6);
  const before = await metric(edge, 'gateward_edge_upstream_failures_total{kind="unreachable"}');
  assert.ok(before >= 2, `${before}`);
  // A few more, and the one that is gone is left alone.
  for (let turn = 0; turn < 6; turn += 1) assert.equal((await get(edge, keys, "/notes/api/x", { method: "HEAD" })).status, 200);
  assert.equal(await metric(edge, "gateward_edge_upstreams_ejected"), 1);
  const ejected = await metric(edge, 'gateward_edge_upstream_failures_total{kind="unreachable"}');
  for (let turn = 0; turn < 20; turn += 1) assert.equal((await get(edge, keys)).status, 200);
  assert.ok(await metric(edge, 'gateward_edge_upstream_failures_total{kind="unreachable"}') <= ejected + 1, "but for a probe");
});

upstreamsTest("a write whose upstream is gone is refused and sent nowhere else", [undefined, undefined], async ({ keys, edge, upstreams }) => {
  await upstreams[1].stop();
  const answers = [];
  for (let turn = 0; turn < 4; turn += 1) answers.push((await get(edge, keys, "/notes/api/x", { method: "POST", body: "once" })).status);
  assert.deepEqual(new Set(answers), new Set([200, 502]));
  assert.equal(upstreams[0].requests.length, answers.filter((answer) => answer === 200).length);
  // It is left alone soon: the edge has asked it by itself, since a body can break off at the caller's end as well.
  while ((await metric(edge, "gateward_edge_upstreams_ejected")) === 0) await get(edge, keys, "/notes/api/x", { method: "POST", body: "once" });
  assert.equal(await metric(edge, 'gateward_edge_upstream_failures_total{kind="body"}'), 0);
});

upstreamsTest("with every upstream gone a read is a 502, once each was tried", [undefined, undefined, undefined], async ({ keys, edge, upstreams }) => {
  for (const upstream of upstreams) await upstream.stop();
  const answer = await get(edge, keys);
  assert.equal(answer.status, 502);
  assert.match(answer.json.type, /upstream-unavailable$/);
  assert.equal(await metric(edge, 'gateward_edge_upstream_failures_total{kind="unreachable"}'), 3);
});

upstreamsTest("an upstream that says 503 is ejected, and is back once a probe finds it well", [undefined, status(503)], async ({ keys, edge, upstreams }) => {
  const [well, ill] = upstreams;
  const seen = [];
  while (ill.requests.length < 3) seen.push((await get(edge, keys)).status);
  assert.ok(seen.includes(503), "the answer itself passes");
  assert.equal(await metric(edge, "gateward_edge_upstreams_ejected"), 1);
  const calls = ill.requests.length;
  for (let turn = 0; turn < 10; turn += 1) assert.equal((await get(edge, keys)).status, 200);
  assert.equal(ill.requests.length, calls);
  // It answers again: after its pause one request finds out.
  ill.server.removeAllListeners("request");
  ill.server.on("request", (request, response) => { ill.requests.push(request); response.writeHead(200).end(); });
  const deadline = Date.now() + 20_000;
  while (ill.requests.length === calls) {
    assert.ok(Date.now() < deadline, "no probe came");
    assert.equal((await get(edge, keys)).status, 200);
  }
  assert.equal(await metric(edge, "gateward_edge_upstreams_ejected"), 0);
  const before = well.requests.length;
  for (let turn = 0; turn < 20; turn += 1) await get(edge, keys);
  assert.ok(well.requests.length - before < 20, "both take requests again");
  assert.ok((await metric(edge, 'gateward_edge_upstream_failures_total{kind="said_so"}')) >= 3);
});

let turns = 0;
upstreamsTest("an answer of 500 is no failure, and makes none good", [undefined, (request, response) => { turns += 1; response.writeHead(turns % 2 ? 503 : 500).end(); }], async ({ keys, edge }) => {
  while (turns < 4) await get(edge, keys);
  assert.equal(await metric(edge, "gateward_edge_upstreams_ejected"), 0);
  while (turns < 5) await get(edge, keys);
  assert.equal(await metric(edge, "gateward_edge_upstreams_ejected"), 1);
});

upstreamsTest("an upstream that does not begin to answer in time is a 504", [hangs], async ({ keys, edge, upstreams }) => {
  const answer = await get(edge, keys);
  assert.equal(answer.status, 504);
  assert.match(answer.json.type, /upstream-timeout$/);
  assert.equal(upstreams[0].requests.length, 1);
  assert.equal(await metric(edge, 'gateward_edge_upstream_failures_total{kind="timed_out"}'), 1);
  const [line] = await edge.logged(/\{.*"outcome":"upstream-timeout".*\}/);
  assert.ok(JSON.parse(line).duration_ms >= 140, line);
}, (policy, api) => { api.timeout_millis = 150; });

upstreamsTest("past its time a read goes to another upstream", [hangs, undefined], async ({ keys, edge, upstreams }) => {
  while (upstreams[0].requests.length === 0) assert.equal((await get(edge, keys)).status, 200);
  assert.ok(upstreams[1].requests.length >= 1);
}, (policy, api) => { api.timeout_millis = 150; });

let finish;
upstreamsTest("an answer that began in time may take as long as it likes", [(request, response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write("data: one\n\n");
  finish = () => response.end("data: two\n\n");
}], async ({ keys, edge }) => {
  const socket = connect(edge.port, "127.0.0.1");
  let received = "";
  socket.setEncoding("latin1").on("data", (data) => { received += data; });
  const arrives = async (text) => { while (!received.includes(text)) await new Promise((resolve, reject) => socket.once("data", resolve).once("close", () => reject(new Error(received)))); };
  socket.write(`GET /notes/api/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${accessToken(keys)}\r\nConnection: close\r\n\r\n`);
  await arrives("data: one");
  // Well past the limit; nothing else tells that a timer did not fire.
  await new Promise((resolve) => setTimeout(resolve, 600));
  finish();
  await arrives("data: two");
  socket.destroy();
}, (policy, api) => { api.timeout_millis = 200; });

gatewayTest("the answer is edited where the verdict says so, and else passes as it came", async ({ keys, edge }) => {
  const headers = { Origin: "https://app.test" };
  const answer = await get(edge, keys, "/notes/api/x", { headers });
  assert.equal(answer.headers["access-control-allow-origin"], "https://app.test");
  assert.equal(answer.headers["x-own"], "kept");
  assert.equal(answer.headers.vary, "Accept, Origin");
  assert.deepEqual(answer.headers["set-cookie"], ["a=1", "c=3"]);
  const preflight = await edge.request("/notes/api/x", { method: "OPTIONS", headers: { ...headers, "Access-Control-Request-Method": "PUT" } });
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers["access-control-allow-methods"], /PUT/);
  assert.equal((await get(edge, keys, "/notes/api/x", { method: "HEAD", headers })).status, 200);
}, {
  change: (policy) => { policy.projects.notes.cors = { origins: ["https://app.test"], methods: ["PUT"] }; },
  upstreamAnswer: (request, response) => response.writeHead(200, ["X-Own", "kept", "Vary", "Accept", "Access-Control-Allow-Origin", "*", "Set-Cookie", "a=1", "Set-Cookie", "__Host-gateward_session=stolen; Path=/; Secure", "Set-Cookie", "c=3"]).end("x"),
});

gatewayTest("no upstream sets a cookie of the gateway's own, in whatever spelling", async ({ keys, edge }) => {
  const answer = await get(edge, keys);
  assert.deepEqual(answer.headers["set-cookie"], ["a=__Host-gateward_session", "__Host-theirs=1; Path=/; Secure"]);
  assert.equal(answer.text, "x");
  assert.equal((await get(edge, keys, "/notes/api/304")).status, 304);
}, {
  upstreamAnswer: (request, response) => {
    const cookies = ["a=__Host-gateward_session", "__Host-gateward_session=x; Path=/; Secure", "__host-Gateward_other=x", "=__Host-gateward_session=x", "__Host-theirs=1; Path=/; Secure"];
    response.writeHead(request.url.endsWith("304") ? 304 : 200, cookies.flatMap((cookie) => ["Set-Cookie", cookie])).end(request.url.endsWith("304") ? undefined : "x");
  },
});

gatewayTest("whoever may be a browser gets no cookie of the gateway's own; a program gets what was sent", async ({ keys, edge }) => {
  const program = { "User-Agent": "program/1.0", Accept: "application/json" };
  const cookies = async (path, headers, withToken = true) => {
    const answer = withToken ? await get(edge, keys, path, { headers }) : await edge.request(path, { headers });
    assert.equal(answer.status, 200);
    return answer.headers["set-cookie"];
  };
  const kept = ["theirs=1"];
  const signs = [
    {}, { "Sec-Fetch-Site": "same-origin" }, { "Sec-CH-UA-Mobile": "?0" }, { Cookie: "a=b" }, { Origin: "https://app.test" }, { Referer: "https://auth.test/notes/api/x" },
    { "User-Agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.3 Safari/605.1.15" }, { "User-Agent": "" },
  ];
  for (const sign of signs) {
    const headers = Object.keys(sign).length === 0 ? {} : { ...program, ...sign };
    assert.deepEqual(await cookies("/notes/api/x", headers), kept, JSON.stringify(sign));
  }
  // What a browser can ask for by itself: without a credential in a header, whatever it calls itself.
  assert.deepEqual(await cookies("/notes/api/health", program, false), kept);
  assert.deepEqual(await cookies("/notes/api/health", { ...program, Authorization: "Basic YTpi" }, false), kept);
  assert.deepEqual(await cookies("/notes/api/x", program), ["__Host-gateward_session=stolen; Path=/; Secure", "theirs=1"]);
}, {
  upstreamAnswer: (request, response) => response.writeHead(200, ["Set-Cookie", "__Host-gateward_session=stolen; Path=/; Secure", "Set-Cookie", "theirs=1"]).end("x"),
});

for (const edited of [false, true]) {
  gatewayTest(`a compressed answer passes as it is${edited ? ", when its head is edited as well" : ""}`, async ({ keys, edge }) => {
    const answer = await new Promise((resolve, reject) => {
      const socket = connect(edge.port, "127.0.0.1");
      const pieces = [];
      socket.on("data", (data) => pieces.push(data)).once("error", reject).once("close", () => resolve(Buffer.concat(pieces)));
      socket.write(`GET /notes/api/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${accessToken(keys)}\r\nOrigin: https://app.test\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n`);
    });
    const end = answer.indexOf("\r\n\r\n");
    const head = answer.subarray(0, end).toString().toLowerCase();
    assert.match(head, /content-encoding: gzip/);
    assert.equal(head.includes("access-control-allow-origin"), edited, head);
    const start = answer.indexOf(Buffer.from([0x1f, 0x8b]));
    assert.equal(gunzipSync(answer.subarray(start, /transfer-encoding: chunked/.test(head) ? answer.lastIndexOf("\r\n0\r\n\r\n") : undefined)).toString(), "compressed ".repeat(100));
  }, {
    change: (policy) => { if (edited) policy.projects.notes.cors = { origins: ["https://app.test"] }; },
    upstreamAnswer: (request, response) => response.writeHead(200, { "Content-Encoding": "gzip", "Content-Type": "text/plain" }).end(gzipSync("compressed ".repeat(100))),
  });
}

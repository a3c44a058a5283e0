// Bodies: how large they may be, and that they pass piece by piece in both directions.
import assert from "node:assert/strict";
import { connect } from "node:net";

import { accessToken, gatewayTest } from "./rig.mjs";

const MAX = 100_000;

/** Opens a connection and sends a request's head; the test writes the rest. */
function open(rig, edge, keys, lines) {
  const socket = connect(edge.port, "127.0.0.1");
  rig.onStop(() => socket.destroy());
  const connection = { socket, received: "" };
  const closed = new Promise((resolve) => socket.on("error", () => {}).once("close", resolve));
  socket.setEncoding("latin1").on("data", (data) => { connection.received += data; });
  connection.arrives = async (text) => {
    while (!connection.received.includes(text)) {
      const ended = await Promise.race([closed.then(() => true), new Promise((resolve) => socket.once("data", () => resolve(false)))]);
      if (ended && !connection.received.includes(text)) throw new Error(`closed after: ${connection.received}`);
    }
  };
  connection.closed = closed;
  connection.piece = (text) => socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
  connection.end = () => socket.write("0\r\n\r\n");
  socket.write(`${[...lines, "Host: a", `Authorization: Bearer ${accessToken(keys)}`].join("\r\n")}\r\n\r\n`);
  return connection;
}

const post = ["POST /notes/api/x HTTP/1.1", "Transfer-Encoding: chunked"];
const bounded = { change: (policy) => { policy.projects.notes.services.api.max_body_bytes = MAX; } };

gatewayTest("a body is bounded whether its length was announced or not", async ({ rig, keys, upstream, edge }) => {
  const send = (length, headers) => edge.request("/notes/api/x", { method: "POST", token: accessToken(keys), body: "x".repeat(length), headers });
  for (const headers of [{}, { "Transfer-Encoding": "chunked" }]) {
    assert.equal((await send(MAX, headers)).json.body.length, MAX);
    const calls = upstream.requests.length;
    const answer = await send(MAX + 1, headers);
    assert.equal(answer.status, 413);
    assert.match(answer.json.type, /body-too-large$/);
    assert.match(answer.json.detail, /100000 bytes/);
    // An announced length is refused before anybody is asked.
    if (!headers["Transfer-Encoding"]) assert.equal(upstream.requests.length, calls);
  }
  // Nobody's fault but the caller's: the upstream stays in use.
  const metrics = (await edge.request("/metrics")).text;
  assert.doesNotMatch(metrics, /^gateward_edge_upstream_failures_total\{/m);
  assert.match(metrics, /outcome="body-too-large"\} 2$/m);
}, bounded);

let aborted;
let first;
gatewayTest("a body that grows too large is cut off for the upstream while it is sent", async ({ rig, keys, edge }) => {
  const upstreamSaw = new Promise((resolve) => { first = resolve; });
  const upstreamLost = new Promise((resolve) => { aborted = resolve; });
  const connection = open(rig, edge, keys, post);
  connection.piece("x".repeat(50_000));
  await upstreamSaw;
  connection.piece("x".repeat(50_001));
  await connection.arrives("413");
  await connection.arrives("body-too-large");
  await upstreamLost;
}, {
  ...bounded,
  upstreamAnswer: (request) => { request.on("data", () => first()).once("error", () => aborted()).once("close", () => aborted()); },
});

gatewayTest("a body of any length passes piece by piece below its bound", async ({ rig, keys, edge }) => {
  const connection = open(rig, edge, keys, post);
  for (const piece of ["one", "two", "three"]) {
    connection.piece(piece);
    await connection.arrives(`echo ${piece}`);
  }
  connection.end();
  await connection.arrives("\r\n0\r\n\r\n");
}, {
  ...bounded,
  upstreamAnswer: (request, response) => {
    response.writeHead(200, { "Content-Type": "text/plain" });
    request.setEncoding("utf8").on("data", (piece) => response.write(`echo ${piece}\n`)).on("end", () => response.end());
  },
});

let push;
for (const [what, change] of [
  ["untouched", () => {}],
  ["with an edited head", (policy) => { policy.projects.notes.cors = { origins: ["https://app.test"] }; }],
  ["within a time to begin", (policy) => { policy.projects.notes.services.api.timeout_millis = 5_000; }],
]) {
  gatewayTest(`server-sent events pass one by one, ${what}`, async ({ rig, keys, edge }) => {
    const connection = open(rig, edge, keys, ["GET /notes/api/events HTTP/1.1", "Accept: text/event-stream", "Origin: https://app.test"]);
    await connection.arrives("\r\n\r\n");
    assert.match(connection.received, /content-type: text\/event-stream/i);
    // Each is sent once the one before has arrived.
    for (const event of ["one", "two", "three"]) {
      push(`data: ${event}\n\n`);
      await connection.arrives(`data: ${event}\n\n`);
    }
  }, {
    change,
    upstreamAnswer: (request, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
      push = (text) => response.write(text);
    },
  });
}

let gone;
let halfCame;
gatewayTest("an upstream learns that the caller has gone, and is not blamed", async ({ rig, keys, edge }) => {
  const upstreamLost = () => new Promise((resolve) => { gone = resolve; });
  for (let turn = 0; turn < 4; turn += 1) {
    for (const head of [["GET /notes/api/events HTTP/1.1"], post]) {
      const lost = upstreamLost();
      const connection = open(rig, edge, keys, head);
      if (head === post) connection.piece("half");
      await connection.arrives("begun");
      connection.socket.resetAndDestroy();
      await lost;
    }
    // Some break off in the middle of their body, before there is any answer.
    for (const goes of ["resetAndDestroy", "end"]) {
      const lost = upstreamLost();
      const half = new Promise((resolve) => { halfCame = resolve; });
      const connection = open(rig, edge, keys, ["POST /notes/api/silent HTTP/1.1", "Content-Length: 100"]);
      connection.socket.write("half");
      await half;
      connection.socket[goes]();
      await Promise.all([lost, connection.closed]);
    }
  }
  const metrics = (await edge.request("/metrics")).text;
  assert.doesNotMatch(metrics, /^gateward_edge_upstream_failures_total\{kind="(?!body)/m);
  assert.match(metrics, /^gateward_edge_upstreams_ejected 0$/m);
}, {
  upstreamAnswer: (request, response) => {
    if (request.method === "HEAD") return response.end();
    request.on("error", () => {}).socket.once("close", () => gone());
    if (request.url === "/silent") return request.once("data", () => halfCame());
    response.writeHead(200).write("begun");
  },
});

// Connections that are more than a request and an answer: callers that go away, and WebSockets.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:net";

import { Keys, Origin, accessToken, form, gatewayTest, rigTest, startEdge } from "./rig.mjs";

gatewayTest("callers that go away in the middle leave the isolate as it was", async ({ keys, origin, edge }) => {
  const { answer } = origin;
  for (let round = 0; round < 3; round += 1) {
    let waiting = 0;
    let all;
    const arrived = new Promise((resolve) => { all = resolve; });
    origin.answer = () => { waiting += 1; if (waiting === 20) all(); };
    const body = `email=${"x".repeat(30_000)}`;
    const head = (path, length) => `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${length}\r\n\r\n`;
    const open = (text) => {
      const socket = connect(edge.port, "127.0.0.1");
      socket.on("error", () => {}).write(text);
      return socket;
    };
    // Some wait for the origin, some never send the whole of their form.
    const halves = Array.from({ length: 20 }, () => open(`${head("/oauth/token", 5_000)}grant_type=`));
    const waiters = Array.from({ length: 20 }, () => open(head("/sign-in", body.length) + body));
    await arrived;
    for (const socket of [...halves, ...waiters]) socket.destroy();
    origin.answer = answer;
    assert.equal((await edge.request("/sign-in", form({ a: "b" }))).status, 200);
    assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys) })).status, 200);
    assert.equal((await edge.request("/oauth/token", form({ client_id: "app" }))).status, 400);
  }
});

const WEBSOCKET_KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** A text frame of at most 125 bytes (RFC 6455 §5.2); masked when a client sends it. */
function frame(text, mask) {
  const payload = Buffer.from(text);
  if (!mask) return Buffer.concat([Buffer.from([0x81, payload.length]), payload]);
  const masked = payload.map((byte, index) => byte ^ mask[index % 4]);
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length]), Buffer.from(mask), masked]);
}

rigTest("a WebSocket passes, with the identity of whoever opened it", async (rig) => {
  const keys = new Keys();
  const upgrades = [];
  const upstream = await rig.serve((_, response) => response.writeHead(426).end());
  upstream.server.on("upgrade", (request, socket) => {
    upgrades.push(request.headers);
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    socket.on("error", () => {}).once("data", () => socket.write(frame("answer")));
    rig.onStop(() => socket.destroy());
  });
  const origin = await new Origin(keys, upstream.url).start(rig);
  const edge = await startEdge(rig, keys, origin.server.url);
  const open = (token) => {
    const socket = connect(edge.port, "127.0.0.1");
    rig.onStop(() => socket.destroy());
    let received = "";
    socket.setEncoding("latin1").on("data", (data) => { received += data; });
    const lines = ["GET /notes/api/socket HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", `Sec-WebSocket-Key: ${WEBSOCKET_KEY}`, "Sec-WebSocket-Version: 13"];
    socket.write(`${[...lines, ...(token ? [`Authorization: Bearer ${token}`] : [])].join("\r\n")}\r\n\r\n`);
    const until = async (text) => {
      while (!received.includes(text)) await new Promise((resolve, reject) => socket.once("data", resolve).once("close", () => reject(new Error(received))));
    };
    return { socket, until };
  };
  const { socket, until } = open(accessToken(keys));
  await until("HTTP/1.1 101");
  await until("\r\n\r\n");
  socket.write(frame("question", [1, 2, 3, 4]));
  await until("answer");
  assert.equal(upgrades[0]["x-gateway-subject"], "u1");
  assert.equal(upgrades[0].authorization, undefined);
  await open().until("HTTP/1.1 401");
  assert.equal(upgrades.length, 1);
});

// WebSockets: the gateway judges the handshake, and every frame passes after it, in both directions.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";

import { Keys, Origin, accessToken, rigTest, startEdge } from "./rig.mjs";

const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;

/** A frame (RFC 6455 §5.2), masked as a client must. */
function frame(opcode, payload, isMasked) {
  const { length } = payload;
  const extended = length < 126 ? Buffer.alloc(0) : Buffer.alloc(length < 65_536 ? 2 : 8);
  if (extended.length === 2) extended.writeUInt16BE(length);
  if (extended.length === 8) extended.writeBigUInt64BE(BigInt(length));
  const short = [length, 0, 126, 0, 0, 0, 0, 0, 127][extended.length];
  const head = Buffer.concat([Buffer.from([0x80 | opcode, (isMasked ? 0x80 : 0) | short]), extended]);
  if (!isMasked) return Buffer.concat([head, payload]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ mask[index % 4])]);
}

/** One end of an open WebSocket. */
class End {
  #received = Buffer.alloc(0);
  #message = [];
  messages = [];
  #wake = () => {};

  constructor(socket, first, isClient) {
    Object.assign(this, { socket, isClient });
    socket.on("error", () => {}).on("data", (data) => this.#take(data)).once("close", () => this.#wake());
    this.#take(first);
  }

  send(opcode, payload) {
    this.socket.write(frame(opcode, Buffer.from(payload), this.isClient));
  }

  close(code, reason) {
    const payload = Buffer.from(`  ${reason}`);
    payload.writeUInt16BE(code);
    this.send(CLOSE, payload);
  }

  /** The next message: `[opcode, payload]`. */
  async next() {
    while (this.messages.length === 0) {
      assert.ok(!this.socket.destroyed, "the socket closed");
      await new Promise((resolve) => { this.#wake = resolve; });
    }
    return this.messages.shift();
  }

  #take(data) {
    this.#received = Buffer.concat([this.#received, data]);
    for (;;) {
      const bytes = this.#received;
      if (bytes.length < 2) return;
      const isMasked = (bytes[1] & 0x80) !== 0;
      let [length, at] = [bytes[1] & 0x7f, 2];
      if (length === 126 && bytes.length >= 4) [length, at] = [bytes.readUInt16BE(2), 4];
      else if (length === 127 && bytes.length >= 10) [length, at] = [Number(bytes.readBigUInt64BE(2)), 10];
      else if (length >= 126) return;
      const end = at + (isMasked ? 4 : 0) + length;
      if (bytes.length < end) return;
      const mask = bytes.subarray(at, at + 4);
      const payload = bytes.subarray(end - length, end).map((byte, index) => (isMasked ? byte ^ mask[index % 4] : byte));
      this.#received = bytes.subarray(end);
      this.#message.push([bytes[0] & 0x0f, payload]);
      if ((bytes[0] & 0x80) === 0) continue;
      this.messages.push([this.#message[0][0], Buffer.concat(this.#message.map(([, part]) => part))]);
      this.#message = [];
      this.#wake();
    }
  }
}

/** Opens a WebSocket; gives the answer's head, and the end when it was accepted. */
function open(rig, port, path, headers) {
  return new Promise((resolve, reject) => {
    const key = randomBytes(16).toString("base64");
    const handshake = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13" };
    const outgoing = httpRequest({ host: "127.0.0.1", port, path, headers: { ...handshake, ...headers }, agent: false });
    outgoing.once("upgrade", (response, socket, first) => {
      rig.onStop(() => socket.destroy());
      assert.equal(response.headers["sec-websocket-accept"], accept(key));
      resolve({ status: response.statusCode, headers: response.headers, end: new End(socket, first, true) });
    });
    outgoing.once("response", async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      resolve({ status: response.statusCode, headers: response.headers, text });
    });
    outgoing.once("error", reject).end();
  });
}

const accept = (key) => createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");

async function start(rig, change = () => {}) {
  const keys = new Keys();
  const upstream = await rig.serve((_, response) => response.writeHead(426).end("open a WebSocket"));
  const opened = [];
  let arrived = () => {};
  upstream.server.on("upgrade", (request, socket, first) => {
    rig.onStop(() => socket.destroy());
    if (request.url.startsWith("/refused")) return socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nX-Why: not you\r\n\r\nforbidden");
    const protocol = request.headers["sec-websocket-protocol"]?.split(",")[0].trim();
    const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept(request.headers["sec-websocket-key"])}`, "Set-Cookie: theirs=1", "Set-Cookie: __Host-gateward_session=stolen"];
    socket.write(`${[...lines, ...(protocol ? [`Sec-WebSocket-Protocol: ${protocol}`] : [])].join("\r\n")}\r\n\r\n`);
    opened.push({ request, end: new End(socket, first, false) });
    arrived();
  });
  const origin = await new Origin(keys, upstream.url, change).start(rig);
  const edge = await startEdge(rig, keys, origin.server.url);
  const next = async () => { while (opened.length === 0) await new Promise((resolve) => { arrived = resolve; }); return opened.shift(); };
  const bearer = (headers = {}) => ({ Authorization: `Bearer ${accessToken(keys)}`, ...headers });
  return { keys, edge, upstream, opened, next, bearer };
}

rigTest("text, binary and large messages pass both ways, and so does the close with its code", async (rig) => {
  const { edge, next, bearer } = await start(rig);
  const { status, headers, end: client } = await open(rig, edge.port, "/notes/api/socket?room=1", bearer({ "Sec-WebSocket-Protocol": "chat, other", "X-Gateway-Subject": "root" }));
  assert.equal(status, 101);
  assert.equal(headers["sec-websocket-protocol"], "chat");
  assert.deepEqual(headers["set-cookie"], ["theirs=1"]);
  const { request, end: server } = await next();
  assert.equal(request.url, "/socket?room=1");
  assert.deepEqual([request.headers["x-gateway-subject"], request.headers["x-gateway-scopes"], request.headers.authorization], ["u1", "notes:read", undefined]);
  const large = randomBytes(200_000);
  for (const [from, to] of [[client, server], [server, client]]) {
    for (const [opcode, payload] of [[TEXT, Buffer.from("grüße")], [BINARY, randomBytes(1_000)], [BINARY, large], [TEXT, Buffer.alloc(0)]]) {
      from.send(opcode, payload);
      const [kind, got] = await to.next();
      assert.equal(kind, opcode);
      assert.ok(got.equals(payload), `${got.length} instead of ${payload.length} bytes`);
    }
  }
  client.close(4_001, "enough");
  const [kind, payload] = await server.next();
  assert.equal(kind, CLOSE);
  assert.deepEqual([payload.readUInt16BE(0), payload.subarray(2).toString()], [4_001, "enough"]);
});

rigTest("the upstream may close first, and one that breaks off is noticed", async (rig) => {
  const { edge, next, bearer } = await start(rig);
  const first = await open(rig, edge.port, "/notes/api/socket", bearer());
  (await next()).end.close(1_001, "going away");
  const [kind, payload] = await first.end.next();
  assert.deepEqual([kind, payload.readUInt16BE(0), payload.subarray(2).toString()], [CLOSE, 1_001, "going away"]);
  const second = await open(rig, edge.port, "/notes/api/socket", bearer());
  (await next()).end.socket.resetAndDestroy();
  const closed = new Promise((resolve) => second.end.socket.once("close", resolve));
  await Promise.race([closed, second.end.next()]);
});

rigTest("a refused upgrade is an answer: the gateway's, or the upstream's as it came", async (rig) => {
  const { edge, upstream, opened, bearer } = await start(rig);
  const anonymous = await open(rig, edge.port, "/notes/api/socket", {});
  assert.equal(anonymous.status, 401);
  assert.match(JSON.parse(anonymous.text).type, /credential-missing$/);
  const refused = await open(rig, edge.port, "/notes/api/refused", bearer());
  assert.deepEqual([refused.status, refused.text, refused.headers["x-why"]], [403, "forbidden", "not you"]);
  assert.equal(opened.length, 0);
  await upstream.stop();
  const gone = await open(rig, edge.port, "/notes/api/socket", bearer());
  assert.equal(gone.status, 502);
});

rigTest("an allowed page's WebSocket passes and another's does not; the time limit holds only until it is open", async (rig) => {
  const { edge, next, bearer } = await start(rig, (policy) => {
    policy.projects.notes.cors = { origins: ["https://app.test"] };
    policy.projects.notes.services.api.timeout_millis = 200;
  });
  assert.equal((await open(rig, edge.port, "/notes/api/socket", bearer({ Origin: "https://evil.test" }))).status, 403);
  const { status, end: client } = await open(rig, edge.port, "/notes/api/socket", bearer({ Origin: "https://app.test" }));
  assert.equal(status, 101);
  const { end: server } = await next();
  // Well past the limit; nothing else tells that a timer did not fire.
  await new Promise((resolve) => setTimeout(resolve, 500));
  server.send(TEXT, "still here");
  assert.equal((await client.next())[1].toString(), "still here");
});

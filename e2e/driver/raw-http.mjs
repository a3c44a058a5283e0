// HTTP/1.1 byte by byte, for requests that a client library would refuse to send or would tidy up first.
import { connect } from "node:net";
import { ownAddress } from "./http-client.mjs";

const TIMEOUT = 15_000;

/**
 * Sends one request line with these header lines and returns status, headers and body. `headers` are pairs, sent in order and
 * as they are; Host and Connection: close are added unless given.
 */
export function exchange(base, { method = "GET", target, headers = [], body = "", address = ownAddress() }) {
  const { hostname, port } = new URL(base);
  const has = (wanted) => headers.some(([name]) => name.toLowerCase() === wanted);
  const lines = [`${method} ${target} HTTP/1.1`];
  if (!has("host")) lines.push(`Host: ${hostname}:${port}`);
  for (const [name, value] of headers) lines.push(`${name}: ${value}`);
  if (!has("connection")) lines.push("Connection: close");
  if (body !== "" && !has("content-length") && !has("transfer-encoding")) {
    lines.push(`Content-Length: ${Buffer.byteLength(body)}`);
  }
  return exchangeBytes(base, Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), Buffer.from(body)]), {
    address,
  });
}

/** Sends bytes and reads until the peer closes or a whole response has come; `undefined` when it closed without one. */
export function exchangeBytes(base, bytes, { address = ownAddress(), timeout = TIMEOUT } = {}) {
  const { hostname, port } = new URL(base);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), localAddress: address });
    let received = Buffer.alloc(0);
    const finish = (outcome, value) => {
      clearTimeout(timer);
      socket.destroy();
      outcome(value);
    };
    const timer = setTimeout(() => {
      finish(reject, new Error(`no whole answer within ${timeout} ms to ${bytes.subarray(0, 200).toString("latin1")}`));
    }, timeout);
    const look = (closed) => {
      const response = parseResponse(received, closed);
      if (response !== undefined || closed) finish(resolve, response);
    };
    socket.on("connect", () => socket.write(bytes));
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      look(false);
    });
    socket.on("close", () => look(true));
    // A reset after the answer has come is as good as a close.
    socket.on("error", (error) => (received.length > 0 ? look(true) : finish(reject, error)));
  });
}

/** The first response in `bytes`; `undefined` while it is not whole. */
export function parseResponse(bytes, closed) {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [statusLine, ...lines] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const status = Number(statusLine.split(" ")[1]);
  const headers = {};
  for (const line of lines) {
    const at = line.indexOf(":");
    const name = line.slice(0, at).toLowerCase();
    const value = line.slice(at + 1).trim();
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  const rest = bytes.subarray(end + 4);
  const bodyless = status === 204 || status === 304;
  let body;
  if (bodyless) body = Buffer.alloc(0);
  else if (headers["transfer-encoding"] === "chunked") body = dechunk(rest);
  else if (headers["content-length"] !== undefined) {
    const length = Number(headers["content-length"]);
    body = rest.length >= length ? rest.subarray(0, length) : undefined;
  } else body = closed ? rest : undefined;
  // A HEAD's answer names a length and brings no body: the close ends it.
  if (body === undefined && closed) body = rest;
  if (body === undefined) return undefined;
  const text = body.toString("utf8");
  return {
    status,
    headers,
    text,
    get json() {
      return JSON.parse(text);
    },
  };
}

function dechunk(bytes) {
  const parts = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) return undefined;
    const size = Number.parseInt(bytes.subarray(at, end).toString("latin1"), 16);
    if (Number.isNaN(size)) throw new Error("the answer's chunks are malformed");
    if (size === 0) return Buffer.concat(parts);
    if (bytes.length < end + 2 + size + 2) return undefined;
    parts.push(bytes.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}

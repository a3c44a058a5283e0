// What an upstream gets to see of a request, and how bodies pass.
import assert from "node:assert/strict";
import { connect } from "node:net";

import { accessToken, gatewayTest } from "./rig.mjs";

const names = (rawHeaders) => rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());

gatewayTest("attacks 2 to 5: no spelling of a reserved header arrives, and Connection removes none of ours", async ({ keys, upstream, edge }) => {
  const forged = [
    "X-Gateway-Subject: root", "X_Gateway_Subject: root", "x.gateway.subject: root", "X-GATEWAY-SCOPES: admin", "X-Gateway_Workspace: w9",
    "X-Forwarded-For: 203.0.113.9", "X_Forwarded_For: 203.0.113.9", "X-Forwarded-Host: evil.test", "Forwarded: for=203.0.113.9",
    "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-Real-IP: 203.0.113.9", "True-Client-IP: 203.0.113.9", "X-Request-Id: forged",
    "X-Gateway-Edge-Assertion: forged", "X-Service-Name: forged", "Connection: X-Gateway-Subject, x-gateway-workspace, close",
    "Accept: text/x-kept", "X-Api-Version: 7", "Cookie: mine=1; __Host-gateward_session=secret; other=2",
  ];
  for (const authorization of [`Authorization: Bearer ${accessToken(keys)}`, undefined]) {
    const path = authorization ? "/notes/api/x" : "/notes/api/health";
    const lines = [`GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${edge.port}`, ...forged, ...(authorization ? [authorization] : [])];
    const answer = await edge.raw(`${lines.join("\r\n")}\r\n\r\n`);
    assert.match(answer, /^HTTP\/1.1 200/);
    const { headers, rawHeaders } = upstream.requests.at(-1);
    const received = names(rawHeaders);
    assert.equal(JSON.stringify(rawHeaders).includes("root"), false, rawHeaders.join(" "));
    assert.equal(JSON.stringify(rawHeaders).includes("203.0.113.9"), false);
    assert.equal(received.filter((name) => /^x[-_.]gateway[-_.]subject$/.test(name)).length, authorization ? 1 : 0);
    for (const name of ["authorization", "x_gateway_subject", "x.gateway.subject", "x-gateway_workspace", "x_forwarded_for", "x-forwarded-host", "forwarded", "x-original-url", "x-rewrite-url", "x-real-ip", "true-client-ip", "x-request-id", "x-gateway-edge-assertion", "x-service-name"]) {
      assert.equal(received.includes(name), false, name);
    }
    assert.equal(headers["x-gateway-subject"], authorization ? "u1" : undefined);
    assert.equal(headers["x-gateway-workspace"], authorization ? "w1" : undefined);
    assert.equal(headers["x-gateway-scopes"], authorization ? "notes:read" : undefined);
    assert.equal(headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(headers.accept, "text/x-kept");
    assert.equal(headers["x-api-version"], "7");
    assert.equal(headers.cookie, "mine=1; other=2");
  }
});

gatewayTest("a header's name means nothing but itself", async ({ keys, upstream, edge }) => {
  const odd = ["__proto__: one", "constructor: two", "toString: three", "123: four", "hasOwnProperty: five", "X-Twice: a", "x-twice: b"];
  const lines = ["GET /notes/api/x HTTP/1.1", "Host: a", `Authorization: Bearer ${accessToken(keys)}`, ...odd, "Connection: close"];
  assert.match(await edge.raw(`${lines.join("\r\n")}\r\n\r\n`), /^HTTP\/1.1 200/);
  const { rawHeaders } = upstream.requests.at(-1);
  // Several lines of one name say what their values in one line say (RFC 9110 §5.3).
  const received = new Map();
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index].toLowerCase();
    received.set(name, [...(received.has(name) ? [received.get(name)] : []), rawHeaders[index + 1]].join(", "));
  }
  for (const [name, value] of [["__proto__", "one"], ["constructor", "two"], ["tostring", "three"], ["123", "four"], ["hasownproperty", "five"], ["x-twice", "a, b"]]) {
    assert.equal(received.get(name), value, name);
  }
});

gatewayTest("bytes beyond ASCII in a header arrive as they were sent, edited or not", async ({ keys, upstream, edge }) => {
  for (const own of ["", "; __Host-gateward_session=secret"]) {
    const answer = await edge.raw(`GET /notes/api/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${accessToken(keys)}\r\nCookie: name=gr\xc3\xbc\xc3\x9fe${own}\r\nX-Own: \xe9\r\nConnection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1.1 200/);
    const { headers } = upstream.requests.at(-1);
    assert.equal(headers.cookie, "name=gr\xc3\xbc\xc3\x9fe", JSON.stringify(headers.cookie));
  }
});

gatewayTest("two credentials in one request are refused", async ({ keys, upstream, edge }) => {
  const token = accessToken(keys);
  const lines = ["GET /notes/api/x HTTP/1.1", "Host: a", `Authorization: Bearer ${token}`, `Authorization: Bearer ${token}`, "Connection: close"];
  const answer = await edge.raw(`${lines.join("\r\n")}\r\n\r\n`);
  assert.match(answer, /^HTTP\/1.1 400/);
  assert.match(answer, /several-credentials/);
  assert.deepEqual(upstream.requests, []);
});

gatewayTest("a body streams to the upstream and its answer streams back, each piece as it comes", async ({ keys, edge }) => {
  const socket = connect(edge.port, "127.0.0.1");
  let received = "";
  const arrives = async (text) => {
    while (!received.includes(text)) await new Promise((resolve, reject) => socket.once("data", resolve).once("close", () => reject(new Error(received))));
  };
  socket.setEncoding("latin1").on("data", (data) => { received += data; });
  const head = ["POST /notes/api/stream HTTP/1.1", "Host: a", `Authorization: Bearer ${accessToken(keys)}`, "Transfer-Encoding: chunked"];
  socket.write(`${head.join("\r\n")}\r\n\r\n`);
  for (const piece of ["one", "two", "three"]) {
    socket.write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
    // The upstream answers each piece before the next is sent.
    await arrives(`echo ${piece}`);
  }
  socket.write("0\r\n\r\n");
  await arrives("\r\n0\r\n\r\n");
  socket.destroy();
}, {
  upstreamAnswer: (request, response) => {
    response.writeHead(200, { "Content-Type": "text/plain" });
    request.setEncoding("utf8").on("data", (piece) => response.write(`echo ${piece}\n`)).on("end", () => response.end());
  },
});

gatewayTest("method, body, status, redirect and every header of the answer pass through", async ({ keys, edge }) => {
  const answer = await edge.request("/notes/api/x", { method: "PUT", token: accessToken(keys), body: "x".repeat(300_000), headers: { "Content-Type": "text/plain" } });
  assert.equal(answer.status, 302);
  assert.equal(answer.headers.location, "http://elsewhere.test/");
  assert.deepEqual(answer.headers["set-cookie"], ["a=1", "b=2"]);
  assert.equal(answer.headers["x-seen"], "PUT 300000 300000");
}, {
  upstreamAnswer: async (request, response) => {
    let length = 0;
    for await (const piece of request) length += piece.length;
    response.writeHead(302, ["Location", "http://elsewhere.test/", "Set-Cookie", "a=1", "Set-Cookie", "b=2", "X-Seen", `${request.method} ${length} ${request.headers["content-length"]}`]).end();
  },
});

gatewayTest("an upstream that does not answer is a 502 that says so", async ({ keys, upstream, edge }) => {
  await upstream.stop();
  const answer = await edge.request("/notes/api/x", { token: accessToken(keys) });
  assert.equal(answer.status, 502);
  assert.match(answer.json.type, /upstream-unavailable$/);
  assert.match((await edge.request("/metrics")).text, /^gateward_edge_upstream_failures_total\{kind="unreachable"\} 1$/m);
});

gatewayTest("a GET with a body is refused, one that announces none is not; TRACE shows nothing", async ({ keys, upstream, origin, edge }) => {
  const send = (method, path, extra) =>
    edge.raw(`${method} ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${accessToken(keys)}\r\nConnection: close\r\n${extra}`);
  for (const path of ["/notes/api/x", "/sign-in", "/ping"]) {
    for (const method of ["GET", "HEAD"]) {
      assert.match(await send(method, path, "Content-Length: 0\r\n\r\n"), /^HTTP\/1.1 200/, `${method} ${path}`);
      assert.match(await send(method, path, "Content-Length: 3\r\n\r\nabc"), /^HTTP\/1.1 400/, `${method} ${path}`);
      assert.match(await send(method, path, "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), /^HTTP\/1.1 400/, `${method} ${path}`);
    }
    assert.match(await send("TRACE", path, "\r\n"), /^HTTP\/1.1 405/);
  }
  assert.equal(upstream.requests.length, 2);
  assert.equal(origin.forwarded.length, 2);
});

for (const method of ["OPTIONS", "DELETE", "PATCH", "PUT", "PROPFIND"]) {
  gatewayTest(`${method} passes, with a body and without`, async ({ keys, upstream, edge }) => {
    for (const body of ["", "abc"]) {
      assert.equal((await edge.request("/notes/api/x", { method, token: accessToken(keys), body, headers: { "Content-Length": body.length } })).status, 200);
      assert.deepEqual([upstream.requests.at(-1).method, upstream.requests.at(-1).body], [method, body]);
    }
  });
}

gatewayTest("too many headers, or too long ones, are refused before anything else is looked at", async ({ keys, upstream, edge }) => {
  const send = (count, length) => {
    const headers = Array.from({ length: count }, (_, index) => [`X-${index}`, "v".repeat(length)]);
    return edge.request("/notes/api/health", { headers: Object.fromEntries(headers) });
  };
  assert.equal((await send(100, 100)).status, 200);
  for (const [count, length] of [[200, 1], [1, 33_000], [5, 8_000]]) {
    const answer = await send(count, length);
    assert.equal(answer.status, 431);
    assert.match(answer.json.type, /headers-too-large$/);
  }
  assert.equal(upstream.requests.length, 1);
});

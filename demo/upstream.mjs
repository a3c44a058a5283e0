// The service behind the gateway in the demo: says what reached it. It trusts the gateway's headers and does not check
// anything, as an internal service would that only the gateway can reach.
import { createServer } from "node:http";

const BODY_LIMIT = 1024 * 1024;

let count = 0;

const server = createServer((request, response) => {
  if (request.url === "/_count") {
    return answer(response, 200, count);
  }
  count += 1;
  const chunks = [];
  let size = 0;
  request.on("data", (chunk) => {
    size += chunk.length;
    if (size <= BODY_LIMIT) chunks.push(chunk);
  });
  request.on("end", () => {
    if (size > BODY_LIMIT) return answer(response, 413, { error: `the body is larger than ${BODY_LIMIT} bytes` });
    const raw_headers = [];
    for (let index = 0; index < request.rawHeaders.length; index += 2) {
      raw_headers.push([request.rawHeaders[index], request.rawHeaders[index + 1]]);
    }
    answer(response, 200, {
      method: request.method,
      url: request.url,
      headers: request.headers,
      raw_headers,
      body: Buffer.concat(chunks).toString("utf8"),
    });
  });
});

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

server.listen(Number(process.env.PORT ?? 9100), "127.0.0.1");
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}

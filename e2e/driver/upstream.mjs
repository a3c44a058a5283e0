// An upstream inside the test: keeps every request that reached it, with its headers as they came, so that a test can show
// what did not arrive.
import { createServer } from "node:http";

/** Starts one on a free port. `requests` grows; `close` ends it. */
export async function startUpstream() {
  const requests = [];
  const server = createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const seen = { method: request.method, url: request.url, headers: request.headers, rawHeaders: pairs(request.rawHeaders) };
      seen.body = Buffer.concat(chunks).toString("utf8");
      requests.push(seen);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(seen));
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, requests, close };
}

function pairs(raw) {
  const found = [];
  for (let index = 0; index < raw.length; index += 2) found.push([raw[index], raw[index + 1]]);
  return found;
}

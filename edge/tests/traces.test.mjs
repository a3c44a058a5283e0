// One trace through both doors (W3C Trace Context): a caller's goes on, with a span of the edge's own, and the log names it.
import assert from "node:assert/strict";

import { accessToken, gatewayTest } from "./rig.mjs";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = `00-${TRACE}-00f067aa0ba902b7-01`;

gatewayTest("a caller's trace goes on to the upstream, to the origin and into the log", async ({ keys, upstream, origin, edge }) => {
  await edge.request("/notes/api/x", { token: accessToken(keys), headers: { Traceparent: CALLER } });
  await edge.request("/sign-in", { headers: { Traceparent: CALLER } });
  const [toUpstream, toOrigin] = [upstream.requests.at(-1), origin.forwarded.at(-1)].map(({ headers }) => headers.traceparent);
  for (const traceparent of [toUpstream, toOrigin]) {
    assert.match(traceparent, new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
    assert.notEqual(traceparent, CALLER);
  }
  await edge.logged(new RegExp(`"trace_id":"${TRACE}".*"endpoint":"project"`));
  await edge.logged(new RegExp(`"trace_id":"${TRACE}".*"endpoint":"page"`));
}, { bindings: { ACCESS_LOG: "on" } });

gatewayTest("without a well-formed one a trace begins, named after the request", async ({ keys, upstream, edge }) => {
  for (const headers of [{}, { Traceparent: "00-not-a-trace-01" }, { Traceparent: CALLER.toUpperCase() }]) {
    await edge.request("/notes/api/x", { token: accessToken(keys), headers });
    const { traceparent, "x-gateway-request-id": requestId } = upstream.requests.at(-1).headers;
    assert.match(traceparent, new RegExp(`^00-${requestId.replaceAll("-", "")}-[0-9a-f]{16}-00$`));
  }
});

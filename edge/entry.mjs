// The worker's entry, as thin as it can be: it copies a request's head into wasm, and acts on what `judge` says. No rule may
// live here. A good request to a project costs one synchronous call, and its body and answer stream through untouched.
import module from "./gateward_edge_bg.wasm";
import { initSync, judge, upstream_failed } from "./gateward_edge.js";

initSync({ module });

export default {
  fetch(request, env, context) {
    const head = headOf(request, env);
    const act = (answer) => (typeof answer === "string" ? forward(request, head, answer) : answer);
    const answer = judge(head, request, env, context);
    return answer instanceof Promise ? answer.then(act) : act(answer);
  },
};

/** Method, URL, a fresh request id, the peer's address, then each header's name and value: one line each. */
function headOf(request, env) {
  const peer = env.CLIENT_ADDRESS === "peer" ? (request.cf?.clientIp ?? "") : "";
  let head = `${request.method}\n${request.url}\n${crypto.randomUUID()}\n${peer}`;
  for (const [name, value] of request.headers) head += `\n${name}\n${value}`;
  return head;
}

/** Sends a request on by its plan: the URL, the access log's line (or nothing), then a header to delete or `name:value` to set a line. */
function forward(request, head, plan) {
  const [url, log, ...edits] = plan.split("\n");
  const headers = new Headers(request.headers);
  for (const edit of edits) {
    const colon = edit.indexOf(":");
    if (colon < 0) headers.delete(edit);
    else headers.set(edit.slice(0, colon), edit.slice(colon + 1));
  }
  const { method } = request;
  // A GET may announce a body of no bytes, which `fetch` takes for one.
  const body = method === "GET" || method === "HEAD" ? null : request.body;
  const answer = fetch(url, { method, headers, body, redirect: "manual" }).catch(() => upstream_failed(head));
  if (log === "") return answer;
  const started = Date.now();
  return answer.then((response) => {
    console.log(`${log.slice(0, -1)},"status":${response.status},"duration_ms":${Date.now() - started}}`);
    return response;
  });
}

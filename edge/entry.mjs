// The worker's entry, as thin as it can be: it copies a request's head into wasm, and acts on what `judge` says. No rule may
// live here. A good request to a project costs one synchronous call, and its body and answer stream through untouched.
import module from "./gateward_edge_bg.wasm";
import { body_too_large, initSync, is_own_cookie, judge, upstream_answered, upstream_failed, upstream_took } from "./gateward_edge.js";

export { ExactLimits } from "./exact-limits.mjs";

initSync({ module });

export default {
  fetch(request, env, context) {
    const headers = Object.fromEntries(request.headers);
    const head = headOf(request, env, headers);
    return act({ request, env, context, head, headers, failed: "" }, judge(head, request, env, context));
  },
};

/** Method, URL, a fresh request id, the peer's address, its certificate, then each header's name and value: one line each. */
function headOf(request, env, headers) {
  const peer = env.CLIENT_ADDRESS === "peer" ? (request.cf?.clientIp ?? "") : "";
  const certificate = env.CLIENT_CERTIFICATE === "cloudflare" ? certificateOf(request.cf?.tlsClientAuth) : "";
  let head = `${request.method}\n${request.url}\n${crypto.randomUUID()}\n${peer}\n${certificate}`;
  for (const name in headers) head += `\n${name}\n${headers[name]}`;
  return head;
}

/** What Cloudflare says of a client certificate. */
function certificateOf(tls) {
  return tls ? `${tls.certVerified} ${tls.certRevoked} ${tls.certFingerprintSHA256}` : "";
}

/** A plan is a text; everything else is an answer, or a promise of either. */
function act(exchange, answer) {
  if (typeof answer === "string") return forward(exchange, answer.split("\n"));
  return answer instanceof Promise ? answer.then((settled) => act(exchange, settled)) : answer;
}

/** Sends a request on by its plan: see plan.rs for its lines. */
function forward(exchange, plan) {
  const { request } = exchange;
  const { method } = request;
  const headers = headersFor(exchange, plan);
  // A GET may announce a body of no bytes, which `fetch` takes for one.
  const body = method === "GET" || method === "HEAD" ? null : request.body;
  const init = { method, headers, body, redirect: "manual" };
  const watch = plan[3] === "" ? undefined : watchOver(init, plan[3]);
  const started = Date.now();
  return fetch(plan[0] + plan[1], init).then(
    (response) => settle(plan, watch, started, response),
    () => fail(exchange, plan, watch, started),
  );
}

/**
 * The request's headers with the plan's edits, deletions first. A plain object costs half of what `Headers` do, which are needed
 * for what an object cannot hold: `Set-Cookie` in several lines, and bytes that are no text.
 */
function headersFor({ request, head, headers }, plan) {
  let index = 5 + Number(plan[4]);
  if ("set-cookie" in headers || head.includes("\ufffd")) {
    const edited = new Headers(request.headers);
    edit(edited, plan, index, plan.length);
    return edited;
  }
  const gone = new Set();
  for (; index < plan.length && !plan[index].includes(":"); index += 1) gone.add(plan[index]);
  // Without a prototype, so that no header's name means anything to an object.
  const edited = { __proto__: null };
  for (const name in headers) if (!gone.has(name)) edited[name] = headers[name];
  for (; index < plan.length; index += 1) {
    const line = plan[index];
    const colon = line.indexOf(":");
    edited[line.slice(0, colon)] = line.slice(colon + 1);
  }
  return edited;
}

/** Applies the lines from `start` up to `end`: a header to delete, `name:value` to set or `:name:value` to add to. */
function edit(headers, lines, start, end) {
  for (let index = start; index < end; index += 1) {
    const line = lines[index];
    const colon = line.indexOf(":", 1);
    if (colon < 0) headers.delete(line);
    else if (line.startsWith(":")) headers.append(line.slice(1, colon), line.slice(colon + 1));
    else headers.set(line.slice(0, colon), line.slice(colon + 1));
  }
}

/** Lets the time until the answer's head and the length of the body end a request. */
function watchOver(init, bounds) {
  const [timeout, limit, flags] = bounds.split("|");
  const controller = new AbortController();
  const watch = { reports: flags.includes("r"), limit, timer: undefined, timedOut: false, tooLarge: false };
  init.signal = controller.signal;
  if (timeout !== "") {
    watch.timer = setTimeout(() => {
      watch.timedOut = true;
      controller.abort();
    }, Number(timeout));
  }
  if (limit !== "" && init.body) {
    let left = Number(limit);
    init.body = init.body.pipeThrough(new TransformStream({
      transform(piece, stream) {
        left -= piece.byteLength;
        if (left >= 0) return stream.enqueue(piece);
        watch.tooLarge = true;
        controller.abort();
        stream.error(new Error("the body is too large"));
      },
    }));
  }
  return watch;
}

/** Passes an upstream's answer on: untouched, unless there is something to change. */
function settle(plan, watch, started, response) {
  const { status } = response;
  const duration = Date.now() - started;
  upstream_took(duration);
  if (watch) clearTimeout(watch.timer);
  const isProbe = watch?.reports === true;
  if (status > 501 || isProbe) upstream_answered(plan[0], status, isProbe);
  let answer = response;
  if (plan[4] !== "0") {
    answer = new Response(response.body, response);
    edit(answer.headers, plan, 5, 5 + Number(plan[4]));
  }
  if (response.headers.has("set-cookie")) answer = withoutOwnCookies(answer);
  if (plan[2] !== "") console.log(`${plan[2].slice(0, -1)},"status":${status},"duration_ms":${duration}}`);
  return answer;
}

/** No upstream may set a cookie of the gateway's own. */
function withoutOwnCookies(response) {
  const cookies = response.headers.getSetCookie();
  const kept = cookies.filter((cookie) => !is_own_cookie(cookie));
  if (kept.length === cookies.length) return response;
  const answer = new Response(response.body, response);
  answer.headers.delete("set-cookie");
  for (const cookie of kept) answer.headers.append("set-cookie", cookie);
  return answer;
}

/** There was no answer: another upstream, or a refusal. */
function fail(exchange, plan, watch, started) {
  const { request, env, context, head } = exchange;
  clearTimeout(watch?.timer);
  if (exchange.failed === "") exchange.began = started;
  const { began } = exchange;
  if (watch?.tooLarge) return body_too_large(head, began, watch.limit);
  exchange.failed += `${plan[0]}\n`;
  return act(exchange, upstream_failed(head, began, exchange.failed, watch?.timedOut === true, request, env, context));
}

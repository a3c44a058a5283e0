// The worker's entry, as thin as it can be: it copies a request's head into wasm, and acts on what `judge` says. No rule may
// live here. A good request to a project costs one synchronous call, and its body and answer stream through untouched.
import module from "./gateward_edge_bg.wasm";
import {
  body_too_large, deliberate, desk_address, desk_bytes, header_names, initSync, is_own_cookie, judge, judge_form, upstream_answered, upstream_failed, upstream_took,
} from "./gateward_edge.js";

export { ExactLimits } from "./exact-limits.mjs";

const { memory } = initSync({ module });
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
/** The desk (desk.rs), as long as its place is known and the memory has not grown. */
let desk = new Uint8Array(0);
/** The headers that a plan sets, by letter. */
const names = header_names().split("\n");

export default {
  fetch(request, env, context) {
    const head = headOf(request, env);
    const exchange = { request, env, context, head, failed: "", began: 0 };
    const length = write(head);
    const text = length < 0 ? "" : read(judge(length));
    return text === "" ? goOn(exchange, undefined, false) : act(exchange, text);
  },
};

/** Method, URL, a fresh request id, the peer's address, its certificate, then each header's name and value: one line each. */
function headOf(request, env) {
  const peer = env.CLIENT_ADDRESS === "peer" ? (request.cf?.clientIp ?? "") : "";
  const certificate = env.CLIENT_CERTIFICATE === "cloudflare" ? certificateOf(request.cf?.tlsClientAuth) : "";
  let head = `${request.method}\n${request.url}\n${crypto.randomUUID()}\n${peer}\n${certificate}`;
  for (const [name, value] of request.headers) head += `\n${name}\n${value}`;
  return head;
}

/** What Cloudflare says of a client certificate. */
function certificateOf(tls) {
  return tls ? `${tls.certVerified} ${tls.certRevoked} ${tls.certFingerprintSHA256}` : "";
}

/** Looks where the desk is, unless that is known. */
function findDesk() {
  if (desk.length !== 0) return;
  // First, since to make room for it the memory may grow, which takes its buffer away.
  const address = desk_address();
  desk = new Uint8Array(memory.buffer, address, desk_bytes());
}

/** Writes a text on the desk: how many bytes it has there, or -1 where it does not fit. */
function write(text) {
  findDesk();
  const done = encoder.encodeInto(text, desk);
  return done.read === text.length ? done.written : -1;
}

/** The text of so many bytes that lies on the desk; none, where its place must be asked for again. */
function read(length) {
  if (length === 0) {
    desk = new Uint8Array(0);
    return "";
  }
  findDesk();
  return decoder.decode(desk.subarray(0, length));
}

/** What cannot be answered at once; `form` is the body, if that was read. */
function goOn(exchange, form, isCounted) {
  const { request, env, context, head } = exchange;
  return deliberate(head, form, isCounted, request, env, context).then((answer) => typeof answer === "string" ? act(exchange, answer) : answer);
}

/** Does what a text says: forwards by a plan (plan.rs), answers (answer.rs), or reads the body first. */
function act(exchange, text) {
  if (text.startsWith("f")) return forward(exchange, text.split("\n"));
  return text.startsWith("a") ? answerOf(text) : readForm(exchange);
}

/** Has a request judged with its body, whose length is announced and bounded. */
function readForm(exchange) {
  return exchange.request.arrayBuffer().then(
    (body) => {
      const form = new Uint8Array(body);
      const length = write(exchange.head);
      let text = "";
      if (length >= 0 && length + form.length <= desk.length) {
        desk.set(form, length);
        text = read(judge_form(length, form.length));
      }
      return text === "" ? goOn(exchange, form, true) : act(exchange, text);
    },
    // It is asked for again, and the answer says that it broke off.
    () => goOn(exchange, undefined, true),
  );
}

/** An answer of the edge's own. */
function answerOf(text) {
  let at = text.indexOf("\n");
  const [status, count] = text.slice(1, at).split(" ");
  const line = () => {
    const start = at + 1;
    at = text.indexOf("\n", start);
    return text.slice(start, at);
  };
  const headers = new Headers();
  for (let left = Number(count); left > 0; left -= 1) headers.append(line(), line());
  return new Response(at + 1 < text.length ? text.slice(at + 1) : null, { status: Number(status), headers });
}

/** Sends a request on by its plan. */
function forward(exchange, plan) {
  const { request } = exchange;
  const { method } = request;
  const headers = new Headers(request.headers);
  let index = 6 + Number(plan[5]);
  const letters = plan[index];
  index += 1;
  for (let gone = index + letters.length; gone < plan.length; gone += 1) headers.delete(plan[gone]);
  for (let at = 0; at < letters.length; at += 1) headers.set(names[letters.charCodeAt(at) - 65], plan[index + at]);
  // A GET may announce a body of no bytes, which `fetch` takes for one.
  const body = method === "GET" || method === "HEAD" ? null : request.body;
  const init = { method, headers, body, redirect: "manual" };
  const watch = plan[4] === "" ? undefined : watchOver(init, plan[4]);
  const started = Date.now();
  return fetch(plan[1] + plan[2], init).then(
    (response) => settle(plan, watch, started, response),
    () => fail(exchange, plan, watch, started),
  );
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
  const [timeout, limit] = bounds.split("|");
  const controller = new AbortController();
  const watch = { limit, timer: undefined, timedOut: false, tooLarge: false };
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
  const [flags] = plan;
  const isProbe = flags.includes("r");
  if (status > 501 || isProbe) upstream_answered(plan[1], status, isProbe);
  let answer = response;
  if (plan[5] !== "0") {
    answer = new Response(response.body, response);
    edit(answer.headers, plan, 6, 6 + Number(plan[5]));
  }
  if (flags.includes("c") && response.headers.has("set-cookie")) answer = withoutOwnCookies(answer);
  if (plan[3] !== "") console.log(`${plan[3].slice(0, -1)},"status":${status},"duration_ms":${duration}}`);
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
  if (watch?.tooLarge) return answerOf(body_too_large(head, began, watch.limit));
  exchange.failed += `${plan[1]}\n`;
  return upstream_failed(head, began, exchange.failed, watch?.timedOut === true, request, env, context).then((answer) => typeof answer === "string" ? act(exchange, answer) : answer);
}

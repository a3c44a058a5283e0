// As passthrough.mjs, with the header edits that an identity-aware gateway cannot do without: those of Gateward for the same
// request, which the bench checks at the upstream.
export default {
  fetch(request, env) {
    const url = new URL(request.url);
    const headers = new Headers(request.headers);
    headers.delete("authorization");
    headers.set("x-gateway-project", "notes");
    headers.set("x-gateway-service", "api");
    headers.set("x-gateway-subject", "00000000-0000-7000-8000-000000000001");
    headers.set("x-gateway-scopes", "notes:read");
    headers.set("x-gateway-workspace", "00000000-0000-7000-8000-000000000002");
    headers.set("x-gateway-client", "bench");
    headers.set("x-gateway-token-id", "bench");
    const id = crypto.randomUUID();
    headers.set("x-gateway-request-id", id);
    headers.set("traceparent", `00-${id.replaceAll("-", "")}-${id.slice(0, 8)}${id.slice(28)}-01`);
    headers.set("x-forwarded-for", request.cf?.clientIp ?? "");
    const { method } = request;
    const body = method === "GET" || method === "HEAD" ? null : request.body;
    return fetch(env.UPSTREAM + url.pathname + url.search, { method, headers, body, redirect: "manual" });
  },
};

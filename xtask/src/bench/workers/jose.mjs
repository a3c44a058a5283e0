// The peer: a JavaScript worker that verifies every token with `jose`, sets the identity headers and passes through. It has no
// revocation, no rate limit, no path rules and no removal of reserved headers.
import { createLocalJWKSet, jwtVerify } from "./jose/index.js";

let keys;

export default {
  async fetch(request, env) {
    keys ??= createLocalJWKSet(JSON.parse(env.JWKS));
    const url = new URL(request.url);
    const headers = new Headers(request.headers);
    const token = (headers.get("authorization") ?? "").replace(/^Bearer /i, "");
    let payload;
    try {
      ({ payload } = await jwtVerify(token, keys, {
        issuer: env.ISSUER,
        audience: `${env.ISSUER}/notes`,
        typ: "at+jwt",
        algorithms: ["EdDSA"],
      }));
    } catch {
      return new Response("invalid token", { status: 401 });
    }
    headers.delete("authorization");
    headers.set("x-gateway-project", "notes");
    headers.set("x-gateway-service", "api");
    headers.set("x-gateway-subject", payload.sub);
    headers.set("x-gateway-scopes", payload.scope);
    headers.set("x-gateway-workspace", payload.workspace_id);
    headers.set("x-gateway-client", payload.client_id);
    headers.set("x-gateway-token-id", payload.jti);
    headers.set("x-gateway-request-id", crypto.randomUUID());
    headers.set("x-forwarded-for", request.cf?.clientIp ?? "");
    return fetch(new Request(env.UPSTREAM + url.pathname + url.search, new Request(request, { headers })));
  },
};

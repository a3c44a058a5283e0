// The check of `X-Gateway-Assertion`: everything else in a service can rely on the identity it gives, and on nothing else in the request.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

const HEADER = "x-gateway-assertion";
const TYPE = "gateway-assertion+jwt";
/** How long an assertion holds, in seconds. */
const LIFETIME = 30;
/** How far the gateway's clock and ours may be apart, in seconds. */
const CLOCK_SKEW = 5;

/** Who is behind a request, as the gateway vouches for it. */
export interface Identity {
  /** Who calls; nobody on a route that needs no credential. */
  subject: string | null;
  /** What the caller may do. */
  scopes: string[];
  project: string;
  service: string;
  /** The workspace the caller acts in. */
  workspaceId: string | null;
  /** The client the caller's credential was issued to. */
  clientId: string | null;
  /** The id of the caller's credential. */
  tokenId: string | null;
  /** The id the gateway logs the request under. */
  requestId: string;
}

export interface GatewayOptions {
  /** The gateway's public URL. */
  issuer: string;
  /** This service's own URL, as the gateway's configuration has it. */
  baseUrl: string;
  jwksUri?: string;
  /** An unknown key makes us ask for the set again, but not more often than this. */
  cooldownSeconds?: number;
}

export type Handler = (request: IncomingMessage, response: ServerResponse, identity: Identity) => void;

/** Wraps a handler: answers 401, or calls it with the identity. */
export function requireGateway(options: GatewayOptions, handler: Handler) {
  const { issuer, baseUrl, jwksUri = `${issuer}/.well-known/jwks.json`, cooldownSeconds = 10 } = options;
  // Keeps the set for five minutes, and while it cannot be fetched.
  const keys = createRemoteJWKSet(new URL(jwksUri), {
    cacheMaxAge: 300_000,
    cooldownDuration: cooldownSeconds * 1000,
    timeoutDuration: 5_000,
  });

  async function check(request: IncomingMessage): Promise<Identity> {
    const [assertion, ...others] = request.headersDistinct[HEADER] ?? [];
    if (assertion === undefined || others.length > 0) throw new Error("exactly one assertion is needed");
    const { payload } = await jwtVerify(assertion, keys, {
      // The algorithm is ours, not the token's.
      algorithms: ["EdDSA"],
      typ: TYPE,
      issuer,
      clockTolerance: CLOCK_SKEW,
      maxTokenAge: LIFETIME,
      requiredClaims: ["aud", "exp", "iat", "jti", "htm", "htu", "project", "service"],
    });
    if (payload.exp! - payload.iat! > LIFETIME) throw new Error("the assertion holds too long");
    // One service, not a list of them.
    if (payload.aud !== baseUrl) throw new Error("the assertion is for another service");
    // `url` is path and query, as they stand in the request line.
    if (payload.htm !== request.method || payload.htu !== request.url) throw new Error("the assertion is for another request");
    const text = (name: string) => (typeof payload[name] === "string" ? payload[name] : null);
    return {
      subject: text("sub"),
      scopes: text("scope")?.split(" ") ?? [],
      project: text("project") ?? "",
      service: text("service") ?? "",
      workspaceId: text("workspace_id"),
      clientId: text("client_id"),
      tokenId: text("token_id"),
      requestId: text("jti") ?? "",
    };
  }

  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let identity: Identity;
    try {
      identity = await check(request);
    } catch (error) {
      response.writeHead(401, { "content-type": "application/json", "www-authenticate": "X-Gateway-Assertion" });
      response.end(JSON.stringify({ error: error instanceof Error ? error.message : "refused" }));
      return;
    }
    handler(request, response, identity);
  };
}

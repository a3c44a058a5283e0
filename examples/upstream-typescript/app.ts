// A service behind Gateward: every request must carry the gateway's assertion, and the answer says who it is from.
import { createServer } from "node:http";
import { requireGateway, type Identity } from "./gateway.ts";

function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

const issuer = variable("ISSUER");
const service = requireGateway(
  {
    issuer,
    baseUrl: variable("BASE_URL"),
    jwksUri: process.env["JWKS_URI"] ?? `${issuer}/.well-known/jwks.json`,
    cooldownSeconds: Number(process.env["JWKS_COOLDOWN_SECONDS"] ?? 10),
  },
  (_request, response, identity: Identity) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ identity }));
  },
);
createServer(service).listen(Number(variable("PORT")), "127.0.0.1");

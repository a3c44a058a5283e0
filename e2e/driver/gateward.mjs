// The `gateward` program, run as an operator would run it: with the environment of the gateway under test.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gateway, issuer } from "./gateway.mjs";
import { HttpClient } from "./http-client.mjs";
import { until } from "./until.mjs";

/** Runs `gateward` with these arguments; its standard output. Fails with its log when it does not exit 0. */
export function gateward(...args) {
  return gatewardWith({}, ...args);
}

/** The same with further variables. */
export function gatewardWith(environment, ...args) {
  return new Promise((resolve, reject) => {
    const options = { env: { PATH: process.env.PATH, ...gateway.environment, ...environment }, timeout: 60_000 };
    execFile(gateway.gateward, args, options, (error, stdout, stderr) => {
      if (error) reject(new Error(`gateward ${args.join(" ")}: ${error.code ?? error.message}\n${stderr}`));
      else resolve(stdout);
    });
  });
}

/** A name nobody else uses: a project's or client's slug. */
export function ownName(prefix) {
  return `${prefix}-${randomBytes(6).toString("hex")}`;
}

/** A flat object as an inline table of TOML. */
const table = (members) => `{ ${Object.entries(members).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join(", ")} }`;
const list = (texts) => `[${texts.map((text) => JSON.stringify(text)).join(", ")}]`;

/**
 * Applies a workspace of its own with one project and its clients, and returns when the edge knows the project.
 * `clients` are `{ client_id, redirect_uris, scopes, confidential, method, grant_types, keys }`; the secrets of those that have one come
 * back by `client_id`.
 * `services` are further ones like `api`, `{ slug, hard_limit }`.
 */
export async function applyProject({
  project = ownName("e2e"),
  upstream = gateway.upstream_url,
  scopes = ["notes:read"],
  credentials = ["access_token", "service_token"],
  clients = [],
  services = [],
  limits = [],
}) {
  const text = `[workspace]
slug = "${project}"
name = "Workspace of ${project}"
[[project]]
slug = "${project}"
[[project.service]]
slug = "api"
upstreams = ["${upstream}"]
scopes = ${list(scopes)}
public = [{ method = "GET", path = "/health" }, { method = "GET", path = "/open/*" }]
credentials = ${list(credentials)}
${limits
  .map(
    (limit) => `[[project.service.limit]]
by = "${limit.by}"
requests = ${limit.requests}
window = "${limit.window}"
tier = "${limit.tier ?? "isolate"}"
`,
  )
  .join("")}${services
  .map(
    (service) => `[[project.service]]
slug = "${service.slug}"
upstreams = ["${upstream}"]
scopes = ${list(scopes)}
credentials = ["access_token", "service_token"]
hard_limit = "${service.hard_limit}"
`,
  )
  .join("")}${clients
  .map(
    (client) => `[[client]]
client_id = "${client.client_id}"
name = "${client.name ?? client.client_id}"
project = "${project}"
redirect_uris = ${list(client.redirect_uris)}
scopes = ${list(client.scopes)}
${client.confidential === undefined ? "" : `confidential = ${client.confidential}\n`}${
  client.method === undefined ? "" : `token_endpoint_auth_method = "${client.method}"\n`
}${client.grant_types === undefined ? "" : `grant_types = ${list(client.grant_types)}\n`}${
  client.keys === undefined ? "" : `jwks = { keys = [${client.keys.map(table).join(", ")}] }\n`
}`,
  )
  .join("")}`;
  let applied;
  const folder = await mkdtemp(join(tmpdir(), "gateward-e2e-"));
  try {
    const file = join(folder, "apply.toml");
    await writeFile(file, text);
    applied = JSON.parse(await gateward("apply", file, "--json"));
  } finally {
    await rm(folder, { recursive: true });
  }
  const from = performance.now();
  const http = new HttpClient();
  // Any answer of the upstream's will do: what counts is that the edge has the route.
  const reachable = async () => (await http.get(`${issuer}/${project}/api/health`)).status !== 404;
  await until(`the edge knows the project ${project}`, reachable, { within: 6_000, every: 25 });
  http.close();
  return { project, secrets: applied.client_secrets, milliseconds: performance.now() - from };
}

/** Issues a service token for a project; the token and its id. */
export async function issueServiceToken(project, service) {
  const issued = JSON.parse(await gateward("token", "issue", "--project", project, "--service", service, "--json"));
  return { token: issued.token, jti: issued.jti };
}

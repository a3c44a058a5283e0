// The services in `examples/`, started as processes, and assertions made by hand: with the edge's own key, so that a test can say
// anything that an edge could. `cargo xtask test` makes the samples ready and names their programs.
import { spawn } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gateway, issuer } from "./gateway.mjs";
import { HttpClient } from "./http-client.mjs";
import { until } from "./until.mjs";

const folder = (name) => fileURLToPath(new URL(`../../examples/${name}/`, import.meta.url));

function named(variable, otherwise) {
  const program = process.env[variable] ?? otherwise;
  if (program !== undefined && existsSync(program)) return program;
  throw new Error(`${variable} does not name a program; \`cargo xtask test --only e2e\` makes the samples ready`);
}

/** A Node that runs TypeScript: npm's, or this one where it is new enough. */
function node() {
  const own = fileURLToPath(new URL(`../node_modules/node-${process.platform}-${process.arch}/bin/node`, import.meta.url));
  return existsSync(own) ? own : process.execPath;
}

/** How each sample is started. */
const PROGRAMS = {
  rust: () => ({ program: named("UPSTREAM_RUST"), arguments: [], cwd: folder("upstream-rust") }),
  typescript: () => ({ program: node(), arguments: ["app.ts"], cwd: folder("upstream-typescript") }),
  python: () => {
    const own = fileURLToPath(new URL("../../target/gateward/upstream-python/bin/python", import.meta.url));
    return { program: named("UPSTREAM_PYTHON", own), arguments: ["app.py"], cwd: folder("upstream-python") };
  },
};
export const SAMPLES = Object.keys(PROGRAMS);

const freePort = async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
};

/** Runs the type checker over the sample in TypeScript; its complaints. */
export async function typeErrors() {
  const child = spawn(node(), [join(folder("upstream-typescript"), "node_modules/typescript/bin/tsc")], {
    cwd: folder("upstream-typescript"),
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  const [code] = await once(child, "close");
  return code === 0 ? "" : output || `exit code ${code}`;
}

/** A running sample. */
export class Sample {
  #http = new HttpClient();

  constructor(name, child, baseUrl) {
    Object.assign(this, { name, child, baseUrl });
  }

  /** Starts a sample; `of` is the issuer it trusts. */
  static async start(name, { of = issuer, cooldownSeconds } = {}) {
    const { program, arguments: given, cwd } = PROGRAMS[name]();
    const port = await freePort();
    const baseUrl = `http://127.0.0.1:${port}`;
    const env = { PATH: process.env.PATH, ISSUER: of, BASE_URL: baseUrl, PORT: String(port), PYTHONDONTWRITEBYTECODE: "1" };
    if (cooldownSeconds !== undefined) env.JWKS_COOLDOWN_SECONDS = String(cooldownSeconds);
    const child = spawn(program, given, { cwd, env, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk) => (said = (said + chunk).slice(-2000)));
    const sample = new Sample(name, child, baseUrl);
    try {
      await until(`the sample in ${name} answers`, async () => {
        if (child.exitCode !== null) throw new Error(`it ended: ${said}`);
        return (await sample.send()).status === 401;
      });
    } catch (error) {
      await sample.stop();
      throw error;
    }
    return sample;
  }

  /** Calls it past the gateway, with these assertions. */
  send({ method = "GET", target = "/", assertions = [] } = {}) {
    const headers = assertions.length > 0 ? { "x-gateway-assertion": assertions } : {};
    return this.#http.send(method, `${this.baseUrl}${target}`, { headers });
  }

  async stop() {
    this.#http.close();
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const ended = once(this.child, "exit");
      this.child.kill();
      await ended;
    }
  }
}

/** The Ed25519 key of a seed (RFC 8410 wraps the seed in 16 fixed bytes). */
function keyOfSeed(seed) {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), Buffer.from(seed, "base64url")]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

/** The key of the edge under test, and its id. */
export function edgeKey() {
  const secrets = JSON.parse(readFileSync(join(gateway.data, "secrets.json"), "utf8"));
  const [kid] = gateway.environment.EDGE_PUBLIC_KEYS.split("=");
  return { kid, key: keyOfSeed(secrets.edge_private_key) };
}

/** A key that nobody knows. */
export function strangeKey(kid) {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return { kid, key: privateKey, jwk: { ...publicKey.export({ format: "jwk" }), kid, alg: "EdDSA", use: "sig" } };
}

export const now = () => Math.floor(Date.now() / 1000);

/** What an edge would say of a request; `changes` replaces or (undefined) removes claims. */
export function claims(sample, changes = {}) {
  return {
    iss: issuer,
    aud: sample.baseUrl,
    iat: now(),
    exp: now() + 30,
    jti: "00000000-0000-7000-8000-000000000001",
    htm: "GET",
    htu: "/v1/notes?page=2",
    project: "notes",
    service: "api",
    sub: "somebody",
    scope: "notes:read",
    ...changes,
  };
}

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A compact JWS; `header` replaces or (undefined) removes members, `signature` takes the place of Ed25519. */
export function assertion({ kid, key }, content, header = {}, signature = (input) => sign(null, input, key)) {
  const input = `${encoded({ alg: "EdDSA", kid, typ: "gateway-assertion+jwt", ...header })}.${encoded(content)}`;
  return `${input}.${signature(Buffer.from(input)).toString("base64url")}`;
}

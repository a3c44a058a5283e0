// What the tests of the edge stand on: workerd with the built worker, an origin that signs policies, an upstream that tells what
// it received. Every part listens on a port of its own and is stopped by the test that started it.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, randomUUID, sign, verify } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest, createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const DIST = process.env.EDGE_DIST ?? join(dirname(fileURLToPath(import.meta.url)), "../dist");
const WORKERD = process.env.WORKERD;
if (!WORKERD) throw new Error("WORKERD must name workerd's binary");
/** The same date as in wrangler.toml. */
const COMPATIBILITY_DATE = "2026-10-20";

export const ISSUER = "http://auth.test";
export const SERVICE_SECRET = "a shared secret of at least 32 bytes";
const base64url = (data) => Buffer.from(data).toString("base64url");
/** Where an edge asks whether what a filter hit is revoked. */
const CONFIRM = "/internal/revocations/confirm";
const sha256 = (data) => createHash("sha256").update(data).digest();

/** The key pair of a seed (RFC 8410 §7 gives the frame). */
function pairOf(seed) {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const privateKey = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

/** An Ed25519 key that signs compact JWS, drawn or of a seed. */
export class Key {
  constructor(kid, seed) {
    this.kid = kid;
    const { privateKey, publicKey } = seed ? pairOf(seed) : generateKeyPairSync("ed25519");
    this.privateKey = privateKey;
    this.publicKey = publicKey;
    const { d, x } = privateKey.export({ format: "jwk" });
    Object.assign(this, { seed: d, x });
  }

  signBytes(message) {
    return sign(null, Buffer.from(message), this.privateKey);
  }

  sign(typ, claims, header = { alg: "EdDSA", typ, kid: this.kid }) {
    const input = `${base64url(JSON.stringify(header))}.${base64url(JSON.stringify(claims))}`;
    return `${input}.${base64url(sign(null, Buffer.from(input), this.privateKey))}`;
  }

  /** The claims of a JWS of this key, or nothing. */
  read(jws) {
    const [header, payload, signature] = jws.split(".");
    const good = verify(null, Buffer.from(`${header}.${payload}`), this.publicKey, Buffer.from(signature, "base64url"));
    return good ? JSON.parse(Buffer.from(payload, "base64url")) : undefined;
  }
}

/** Stops what a test started, last first. */
export class Rig {
  #stops = [];

  async stop() {
    for (const stop of this.#stops.reverse()) await stop();
  }

  onStop(stop) {
    this.#stops.push(stop);
  }

  /** An HTTP server on `port`; 0 chooses one. */
  async serve(handler, port = 0) {
    const server = createServer(handler);
    await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
    const stop = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections(); });
    this.onStop(stop);
    return { server, port: server.address().port, url: `http://127.0.0.1:${server.address().port}`, stop };
  }
}

/** The keys of one gateway. */
export class Keys {
  policy = new Key("policy");
  edge = new Key("edge-1");
  token = new Key("k1");
  codeMac = randomBytes(32);
}

/** Reads a whole body. */
export async function bodyOf(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** An origin as the edge knows it: it checks the assertion, serves the policy and echoes everything else. */
export class Origin {
  callerAddress = "127.0.0.1";
  requests = [];
  faults = [];
  /** What the next statements say; tests change these. */
  version = 1;
  madeAt = () => Date.now();
  statementKey;
  answer = (request, response) => {
    response.writeHead(200, [["Content-Type", "application/json"], ["Set-Cookie", "a=1; Path=/"], ["Set-Cookie", "b=2; Path=/"]].flat());
    response.end(JSON.stringify({ method: request.method, url: request.url, headers: request.headers, body: request.body.toString() }));
  };
  /** Answers the policy another way. */
  policyAnswer;
  /** The bytes of the filter that the policy names, and what of its entries is revoked; `confirmAnswer` answers another way. */
  filter;
  revoked = new Set();
  confirmAnswer;

  /** How single paths are answered. */
  internal = {};
  /** How single targets are answered whose body passes the edge unread: with the request itself. */
  streamed = {};

  constructor(keys, upstreamUrl, change = () => {}) {
    this.keys = keys;
    this.statementKey = keys.policy;
    this.policy = policyOf(keys, upstreamUrl);
    change(this.policy);
  }

  async start(rig, port = 0) {
    this.server = await rig.serve((request, response) => this.#serve(request, response), port);
    return this;
  }

  /** Requests but for those that the edge makes for the policy's sake. */
  get forwarded() {
    return this.requests.filter(({ url }) => !url.startsWith("/internal/policy"));
  }

  get policyFetches() {
    return this.requests.filter(({ url }) => url === "/internal/policy").length;
  }

  /** What isolates said they decide by now, as `[isolate, version]`. */
  get acknowledged() {
    const said = this.requests.filter(({ url }) => url === "/internal/policy/acknowledgement");
    return said.map(({ assertion }) => [assertion.isolate, assertion.policy_version]);
  }

  statement(content) {
    const claims = { iss: ISSUER, version: this.version, made_at: this.madeAt(), sha256: base64url(sha256(content)) };
    return this.statementKey.sign("policy-statement+jwt", claims);
  }

  /** Makes a filter of revocations the policy's; what is listed stays. */
  useFilter(filter) {
    this.filter = filter;
    this.policy.revocations.filter = { sha256: base64url(sha256(filter)) };
  }

  /** Questions about what a filter hit, as the entries asked about. */
  get questions() {
    return this.requests.filter(({ url }) => url === CONFIRM).map(({ body }) => JSON.parse(body).entries);
  }

  confirmation({ filter, entries }) {
    const revoked = entries.filter((entry) => this.revoked.has(entry));
    const claims = { iss: ISSUER, made_at: Date.now(), filter, entries, revoked };
    return this.statementKey.sign("revocation-statement+jwt", claims);
  }

  #confirm(seen, response) {
    if (this.confirmAnswer) return this.confirmAnswer(seen, response);
    const statement = this.confirmation(JSON.parse(seen.body));
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ statement }));
  }

  /** What the store of an edge holds once this policy came from here at `at`. */
  copy(at = Date.now()) {
    const content = Buffer.from(JSON.stringify(this.policy));
    const parts = [Buffer.from(`${at}\n${this.statement(content)}\n`), content];
    return Buffer.concat(this.filter ? [...parts, Buffer.from("\n"), this.filter] : parts);
  }

  async #serve(request, response) {
    const { method, url, headers, rawHeaders } = request;
    const body = url in this.streamed ? undefined : await bodyOf(request);
    const seen = { method, url, headers, rawHeaders, body, assertion: this.keys.edge.read(headers["x-gateway-edge-assertion"] ?? "..") };
    this.requests.push(seen);
    this.faults.push(...assertionFaults(seen, this.callerAddress));
    if (url in this.streamed) return this.streamed[url](request, response);
    if (url in this.internal) return this.internal[url](seen, response);
    if (url === "/internal/policy/acknowledgement") return response.writeHead(204).end();
    if (url === CONFIRM) return this.#confirm(seen, response);
    if (url !== "/internal/policy") return this.answer(seen, response);
    if (this.policyAnswer) return this.policyAnswer(seen, response);
    const content = Buffer.from(JSON.stringify(this.policy));
    const etag = `"${this.version}"`;
    const answer = { ETag: etag, "X-Gateway-Policy-Statement": this.statement(content) };
    if (headers["if-none-match"] === etag) return response.writeHead(304, answer).end();
    const isHeld = !this.filter || headers["x-gateway-filter"] === base64url(sha256(this.filter));
    const sent = isHeld ? content : Buffer.concat([content, Buffer.from("\n"), this.filter]);
    response.writeHead(200, { ...answer, "Content-Type": "application/json" }).end(sent);
  }
}

function assertionFaults({ method, url, body, assertion }, address) {
  // The one body that the edge passes on unread.
  const isStreamed = method === "POST" && url.split("?")[0] === "/v1/sync/backfill-api-keys";
  const named = isStreamed ? { body: "unhashed", body_sha256: undefined } : { body: undefined, body_sha256: base64url(sha256(body)) };
  const expected = { iss: "edge-1", aud: ISSUER, htm: method, htu: url, ...named, address };
  if (!assertion) return [`${method} ${url}: no assertion of the edge`];
  return Object.entries(expected)
    .filter(([name, value]) => assertion[name] !== value)
    .map(([name, value]) => `${method} ${url}: ${name} is ${assertion[name]}, not ${value}`);
}

function policyOf(keys, upstreamUrl) {
  const quota = { requests: 1_000_000, window_seconds: 60 };
  const signs = ["access", "service"];
  const client = { workspace_id: "w1", project: "notes", redirect_uris: ["https://app.test/cb"], scopes: "notes:read notes:write" };
  return {
    issuer: ISSUER,
    keys: [{ kid: "k1", alg: "EdDSA", phase: "active", signs, jwk: { kty: "OKP", crv: "Ed25519", x: keys.token.x } }],
    clients: { app: client },
    projects: {
      notes: {
        workspace_id: "w1",
        services: {
          api: {
            upstreams: [{ url: upstreamUrl }],
            scopes: "notes:read",
            credentials: ["access_token", "service_token"],
            public: [{ method: "GET", path: "/health" }],
          },
        },
      },
    },
    limits: { address: quota, credential: quota, client: quota },
    revocations: {},
    freshness: { soft_seconds: 3, stale_seconds: 5, hard_seconds: 300 },
  };
}

/** A key-value store as workerd asks one: a GET or PUT of the key's path. */
export class PolicyStore {
  values = new Map();
  requests = [];
  /** Answers another way. */
  answer;

  async start(rig) {
    this.server = await rig.serve(async (request, response) => {
      const body = await bodyOf(request);
      const key = decodeURIComponent(request.url.slice(1).split("?")[0]);
      this.requests.push({ method: request.method, key, body });
      if (this.answer) return this.answer(request, response);
      if (request.method === "PUT") this.values.set(key, body);
      const value = this.values.get(key);
      if (request.method === "GET" && !value) return response.writeHead(404).end();
      response.writeHead(200).end(request.method === "GET" ? value : undefined);
    });
    return this;
  }

  /** Waits until the key was written so many times. */
  async written(key, times) {
    while (this.requests.filter((one) => one.method === "PUT" && one.key === key).length < times) {
      await once(this.server.server, "request");
      await new Promise(setImmediate);
    }
  }
}

/** An access token that is good for `notes/api`; `claims` is laid over its claims. */
export function accessToken(keys, claims = {}, key = keys.token) {
  const now = Math.floor(Date.now() / 1000);
  const good = { iss: ISSUER, sub: "u1", aud: `${ISSUER}/notes`, client_id: "app", iat: now, exp: now + 300, jti: randomUUID(), scope: "notes:read", sid: "g1" };
  return key.sign("at+jwt", { ...good, ...claims });
}

/** An authorization code, as `shared::code` makes it. */
export function authorizationCode(keys, { clientId, redirectUri, verifier, lifetime = 60 }) {
  const expiry = Buffer.alloc(8);
  expiry.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000) + lifetime));
  const id = Buffer.concat([randomBytes(16), expiry]);
  const mac = createHmac("sha256", keys.codeMac);
  const challenge = base64url(sha256(verifier));
  for (const part of ["gateward authorization code v1", id, clientId, redirectUri, challenge]) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(Buffer.byteLength(part)));
    mac.update(length).update(part);
  }
  return `${base64url(id)}.${mac.digest("base64url")}`;
}

/** A refresh token of the form that is issued: the edge cannot know that no origin ever did. */
export function refreshToken() {
  const body = `gw_rt_${base64url(randomBytes(16))}.0.${base64url(randomBytes(32))}`;
  return body + base64url(sha256(body)).slice(0, 6);
}

/** An upstream that tells what it received. */
export async function startUpstream(rig, answer) {
  const upstream = { requests: [] };
  const echo = async (request, response) => {
    const { method, url, headers, rawHeaders } = request;
    const seen = { method, url, headers, rawHeaders };
    upstream.requests.push(seen);
    if (answer) return answer(request, response);
    try {
      seen.body = (await bodyOf(request)).toString();
    } catch {
      // Cut off on its way: there is nobody to answer.
      return;
    }
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(seen));
  };
  Object.assign(upstream, await rig.serve(echo));
  return upstream;
}

/**
 * workerd with the built worker; `bindings` is laid over what the edge needs. Options: `isolates` of the worker, each behind a port
 * of its own; `exactLimits`, kept in the folder `storage` where one is named; `policyStore`, a {@link PolicyStore}; `more`, bindings
 * in workerd's own words; `extensions`, modules by name for those; `entry`, the text of a module that stands before the worker's own.
 */
export async function startEdge(rig, keys, originUrl, bindings = {}, { isolates = 1, exactLimits = false, storage, entry, ...options } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "gateward-edge-"));
  rig.onStop(() => rmSync(folder, { recursive: true }));
  cpSync(DIST, folder, { recursive: true });
  const values = { ...textBindings(keys, originUrl), ...bindings };
  const names = Array.from({ length: isolates }, (_, index) => `edge${index}`);
  const first = entry ? "before.mjs" : "entry.mjs";
  if (entry) writeFileSync(join(folder, first), entry);
  if (exactLimits && !storage) {
    storage = join(folder, "storage");
    mkdirSync(storage);
  }
  writeFileSync(join(folder, "workerd.capnp"), configuration(folder, values, names, { exactLimits, storage, first, ...options }));
  const edge = await spawnWorkerd(rig, join(folder, "workerd.capnp"), names);
  const [port] = edge.ports;
  Object.assign(edge, { port, request: (path, options) => request(port, path, options), raw: (text) => raw(port, text) });
  return edge;
}

/** The text bindings that an edge needs. */
export function textBindings(keys, originUrl) {
  return {
    ISSUER,
    ORIGIN_URL: originUrl,
    EDGE_ID: keys.edge.kid,
    EDGE_PRIVATE_KEY: keys.edge.seed,
    POLICY_PUBLIC_KEY: keys.policy.x,
    CODE_MAC_KEY: base64url(keys.codeMac),
    GATEWAY_JWT_SECRET: SERVICE_SECRET,
    CLIENT_ADDRESS: "peer",
    METRICS_TOKEN: "",
  };
}

/** A workerd that listens on the named sockets. */
export async function spawnWorkerd(rig, file, sockets, environment = process.env) {
  const child = spawn(WORKERD, ["serve", "--control-fd=3", file], { stdio: ["ignore", "pipe", "pipe", "pipe"], env: environment });
  const edge = { log: "", child };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { edge.log += data; });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  /** Ends it as a power cut would. It would wait for requests that a test left hanging otherwise. */
  edge.kill = async () => { child.kill("SIGKILL"); await ended; };
  rig.onStop(edge.kill);
  edge.ports = await new Promise((resolve, reject) => {
    let events = "";
    child.stdio[3].on("data", (data) => {
      events += data;
      const ports = sockets.map((name) => Number(new RegExp(`"socket":"${name}","port":(\\d+)`).exec(events)?.[1]));
      if (ports.every(Boolean)) resolve(ports);
    });
    child.once("exit", (code) => reject(new Error(`workerd ended with ${code}: ${edge.log}`)));
    child.once("error", reject);
  });
  /** Waits until the log has a line that matches. */
  edge.logged = async (pattern) => {
    while (!pattern.test(edge.log)) await new Promise((resolve) => child.stdout.once("data", resolve));
    return pattern.exec(edge.log);
  };
  return edge;
}

function configuration(folder, values, names, { exactLimits, storage, first, policyStore, more = [], extensions = {} }) {
  const files = readdirSync(folder, { recursive: true }).filter((name) => /\.(m?js|wasm)$/.test(name));
  // The entry comes first: workerd takes the first module as the worker.
  files.sort((a, b) => Number(b === first) - Number(a === first));
  const modules = files.map((name) => `(name = "${name}", ${name.endsWith(".wasm") ? "wasm" : "esModule"} = embed "${name}")`);
  const bindings = Object.entries(values).map(([name, value]) => `(name = "${name}", text = ${JSON.stringify(value)})`);
  if (exactLimits) bindings.push(`(name = "EXACT_LIMITS", durableObjectNamespace = (className = "ExactLimits", serviceName = "${names[0]}"))`);
  if (policyStore) bindings.push('(name = "POLICY_STORE", kvNamespace = "policy-store")');
  const store = policyStore ? [`(name = "policy-store", external = (address = "127.0.0.1:${policyStore.server.port}", http = ()))`] : [];
  const disk = storage ? [`(name = "storage", disk = (path = ${JSON.stringify(storage)}, writable = true))`] : [];
  const services = [...names.map((name) => `(name = "${name}", worker = .${name})`), ...disk, ...store, '(name = "internet", network = (allow = ["public", "private", "local"]))'];
  const sockets = names.map((name) => `(name = "${name}", address = "127.0.0.1:0", http = (), service = "${name}")`);
  const worker = (name, index) => `const ${name} :Workerd.Worker = (
  modules = [${modules.join(", ")}],
  bindings = [${[...bindings, ...more].join(", ")}],
  compatibilityDate = "${COMPATIBILITY_DATE}",
${exactLimits && index === 0 ? `  durableObjectNamespaces = [(className = "ExactLimits", uniqueKey = "exact-limits", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
` : ""});`;
  const extension = Object.entries(extensions).map(([name, text]) => `(name = "${name}", internal = true, esModule = ${JSON.stringify(text)})`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [${services.join(", ")}],
  sockets = [${sockets.join(", ")}],
  extensions = [(modules = [${extension.join(", ")}])],
);
${names.map(worker).join("\n")}
`;
}

/** One HTTP request; the path goes out as it is written. */
export function request(port, path, { method = "GET", headers = {}, body, token } = {}) {
  return new Promise((resolve, reject) => {
    const authorization = token ? { Authorization: `Bearer ${token}` } : {};
    const outgoing = httpRequest({ host: "127.0.0.1", port, path, method, headers: { ...authorization, ...headers }, agent: false }, async (response) => {
      try {
        const text = (await bodyOf(response)).toString();
        const isJson = /json/.test(response.headers["content-type"] ?? "");
        resolve({ status: response.statusCode, headers: response.headers, text, json: isJson && text ? JSON.parse(text) : undefined });
      } catch (fault) {
        reject(fault);
      }
    });
    outgoing.once("error", reject);
    outgoing.end(body);
  });
}

/** Form parameters for {@link request}. */
export function form(parameters, headers = {}) {
  return { method: "POST", headers: { "Content-Type": "application/x-www-form-urlencoded", ...headers }, body: new URLSearchParams(parameters).toString() };
}

/** Sends bytes and returns all that comes back until the other side closes. */
export function raw(port, bytes) {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes, "latin1"));
    socket.setEncoding("latin1");
    socket.on("data", (data) => { answer += data; }).once("close", () => resolve(answer)).once("error", reject);
  });
}

/** A test with a rig of its own, stopped at its end whatever happens. */
export function rigTest(name, body) {
  test(name, { timeout: 60_000 }, async () => {
    const rig = new Rig();
    try {
      await body(rig);
    } finally {
      await rig.stop();
    }
  });
}

/** A test with a whole gateway of its own; its edge must have sent nothing to the origin without a good assertion. */
export function gatewayTest(name, body, options) {
  rigTest(name, async (rig) => {
    const gateway = await startGateway(rig, options);
    try {
      await body({ rig, ...gateway });
      assert.deepEqual(gateway.origin.faults, []);
    } catch (fault) {
      fault.message += `\nlog of the edge:\n${gateway.edge.log}`;
      throw fault;
    }
  });
}

/** A whole gateway: upstream, origin and edge. */
export async function startGateway(rig, { change, bindings, upstreamAnswer, keys: given, address, edge: options } = {}) {
  const keys = Object.assign(new Keys(), given);
  const upstream = await startUpstream(rig, upstreamAnswer);
  const origin = await new Origin(keys, upstream.url, change).start(rig);
  origin.callerAddress = address ?? origin.callerAddress;
  const edge = await startEdge(rig, keys, origin.server.url, bindings, options);
  return { keys, upstream, origin, edge };
}

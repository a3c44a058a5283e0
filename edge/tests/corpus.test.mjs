// The corpus of `shared`, sent through workerd: each case gets the verdict here that it gets natively, and what was decided is what
// the upstream received. Minted anew at the present time, since the worker has a real clock.
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { authorizationCode, bodyOf, gatewayTest, ISSUER, Key, raw, SERVICE_SECRET } from "./rig.mjs";

/** The corpus' clock, in seconds (`shared::decide::sample::NOW`). */
const NOW = 1_800_000_000;
const folder = dirname(fileURLToPath(import.meta.url));
/** The sample's issuer is not on HTTPS here. */
const here = (text) => text.replaceAll("https://auth.test", ISSUER).replaceAll("https%3A%2F%2Fauth.test", encodeURIComponent(ISSUER));
const corpus = JSON.parse(here(readFileSync(join(folder, "../../shared/corpus.json"), "utf8")));
/** The policy that the corpus is judged by, and API keys: one for each case, since what is known of one is remembered. */
const SAMPLE = JSON.parse(here(readFileSync(process.env.CORPUS_SAMPLE, "utf8")));
const base64url = (data) => Buffer.from(data).toString("base64url");
const sha256 = (data) => createHash("sha256").update(data).digest();

/** Every point in time of a value, moved by `delta` seconds. */
function shifted(value, delta) {
  if (Array.isArray(value)) return value.map((one) => shifted(one, delta));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, shifted(one, delta)]));
  if (typeof value !== "number") return value;
  if (Math.abs(value - NOW) < 1e6) return value + delta;
  return Math.abs(value - NOW * 1000) < 1e9 ? value + delta * 1000 : value;
}

/** What of a case no request of HTTP can bring about, or no platform will answer. */
function unsendable({ name, expect, target, method = "GET", policy_age_seconds: age, platform, bearer, headers = [] }) {
  if (age !== undefined) return "the age of the policy is another test's";
  if (platform === true || expect === "needs signature ES256") return "nobody has the key";
  if (expect === "needs form") return "a body always comes";
  if (/[\s<>\x00-\x1f\x7f-\uffff]/.test(target) || target.includes("#")) return "workerd answers it by itself, or cuts it";
  if (!target.startsWith("/") && target !== "*") return "no request line";
  if (method === "CONNECT") return "no request";
  if (/as a float/.test(name)) return "no JavaScript writes it so";
  if (method.toUpperCase() !== method) return "workerd knows upper-case methods only";
  if (headers.length > 120) return "workerd bounds them itself";
  return undefined;
}

const seeded = (kid, byte) => new Key(kid, Buffer.alloc(32, byte));
const KEYS = { k1: seeded("k1", 1), k0: seeded("k0", 2), idp: seeded("idp-1", 6), edge: seeded("edge-1", 4) };
const HOLDER = seeded("holder", 8);

/** Lays a change over members; `null` removes one. */
function laidOver(good, change = {}) {
  return Object.fromEntries(Object.entries({ ...good, ...change }).filter(([, value]) => value !== null));
}

function token({ key = "k1", typ = "at+jwt", claims, header, payload }, now) {
  const good = { iss: ISSUER, sub: "u1", aud: `${ISSUER}/notes`, client_id: "app", iat: now, exp: now + 300, jti: "t1", scope: "notes:read", sid: "g1", workspace_id: "w1" };
  const all = laidOver(good, claims);
  if (key !== "hs256" && header === undefined && payload === undefined) return KEYS[key].sign(typ, all);
  const input = `${base64url(header ?? '{"alg":"HS256"}')}.${base64url(payload ?? JSON.stringify(all))}`;
  const signature = key === "hs256" ? createHmac("sha256", SERVICE_SECRET).update(input).digest() : (KEYS[key] ?? KEYS.k1).signBytes(input);
  return `${input}.${base64url(signature)}`;
}

function proof({ claims, header }, accessToken, now) {
  const jwk = { kty: "OKP", crv: "Ed25519", x: HOLDER.x };
  const all = laidOver({ jti: `${Math.random()}`, htm: "GET", htu: `${ISSUER}/notes/api/x`, iat: now, ath: base64url(sha256(accessToken)) }, claims);
  return HOLDER.sign("", all, laidOver({ typ: "dpop+jwt", alg: "EdDSA", jwk }, header));
}

function resolution({ credential, claims, key }, hash, now, policyKey) {
  const good = { id: "key-1", kind: "api_key", workspace_id: "w1", project: "notes", subject: "api_key:key-1", issued_at: 1, scopes: "notes:read", epoch: 7 };
  const found = credential === undefined ? null : laidOver(good, credential);
  const all = { ...{ iss: ISSUER, sha256: hash, made_at: now * 1000, credential: found }, ...claims };
  return (key === undefined ? policyKey : KEYS[key]).sign("credential-statement+jwt", all);
}

/** The request of a case, as bytes. */
function requestOf(test, keys, now, ordinal) {
  const bearer = test.bearer && token(test.bearer, now);
  const verifierOf = test.code && { clientId: test.code.client_id, redirectUri: test.code.redirect_uri, verifier: test.code.verifier, lifetime: test.code.expires_in ?? 60 };
  const body = test.form?.replace("{code}", test.code ? authorizationCode(keys, verifierOf) : "");
  const contentType = test.content_type ?? (test.form === undefined ? undefined : "application/x-www-form-urlencoded");
  const ownKey = (text) => text?.replace("{live}", SAMPLE.live_keys[ordinal % SAMPLE.live_keys.length]).replace("0123456789", String(ordinal).padStart(10, "0"));
  const headers = {
    Authorization: ownKey(test.authorization) ?? (bearer && `${test.bearer.scheme ?? "Bearer"} ${bearer}`),
    Cookie: test.cookie,
    "Sec-Fetch-Site": test.fetch_site,
    "Content-Type": contentType,
    "X-API-Key": ownKey(test.api_key),
    Origin: test.origin,
    "Access-Control-Request-Method": test.cors_method,
    "Access-Control-Request-Headers": test.cors_headers,
    Traceparent: test.traceparent,
    Upgrade: test.upgrade,
    DPoP: test.dpop && proof(test.dpop, bearer ?? "", now),
    "Client-Cert": test.certificate && `:${Buffer.from(test.certificate).toString("base64")}:`,
    "Content-Length": test.content_length ?? (body === undefined ? undefined : Buffer.byteLength(body)),
    "Transfer-Encoding": test.transfer_encoding,
    Connection: test.upgrade ? "Upgrade, close" : "close",
    "X-Test-Address": "192.0.2.1",
  };
  const given = Object.entries(headers).filter(([, value]) => value !== undefined);
  const named = new Set(given.map(([name]) => name.toLowerCase()));
  const others = (test.headers ?? []).filter((name) => !named.has(name.toLowerCase())).map((name) => [name, "forged"]);
  const lines = [`${test.method ?? "GET"} ${test.target} HTTP/1.1`, "Host: a", ...[...given, ...others].map(([name, value]) => `${name}: ${value}`)];
  const content = test.transfer_encoding ? "0\r\n\r\n" : (body ?? "x".repeat(Number(test.content_length ?? 0) % 2000));
  return `${lines.join("\r\n")}\r\n\r\n${content}`;
}

/** An answer, as far as a verdict can be read from it. */
function read(answer) {
  const [head, ...rest] = answer.split("\r\n\r\n");
  const [line, ...lines] = head.split("\r\n");
  const headers = new Map(lines.map((text) => [text.slice(0, text.indexOf(":")).toLowerCase(), text.slice(text.indexOf(":") + 1).trim()]));
  return { status: Number(line.split(" ")[1]), headers, body: rest.join("\r\n\r\n") };
}

/** The verdict that an answer shows, in the corpus' words. */
function verdictOf({ status, headers, body }, seen) {
  if (seen.upstream) return `upstream ${seen.upstream.url}`;
  if (seen.origin) return `origin ${seen.origin.url.split("?")[0]}`;
  if (status === 303) return `redirect ${new URL(headers.get("location")).searchParams.get("error")}`;
  if (status === 204) return "preflight";
  if (status === 200) return "answer";
  if (/text\/html/.test(headers.get("content-type"))) return `refuse ${status} page`;
  const json = /\{.*\}/s.exec(body);
  const problem = json ? JSON.parse(json[0]) : {};
  return `refuse ${status} ${problem.error ?? problem.type?.split("/").at(-1)}`;
}

/** What a case must come to here: a question is answered before the caller hears anything. */
function expected({ expect }) {
  if (expect === "needs key") return "refuse 401 token-unknown-key";
  if (expect === "needs credential") return "refuse 503 origin-unavailable";
  if (expect.startsWith("answer ")) return "answer";
  return expect.replace("upstream http://", "upstream /");
}

const HOP_BY_HOP = new Set(["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection", "content-length", "host"]);

function headerFaults({ set = [], delete: deleted, headers = [], answer = [] }, received, answered) {
  const names = received.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
  const faults = set.filter(([name, value]) => name !== "traceparent" && name !== "x-gateway-request-id" && received.headers[name] !== value).map(([name]) => `${name} is ${received.headers[name]}`);
  const wasSet = new Set(set.map(([name]) => name));
  if (deleted) {
    const gone = new Set(deleted);
    const own = (name) => wasSet.has(name) || /^x-gateway-|^x-forwarded-for$/.test(name);
    faults.push(...deleted.filter((name) => names.includes(name.toLowerCase()) && !own(name.toLowerCase())).map((name) => `${name} arrived`));
    const kept = headers.filter((name) => !gone.has(name) && !HOP_BY_HOP.has(name.toLowerCase()));
    faults.push(...kept.filter((name) => !names.includes(name.toLowerCase())).map((name) => `${name} did not arrive`));
  }
  faults.push(...answer.filter(([name, value]) => !(answered.headers.get(name) ?? "").includes(value)).map(([name]) => `the answer's ${name} is ${answered.headers.get(name)}`));
  return faults;
}

/** Near the second's beginning, for a case whose verdict hangs on a second. */
async function earlyInASecond() {
  while (Date.now() % 1000 > 400) await new Promise((resolve) => setTimeout(resolve, 20));
}

const started = Math.floor(Date.now() / 1000);
const settings = {
  bindings: { CLIENT_ADDRESS: "x-test-address", CLIENT_CERTIFICATE: "client-cert-header" },
  change: (policy) => {
    const upstream = policy.projects.notes.services.api.upstreams[0].url;
    const moved = JSON.parse(JSON.stringify(shifted(SAMPLE.policy, started - NOW)).replaceAll('"url":"http://', `"url":"${upstream}/`));
    Object.assign(policy, moved);
  },
  keys: { token: KEYS.k1, codeMac: Buffer.alloc(32, 9) },
  address: "192.0.2.1",
};

gatewayTest("every case of the corpus gets its verdict through workerd, and the upstream what was decided", async ({ keys, upstream, origin, edge }) => {
  let resolve;
  const echo = origin.answer;
  origin.answer = (request, response) => {
    if (request.url !== "/internal/credentials/resolve") return echo(request, response);
    const statement = resolve?.(JSON.parse(request.body.toString()).sha256);
    if (statement === undefined) return response.writeHead(503).end();
    return response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ statement }));
  };
  const faults = [];
  let sent = 0;
  for (const test of corpus) {
    if (unsendable(test)) continue;
    const hangsOnASecond = /expire|ahead|skew|old|future|not yet|a second|now/i.test(test.name);
    if (hangsOnASecond) await earlyInASecond();
    // A cut-off lies at the second the policy was made: cases about it keep to that.
    const now = /cut off|since then|signed in again/.test(test.name) ? started : Math.floor(Date.now() / 1000);
    const minted = shifted(test, now - NOW);
    resolve = minted.statement && ((hash) => resolution(minted.statement, hash, now, keys.policy));
    const before = { upstream: upstream.requests.length, origin: origin.forwarded.length };
    const answer = read(await raw(edge.port, requestOf(minted, keys, now, sent)));
    sent += 1;
    const seen = {
      upstream: upstream.requests[before.upstream],
      origin: origin.forwarded.slice(before.origin).find(({ url }) => !url.startsWith("/internal/")),
    };
    const verdict = verdictOf(answer, seen);
    // HEAD has no body to tell by.
    const agrees = test.method === "HEAD" && verdict.endsWith("undefined") ? expected(test).startsWith(`refuse ${answer.status}`) : verdict === expected(test);
    if (!agrees) faults.push(`${test.name}: expected ${expected(test)}, got ${verdict}`);
    else if (seen.upstream) faults.push(...headerFaults(test, seen.upstream, answer).map((fault) => `${test.name}: ${fault}`));
  }
  assert.deepEqual(faults, []);
  assert.ok(sent > corpus.length * 0.8, `${sent} of ${corpus.length} cases could be sent`);
}, settings);

// The demo's web app: an OAuth client that signs people in with authorization code and PKCE and then calls a project
// through the gateway. No library, so that every step can be read. Its tokens stay in this process; the browser only
// holds a cookie.
import { createServer } from "node:http";
import { createHash, randomBytes } from "node:crypto";
import { renderPage, SECURITY_HEADERS } from "./app-page.mjs";

const PORT = Number(process.env.PORT ?? 9101);
const ISSUER = process.env.ISSUER ?? "http://127.0.0.1:8787";
const CLIENT_ID = process.env.CLIENT_ID ?? "demo-app";
const SCOPE = process.env.SCOPE ?? "notes:read notes:write";
const ORIGIN = `http://127.0.0.1:${PORT}`;
const REDIRECT_URI = `${ORIGIN}/callback`;
const COOKIE = "demo_app_session";
const SESSIONS_KEPT = 10_000;

// Session id → { state, verifier } while signing in, then { tokens, result }.
const sessions = new Map();
let metadata;

const base64url = (bytes) => Buffer.from(bytes).toString("base64url");

// RFC 8414: everything about the gateway but its address is learnt from it.
async function discover() {
  if (metadata !== undefined) return metadata;
  const response = await fetch(`${ISSUER}/.well-known/oauth-authorization-server`, { signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`the gateway's metadata answered ${response.status}`);
  const found = await response.json();
  // RFC 8414 section 3.3: metadata of another issuer must not be used.
  if (found.issuer !== ISSUER) throw new Error(`the metadata is of ${found.issuer}, not of ${ISSUER}`);
  metadata = found;
  return found;
}

function sessionOf(request) {
  const cookies = (request.headers.cookie ?? "").split(/;\s*/).map((pair) => pair.split("="));
  const id = cookies.find(([name]) => name === COOKIE)?.[1];
  return id === undefined ? undefined : sessions.get(id);
}

function openSession(response, value) {
  const id = base64url(randomBytes(32));
  sessions.set(id, value);
  if (sessions.size > SESSIONS_KEPT) sessions.delete(sessions.keys().next().value);
  response.setHeader("Set-Cookie", `${COOKIE}=${id}; HttpOnly; SameSite=Lax; Path=/`);
}

async function signIn(response) {
  const { authorization_endpoint } = await discover();
  const verifier = base64url(randomBytes(32));
  const state = base64url(randomBytes(16));
  openSession(response, { state, verifier });
  const url = new URL(authorization_endpoint);
  url.search = new URLSearchParams({
    response_type: "code",
    client_id: CLIENT_ID,
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    state,
    code_challenge: base64url(createHash("sha256").update(verifier).digest()),
    code_challenge_method: "S256",
  }).toString();
  redirect(response, url.href);
}

async function callback(request, response, query) {
  const started = sessionOf(request);
  if (started?.verifier === undefined) return show(response, 400, { error: "This browser did not begin to sign in here." });
  if (query.get("state") !== started.state) return show(response, 400, { error: "The answer belongs to another sign-in (state)." });
  // RFC 9207: the answer must come from the issuer that was asked.
  if (query.has("iss") && query.get("iss") !== ISSUER) return show(response, 400, { error: `The answer is from ${query.get("iss")}.` });
  if (query.has("error")) {
    const words = query.get("error_description") ?? "";
    return show(response, 400, { error: `The gateway refused: ${query.get("error")} ${words}`.trim() });
  }
  const { token_endpoint } = await discover();
  const answer = await fetch(token_endpoint, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: CLIENT_ID,
      redirect_uri: REDIRECT_URI,
      code: query.get("code") ?? "",
      code_verifier: started.verifier,
    }),
    signal: AbortSignal.timeout(15_000),
  });
  const tokens = await answer.json();
  if (!answer.ok) return show(response, 502, { error: `No token: ${tokens.error} ${tokens.error_description ?? ""}`.trim() });
  // A new session id: the one from before the sign-in may be known to others.
  const session = { tokens };
  openSession(response, session);
  session.result = await callProject(tokens.access_token);
  redirect(response, "/");
}

async function callProject(token) {
  const url = `${ISSUER}/notes/api/hello`;
  const started = performance.now();
  const answer = await fetch(url, { headers: { Authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(15_000) });
  return { url, status: answer.status, milliseconds: performance.now() - started, body: await answer.text() };
}

async function signOut(request, response) {
  const session = sessionOf(request);
  const token = session?.tokens?.refresh_token ?? session?.tokens?.access_token;
  if (token !== undefined) {
    const { revocation_endpoint } = await discover();
    const body = new URLSearchParams({ token, client_id: CLIENT_ID });
    await fetch(revocation_endpoint, { method: "POST", body, signal: AbortSignal.timeout(15_000) });
  }
  for (const [id, value] of sessions) if (value === session) sessions.delete(id);
  redirect(response, "/");
}

function redirect(response, location) {
  response.writeHead(303, { ...SECURITY_HEADERS, Location: location }).end();
}

function show(response, status, view) {
  response.writeHead(status, { ...SECURITY_HEADERS, "Content-Type": "text/html; charset=utf-8" });
  response.end(renderPage(view));
}

async function route(request, response) {
  const url = new URL(request.url, ORIGIN);
  const wanted = `${request.method} ${url.pathname}`;
  // The browser names where a form was sent from; only this app's own page may sign in or out.
  if (request.method === "POST" && request.headers.origin !== ORIGIN) {
    return show(response, 403, { error: "That form was not on this app's page." });
  }
  if (wanted === "GET /health") return response.writeHead(200).end("ok\n");
  if (wanted === "POST /sign-in") return signIn(response);
  if (wanted === "GET /callback") return callback(request, response, url.searchParams);
  if (wanted === "POST /call") {
    const session = sessionOf(request);
    if (session?.tokens !== undefined) session.result = await callProject(session.tokens.access_token);
    return redirect(response, "/");
  }
  if (wanted === "POST /sign-out") return signOut(request, response);
  if (wanted === "GET /") return show(response, 200, sessionOf(request) ?? {});
  show(response, 404, { error: "There is no such page." });
}

const server = createServer((request, response) => {
  route(request, response).catch((error) => {
    console.error(error);
    show(response, 502, { error: `The gateway could not be used: ${error.message}` });
  });
});
server.listen(PORT, "127.0.0.1");
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
}

// A project is changed through the operators' interface while it is in use: compared first, in force at the edge without a deployment,
// and rolled back. Nobody else's token reads or changes it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { assertProblem } from "./driver/assertions.mjs";
import { command } from "./driver/database.mjs";
import { applyProject, gateward, issueServiceToken, ownName } from "./driver/gateward.mjs";
import { issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { until } from "./driver/until.mjs";
import { startUpstream } from "./driver/upstream.mjs";

const BOUND = 6_000;

let old;
let fresh;
before(async () => {
  [old, fresh] = await Promise.all([startUpstream(), startUpstream()]);
});
after(() => Promise.all([old.close(), fresh.close()]));

/** A project of its own on the old upstream, with a token that may change it and one that may call it. */
async function stage() {
  const { project } = await applyProject({ upstream: old.url });
  const issue = (service, scope) =>
    gateward("token", "issue", "--project", project, "--service", service, "--scope", scope, "--json").then(JSON.parse);
  const [deployer, caller] = await Promise.all([issue("deployer", "gateward:projects"), issue("caller", "notes:read")]);
  const http = new HttpClient();
  const bearer = { authorization: `Bearer ${deployer.token}` };
  const api = (method, path, { body, headers = {} } = {}) =>
    http.send(method, `${issuer}/v1/projects${path}`, {
      headers: { ...bearer, ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  const call = (method, path, body) =>
    http.send(method, `${issuer}/${project}/api${path}`, { headers: { authorization: `Bearer ${caller.token}` }, body });
  return { project, api, call, http };
}

test("a change is compared, made with no redeploy, followed by the edge within 6 s, and rolled back", async (t) => {
  const { project, api, call, http } = await stage();
  const first = await api("GET", `/${project}`);
  assert.equal(first.status, 200, first.text);
  assert.equal(first.headers.etag, '"1"');
  assert.equal((await call("GET", "/v1/x")).json.url, "/v1/x");
  const seenByOld = old.requests.length;
  assert.ok(seenByOld > 0);

  const declaration = first.json;
  const [service] = declaration.service;
  service.upstreams = [fresh.url];
  service.methods = ["GET", "POST"];
  service.max_body = "1kB";
  service.rewrite = [{ from: "/v1/*", to: "/api/v1/*" }];
  service.route = [{ path: "/admin/*", scopes: ["notes:admin"] }];
  declaration.cors = { origins: ["https://app.example.com"], methods: ["PUT"], headers: ["authorization"] };

  const told = await api("PUT", `/${project}?dry_run=true`, { body: declaration, headers: { "if-match": '"1"' } });
  assert.equal(told.status, 200, told.text);
  assert.deepEqual(
    told.json.changes.map(({ path }) => path),
    ["cors", ...["max_body", "methods", "rewrite[/v1/*]", "route[/admin/*]", "upstreams"].map((name) => `service[api].${name}`)],
  );
  assert.deepEqual((await api("GET", `/${project}`)).json, first.json, "a dry run changes nothing");

  const changed = await api("PUT", `/${project}`, { body: declaration, headers: { "if-match": '"1"' } });
  const from = performance.now();
  assert.equal(changed.status, 200, changed.text);
  assert.equal(changed.headers.etag, '"2"');
  assert.deepEqual(changed.json.changes, told.json.changes);
  const stale = await api("PUT", `/${project}`, { body: first.json, headers: { "if-match": '"1"' } });
  assert.equal(assertProblem(stale, 412, "revision-changed").revision, 2);

  const follows = (upstream) => async () => {
    const before = upstream.requests.length;
    const answer = await call("GET", "/v1/x");
    assert.equal(answer.status, 200, answer.text);
    return upstream.requests.length > before && answer;
  };
  const rewritten = await until("the edge sends requests to the new upstream", follows(fresh), { within: BOUND, every: 25 });
  t.diagnostic(`the edge followed ${(performance.now() - from).toFixed(0)} ms after the change`);
  assert.equal(rewritten.json.url, "/api/v1/x");
  assert.equal((await call("DELETE", "/v1/x")).status, 405);
  assertProblem(await call("GET", "/admin/x"), 403, "insufficient-scope");
  assertProblem(await call("POST", "/v1/x", "x".repeat(1001)), 413, "body-too-large");
  const preflight = await http.send("OPTIONS", `${issuer}/${project}/api/v1/x`, {
    headers: { origin: "https://app.example.com", "access-control-request-method": "PUT", "access-control-request-headers": "authorization" },
  });
  assert.equal(preflight.status, 204, preflight.text);
  assert.equal(preflight.headers["access-control-allow-origin"], "https://app.example.com");

  const back = await api("POST", `/${project}/rollback`, { body: { revision: 1 } });
  assert.equal(back.status, 200, back.text);
  assert.equal(back.headers.etag, '"3"');
  await until("the edge sends requests to the old upstream", follows(old), { within: BOUND, every: 25 });
  assert.equal((await call("GET", "/v1/x")).json.url, "/v1/x");
  assert.deepEqual((await api("GET", `/${project}`)).json, first.json);
  const history = await api("GET", `/${project}/revisions`);
  assert.deepEqual(
    history.json.revisions.map(({ revision, restored_from }) => [revision, restored_from]),
    [[3, 1], [2, null], [1, null]],
  );
});

test("a limit that is set is in force within 6 s, and one that is taken away is not any more", async () => {
  const { project, api, call } = await stage();
  const declaration = (await api("GET", `/${project}`)).json;
  const [service] = declaration.service;
  service.limit = [{ by: "subject", requests: 3, window: "1h" }];
  assert.equal((await api("PUT", `/${project}`, { body: declaration })).status, 200);
  const limited = await until(
    "calls are refused",
    async () => {
      const answer = await call("GET", "/x");
      return answer.status === 429 && answer;
    },
    { within: BOUND, every: 25 },
  );
  assertProblem(limited, 429, "rate-limited");
  assert.match(limited.headers["ratelimit-policy"] ?? "", /q=3;w=3600/);
  delete service.limit;
  assert.equal((await api("PUT", `/${project}`, { body: declaration })).status, 200);
  await until("calls are let through", async () => (await call("GET", "/x")).status === 200, { within: BOUND, every: 25 });
});

test("faults are told all at once, each with its place, and nothing changes", async () => {
  const { project, api } = await stage();
  const body = { service: [{ slug: "api", upstreams: ["ftp://h"], methods: ["get"] }], cors: { origins: ["*", "https://a.test"] } };
  const faulty = assertProblem(await api("PUT", `/${project}`, { body }), 422, "declaration-faulty");
  assert.deepEqual(faulty.faults.map(({ pointer }) => pointer), ["/cors/origins", "/service/0/upstreams/0", "/service/0/methods/0"]);
  assert.ok(faulty.faults.every(({ why }) => why.length > 10));
  assert.equal((await api("GET", `/${project}`)).headers.etag, '"1"');
});

test("without a token, with a caller's, or with another workspace's there is nothing to see or change", async () => {
  const [mine, theirs] = await Promise.all([stage(), stage()]);
  assertProblem(await mine.api("GET", `/${theirs.project}`), 404, "not-found");
  assertProblem(await mine.api("GET", `/${theirs.project}/revisions/1`), 404, "not-found");
  const own = (await mine.api("GET", `/${mine.project}`)).json;
  const foreign = { ...own, slug: theirs.project };
  assertProblem(await mine.api("PUT", `/${theirs.project}`, { body: foreign }), 403, "wrong-project");
  assertProblem(await mine.api("POST", `/${theirs.project}/rollback`, { body: { revision: 1 } }), 404, "not-found");
  assert.deepEqual((await mine.api("GET", "")).json.projects.map(({ slug }) => slug), [mine.project]);
  const none = await mine.http.send("GET", `${issuer}/v1/projects`);
  assertProblem(none, 401, "credential-missing");
  const { token } = await issueServiceToken(mine.project, "caller");
  const unscoped = await mine.http.get(`${issuer}/v1/projects`, { headers: { authorization: `Bearer ${token}` } });
  assertProblem(unscoped, 403, "insufficient-scope");
});

test("an owner's access token for the gateway itself is let in, a stranger's is not", async () => {
  const project = ownName("e2e");
  const redirectUri = `https://${project}.example.test/callback`;
  const scopes = ["gateward:projects"];
  await applyProject({ project, clients: [{ client_id: `${project}-console`, redirect_uris: [redirectUri], scopes }] });
  const app = new OAuthApp({ project, clientId: `${project}-console`, redirectUri, scopes });
  const person = new Person();
  const { access_token: token } = await person.signInTo(app, { resource: issuer });
  const http = new HttpClient();
  const read = () => http.get(`${issuer}/v1/projects/${project}`, { headers: { authorization: `Bearer ${token}` } });
  assertProblem(await read(), 403, "credential-not-accepted");
  await command(
    `INSERT INTO auth_gateway.workspace_memberships (workspace_id, user_id, role, created_at)
     SELECT w.id, u.id, 'owner', now() FROM auth_gateway.workspaces w, auth_gateway.user_accounts u
     WHERE w.slug = $1 AND u.email = $2`,
    [project, person.email],
  );
  const answer = await read();
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.slug, project);
  // For the gateway and for nothing else: the project does not take it.
  const call = await http.get(`${issuer}/${project}/api/x`, { headers: { authorization: `Bearer ${token}` } });
  assertProblem(call, 401, "token-wrong-audience");
  const { access_token: forProject } = await person.signInTo(app);
  const wrong = await http.get(`${issuer}/v1/projects`, { headers: { authorization: `Bearer ${forProject}` } });
  assertProblem(wrong, 401, "token-wrong-audience");
});

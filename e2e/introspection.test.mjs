// Introspection by openid-client: of a client's own tokens, of its project's, signed, and nothing of anybody else's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRemoteJWKSet, jwtVerify } from "jose";
import * as client from "openid-client";
import { applyProject, issueServiceToken, ownName } from "./driver/gateward.mjs";
import { issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";

/** Two clients of one project, each with a secret, and their configurations. */
async function register() {
  const project = ownName("e2e");
  const ids = ["worker", "resource"].map((name) => `${project}-${name}`);
  const { secrets } = await applyProject({
    project,
    clients: ids.map((client_id) => ({
      client_id,
      redirect_uris: [],
      scopes: ["notes:read"],
      method: "client_secret_basic",
      grant_types: ["client_credentials"],
    })),
  });
  const configure = (id) =>
    client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(secrets[id]), {
      algorithm: "oauth2",
      execute: [client.allowInsecureRequests],
    });
  return { project, ids, secrets, configs: await Promise.all(ids.map(configure)) };
}

test("a token is told of to its client and its project, and to nobody else; revoked, it is not active at once", async () => {
  const { configs: [worker, resource], ids } = await register();
  const { configs: [foreign] } = await register();
  const { access_token: token } = await client.clientCredentialsGrant(worker);
  for (const config of [worker, resource]) {
    const told = await client.tokenIntrospection(config, token);
    assert.equal(told.active, true);
    assert.equal(told.sub, `client:${ids[0]}`);
    assert.equal(told.scope, "notes:read");
  }
  assert.deepEqual(await client.tokenIntrospection(foreign, token), { active: false });
  await client.tokenRevocation(worker, token);
  assert.deepEqual(await client.tokenIntrospection(resource, token), { active: false });
});

test("the answer is signed for who asks, as RFC 9701 has it", async () => {
  const { configs: [worker], ids: [id], secrets } = await register();
  const { access_token: token } = await client.clientCredentialsGrant(worker);
  const http = new HttpClient();
  const answer = await http.post(`${issuer}/oauth/introspect`, { token }, {
    headers: {
      accept: "application/token-introspection+jwt",
      authorization: `Basic ${Buffer.from(`${id}:${secrets[id]}`).toString("base64")}`,
    },
  });
  assert.equal(answer.headers["content-type"], "application/token-introspection+jwt");
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
  const { payload } = await jwtVerify(answer.text, keys, { issuer, audience: id, typ: "token-introspection+jwt" });
  assert.equal(payload.token_introspection.active, true);
  http.close();
});

test("a service asks with its token, under either name of the endpoint", async () => {
  const { project, configs: [worker] } = await register();
  const { access_token: token } = await client.clientCredentialsGrant(worker);
  const service = await issueServiceToken(project, "notes-api");
  const http = new HttpClient();
  for (const prefix of ["oauth", "api/v1/oauth"]) {
    const headers = { authorization: `Bearer ${service.token}` };
    const answer = await http.post(`${issuer}/${prefix}/introspect`, { token }, { headers });
    assert.equal(answer.json.active, true, answer.text);
  }
  assert.equal((await http.post(`${issuer}/oauth/introspect`, { token })).json.error, "invalid_client");
  http.close();
});

// Clients that act for themselves, by openid-client and each way to authenticate, and called through the edge.
import assert from "node:assert/strict";
import { test } from "node:test";
import { calculateJwkThumbprint, decodeJwt, exportJWK, generateKeyPair } from "jose";
import * as client from "openid-client";
import { applyProject, ownName } from "./driver/gateward.mjs";
import { issuer } from "./driver/gateway.mjs";
import { until } from "./driver/until.mjs";

const OPTIONS = { algorithm: "oauth2", execute: [client.allowInsecureRequests] };

/** Registers a client with a project of its own. */
async function register(registration) {
  const project = ownName("e2e");
  const clientId = `${project}-worker`;
  const { secrets } = await applyProject({
    project,
    clients: [
      { client_id: clientId, redirect_uris: [], scopes: ["notes:read"], grant_types: ["client_credentials"], ...registration },
    ],
  });
  return { project, clientId, secret: secrets[clientId] };
}

const discover = (clientId, authentication) =>
  client.discovery(new URL(issuer), clientId, undefined, authentication, OPTIONS);

const bySecret = (method, authenticate) => async () => {
  const worker = await register({ method });
  return { ...worker, config: await discover(worker.clientId, authenticate(worker.secret)) };
};

const byKey = (alg) => async () => {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(jwk);
  const worker = await register({ method: "private_key_jwt", keys: [{ ...jwk, kid }] });
  assert.equal(worker.secret, undefined, "a client with a key has no secret");
  return { ...worker, config: await discover(worker.clientId, client.PrivateKeyJwt({ key: privateKey, kid })) };
};

const METHODS = {
  client_secret_basic: bySecret("client_secret_basic", client.ClientSecretBasic),
  client_secret_post: bySecret("client_secret_post", client.ClientSecretPost),
  "private_key_jwt with Ed25519": byKey("Ed25519"),
  "private_key_jwt with ES256": byKey("ES256"),
  "private_key_jwt with RS256": byKey("RS256"),
};

for (const [name, prepare] of Object.entries(METHODS)) {
  test(`${name}: a token for itself, which the project's service takes as the client's`, async () => {
    const { config, clientId, project } = await prepare();
    const tokens = await client.clientCredentialsGrant(config, { scope: "notes:read" });
    assert.equal(tokens.refresh_token, undefined);
    assert.equal(decodeJwt(tokens.access_token).sub, `client:${clientId}`);
    const called = await client.fetchProtectedResource(config, tokens.access_token, new URL(`${issuer}/${project}/api/x`), "GET");
    assert.equal(called.status, 200);
    const { headers } = await called.json();
    assert.equal(headers["x-gateway-client"], clientId);
    assert.equal(headers["x-gateway-subject"], `client:${clientId}`);

    await assert.rejects(client.clientCredentialsGrant(config, { scope: "notes:write" }), { error: "invalid_scope" });
    await assert.rejects(client.clientCredentialsGrant(config, { resource: `${issuer}/demo` }), { error: "invalid_target" });
    const narrow = await client.clientCredentialsGrant(config, { resource: `${issuer}/${project}/api` });
    assert.equal(decodeJwt(narrow.access_token).aud, `${issuer}/${project}/api`);

    await client.tokenRevocation(config, tokens.access_token);
    const refused = async () => {
      const url = new URL(`${issuer}/${project}/api/x`);
      const answer = await fetch(url, { headers: { authorization: `Bearer ${tokens.access_token}` } });
      return answer.status === 401;
    };
    await until("a revoked token of a client is refused", refused, { within: 6_000 });
  });
}

test("attack 14: a key of one client proves nothing for another, and a secret nothing in another way", async () => {
  const { privateKey } = await generateKeyPair("Ed25519");
  const { publicKey } = await generateKeyPair("Ed25519", { extractable: true });
  const worker = await register({ method: "private_key_jwt", keys: [await exportJWK(publicKey)] });
  const forged = await discover(worker.clientId, client.PrivateKeyJwt(privateKey));
  await assert.rejects(client.clientCredentialsGrant(forged), { error: "invalid_client", status: 401 });
  const batch = await register({ method: "client_secret_basic" });
  const posted = await discover(batch.clientId, client.ClientSecretPost(batch.secret));
  await assert.rejects(client.clientCredentialsGrant(posted), { error: "invalid_client", status: 401 });
});

// Requests to projects: verified at the edge, never at the origin.
import assert from "node:assert/strict";

import { accessToken, gatewayTest } from "./rig.mjs";

gatewayTest("a good token reaches the upstream, with the identity it stands for", async ({ keys, upstream, origin, edge }) => {
  const answer = await edge.request("/notes/api/a/b?x=1&y=%20'", { token: accessToken(keys, { jti: "t1", workspace_id: "w1" }) });
  assert.equal(answer.status, 200, answer.text);
  const { url, headers } = upstream.requests[0];
  assert.equal(url, "/a/b?x=1&y=%20%27");
  assert.equal(headers.authorization, undefined);
  const identity = { project: "notes", service: "api", subject: "u1", scopes: "notes:read", workspace: "w1", client: "app", "token-id": "t1" };
  for (const [name, value] of Object.entries(identity)) assert.equal(headers[`x-gateway-${name}`], value, name);
  assert.match(headers["x-gateway-request-id"], /^[0-9a-f-]{36}$/);
  assert.equal(headers["x-forwarded-for"], "127.0.0.1");
  assert.deepEqual(origin.forwarded, []);
  assert.equal(origin.policyFetches, 1);
});

// What a deployment chooses by its bindings: where it stands, and whose word on client certificates it takes.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import { Keys, Origin, accessToken, gatewayTest, rigTest, startEdge, startUpstream } from "./rig.mjs";

const slug = (answer) => `${answer.status} ${answer.json?.type?.split("/").at(-1) ?? "ok"}`;

rigTest("an upstream of the edge's own region takes the requests, and another one when it is gone", async (rig) => {
  const keys = new Keys();
  const upstreams = { eu: await startUpstream(rig), us: await startUpstream(rig) };
  const origin = await new Origin(keys, "", (policy) => {
    policy.projects.notes.services.api.upstreams = Object.entries(upstreams).map(([region, { url }]) => ({ url, region, weight: region === "us" ? 9 : 1 }));
  }).start(rig);
  const edge = await startEdge(rig, keys, origin.server.url, { REGION: "eu" });
  const call = async () => assert.equal((await edge.request("/notes/api/x", { token: accessToken(keys) })).status, 200);
  for (let turn = 0; turn < 20; turn += 1) await call();
  assert.deepEqual([upstreams.eu.requests.length, upstreams.us.requests.length], [20, 0]);
  await upstreams.eu.stop();
  for (let turn = 0; turn < 5; turn += 1) await call();
  assert.equal(upstreams.us.requests.length, 5);
  assert.match((await edge.request("/metrics")).text, /^gateward_edge_binding\{name="REGION"\} 1$/m);
  // The log tells which of the service's upstreams it was, not where that is.
  await edge.logged(/"upstream":1,"status":200/);
  assert.equal(edge.log.includes(upstreams.us.url), false);
});

const DER = Buffer.from("a certificate's DER");
const digest = createHash("sha256").update(DER).digest();
const withCertificate = (policy) => {
  policy.projects.notes.certificates = { [digest.toString("base64url")]: { id: "cert-1", service: "billing", scopes: "notes:read" } };
  policy.projects.notes.services.api.credentials = ["client_certificate"];
};
// Only Cloudflare can say what it verified; here a module stands in for it, by what a caller asks it to say.
const cloudflare = `import worker from "./entry.mjs";
export { ExactLimits } from "./entry.mjs";
export default {
  fetch(request, env, context) {
    const said = request.headers.get("x-said");
    return worker.fetch(new Request(request, { cf: { ...request.cf, tlsClientAuth: said === null ? undefined : JSON.parse(said) } }), env, context);
  },
};`;
const said = (members = {}) => ({ "X-Said": JSON.stringify({ certPresented: "1", certVerified: "SUCCESS", certRevoked: "0", certFingerprintSHA256: digest.toString("hex"), ...members }) });

gatewayTest("a certificate that Cloudflare verified counts, one that is revoked does not", async ({ upstream, edge }) => {
  const call = async (headers) => slug(await edge.request("/notes/api/x", { headers }));
  assert.equal(await call(said()), "200 ok");
  assert.equal(upstream.requests.at(-1).headers["x-gateway-token-id"], "notes/cert-1");
  assert.match(upstream.requests.at(-1).headers["x-gateway-subject"], /billing/);
  for (const members of [
    { certRevoked: "1" },
    { certRevoked: undefined },
    { certVerified: "FAILED:self signed certificate" },
    { certVerified: "NONE" },
    { certFingerprintSHA256: "" },
    { certFingerprintSHA256: createHash("sha256").update("another").digest("hex") },
    { certFingerprintSHA256: `${digest.toString("hex")} 0` },
  ]) assert.match(await call(said(members)), /^401 /, JSON.stringify(members));
  assert.equal(await call({}), "401 credential-missing");
  assert.equal(await call({ "Client-Cert": `:${DER.toString("base64")}:` }), "401 credential-missing");
  assert.equal(upstream.requests.length, 1);
}, { change: withCertificate, bindings: { CLIENT_CERTIFICATE: "cloudflare" }, edge: { entry: cloudflare } });

for (const mode of ["off", "client-cert-header"]) {
  gatewayTest(`Cloudflare's word is not taken with CLIENT_CERTIFICATE=${mode}`, async ({ upstream, edge }) => {
    assert.equal(slug(await edge.request("/notes/api/x", { headers: said() })), "401 credential-missing");
    const own = await edge.request("/notes/api/x", { headers: { "Client-Cert": `:${DER.toString("base64")}:` } });
    assert.equal(slug(own), mode === "off" ? "401 credential-missing" : "200 ok");
    assert.equal(upstream.requests.length, mode === "off" ? 0 : 1);
    assert.equal(upstream.requests[0]?.headers["client-cert"], undefined);
  }, { change: withCertificate, bindings: { CLIENT_CERTIFICATE: mode }, edge: { entry: cloudflare } });
}

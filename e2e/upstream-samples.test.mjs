// The services in `examples/`, behind the gateway: each believes the assertion of the edge for exactly the request it came with, and
// nothing else. What a test could not have from a real edge, it makes with the edge's own key.
import assert from "node:assert/strict";
import { createHmac, createPublicKey } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gateward, issueServiceToken, ownName } from "./driver/gateward.mjs";
import { issuer } from "./driver/gateway.mjs";
import { HttpClient } from "./driver/http-client.mjs";
import { OAuthApp } from "./driver/oauth-app.mjs";
import { Person } from "./driver/person.mjs";
import { until } from "./driver/until.mjs";
import { SAMPLES, Sample, assertion, claims, edgeKey, now, strangeKey, typeErrors } from "./driver/upstream-samples.mjs";

const project = ownName("samples");
const http = new HttpClient();
const samples = {};
let serviceToken;
let accessToken;

before(async () => {
  for (const name of SAMPLES) samples[name] = await Sample.start(name);
  const services = SAMPLES.map(
    (name) => `[[project.service]]
slug = "${name}"
upstreams = ["${samples[name].baseUrl}"]
public = [{ method = "GET", path = "/health" }]
credentials = ["access_token", "service_token"]
assertion = true
`,
  );
  const folder = await mkdtemp(join(tmpdir(), "gateward-samples-"));
  const file = join(folder, "apply.toml");
  await writeFile(file, `[workspace]\nslug = "${project}"\nname = "Samples"\n[[project]]\nslug = "${project}"\n${services.join("")}`);
  await gateward("apply", file);
  await rm(folder, { recursive: true });
  ({ token: serviceToken } = await issueServiceToken(project, "worker"));
  const [app] = await OAuthApp.register();
  ({ access_token: accessToken } = await new Person().signInTo(app));
  const known = async () => (await http.get(`${issuer}/${project}/rust/health`)).status !== 404;
  await until("the edge knows the project", known);
});

after(async () => {
  http.close();
  for (const sample of Object.values(samples)) await sample.stop();
});

test("the sample in TypeScript is well typed", async () => {
  assert.equal(await typeErrors(), "");
});

for (const name of SAMPLES) {
  describe(name, () => {
    const identityOf = (answer) => {
      assert.equal(answer.status, 200, answer.text);
      const { identity } = answer.json;
      // Each language spells names and scopes its own way.
      const scopes = identity.scopes ?? identity.scope.split(" ").filter(Boolean);
      return { subject: identity.subject, project: identity.project, service: identity.service, scopes };
    };

    test("behind the gateway it knows who calls, whatever the caller says", async () => {
      for (const [method, target, headers] of [
        ["GET", "/", {}],
        ["GET", "/v1/notes?page=2&q=a%20b%2Fc&empty", {}],
        ["GET", "/caf%C3%A9/x%20y", {}],
        ["POST", "/v1/notes", {}],
        ["DELETE", "/v1/notes/7", {}],
        ["GET", "/v1/notes", { "x-gateway-assertion": "of my own", "x-gateway-subject": "root" }],
      ]) {
        const authorization = `Bearer ${serviceToken}`;
        const answer = await http.send(method, `${issuer}/${project}/${name}${target}`, { headers: { authorization, ...headers } });
        assert.deepEqual(identityOf(answer), { subject: "service:worker", project, service: name, scopes: [] }, `${method} ${target}`);
      }
      const open = await http.get(`${issuer}/${project}/${name}/health`);
      assert.deepEqual(identityOf(open), { subject: null, project, service: name, scopes: [] });
    });

    test("past the gateway it believes what the edge signed for this request, and nothing else", async () => {
      const sample = samples[name];
      const edge = edgeKey();
      const request = { method: "GET", target: "/v1/notes?page=2" };
      const good = assertion(edge, claims(sample));
      const accepted = await sample.send({ ...request, assertions: [good] });
      assert.deepEqual(identityOf(accepted), { subject: "somebody", project: "notes", service: "api", scopes: ["notes:read"] });

      const says = (changes) => [assertion(edge, claims(sample, changes))];
      const head = (changes) => [assertion(edge, claims(sample), changes)];
      const publicBytes = Buffer.from(createPublicKey(edge.key).export({ format: "jwk" }).x, "base64url");
      const hmac = (input) => createHmac("sha256", publicBytes).update(input).digest();
      const flipped = good.slice(0, -10) + (good.at(-10) === "A" ? "B" : "A") + good.slice(-9);
      const refused = {
        "no assertion": { ...request, assertions: [] },
        "two of them": { ...request, assertions: [good, good] },
        "another path": { method: "GET", target: "/v1/other?page=2", assertions: [good] },
        "another query": { method: "GET", target: "/v1/notes?page=3", assertions: [good] },
        "no query": { method: "GET", target: "/v1/notes", assertions: [good] },
        "another spelling of the path": { method: "GET", target: "/v1/%6eotes?page=2", assertions: [good] },
        "another method": { method: "POST", target: request.target, assertions: [good] },
        "another audience": { ...request, assertions: says({ aud: "http://127.0.0.1:1" }) },
        "a longer audience": { ...request, assertions: says({ aud: `${sample.baseUrl}/` }) },
        "several audiences": { ...request, assertions: says({ aud: [sample.baseUrl, "http://127.0.0.1:1"] }) },
        "no audience": { ...request, assertions: says({ aud: undefined }) },
        "another issuer": { ...request, assertions: says({ iss: "https://other.test" }) },
        "no issuer": { ...request, assertions: says({ iss: undefined }) },
        expired: { ...request, assertions: says({ iat: now() - 60, exp: now() - 30 }) },
        "from the future": { ...request, assertions: says({ iat: now() + 60, exp: now() + 90 }) },
        "for ever": { ...request, assertions: says({ exp: now() + 3_600 }) },
        "without an end": { ...request, assertions: says({ exp: undefined }) },
        "without a beginning": { ...request, assertions: says({ iat: undefined }) },
        "without a method": { ...request, assertions: says({ htm: undefined }) },
        "without a target": { ...request, assertions: says({ htu: undefined }) },
        "signed by another key": { ...request, assertions: [assertion(strangeKey(edge.kid), claims(sample))] },
        "by a key nobody knows": { ...request, assertions: [assertion(strangeKey("edge-9"), claims(sample))] },
        "without a key's name": { ...request, assertions: head({ kid: undefined }) },
        "of another type": { ...request, assertions: head({ typ: "at+jwt" }) },
        "of no type": { ...request, assertions: head({ typ: undefined }) },
        "an assertion for the origin": { ...request, assertions: head({ typ: "edge-assertion+jwt" }) },
        "alg none": { ...request, assertions: [assertion(edge, claims(sample), { alg: "none" }, () => Buffer.alloc(0))] },
        "HS256 with the public key": { ...request, assertions: [assertion(edge, claims(sample), { alg: "HS256" }, hmac)] },
        "a bit flipped": { ...request, assertions: [flipped] },
        "no signature": { ...request, assertions: [good.slice(0, good.lastIndexOf(".") + 1)] },
        truncated: { ...request, assertions: [good.slice(0, -2)] },
        "an access token in its place": { ...request, assertions: [accessToken] },
        "a service token in its place": { ...request, assertions: [serviceToken] },
        garbage: { ...request, assertions: ["a.b.c"] },
        "nothing at all": { ...request, assertions: [""] },
      };
      for (const [what, sent] of Object.entries(refused)) {
        const answer = await sample.send(sent);
        assert.equal(answer.status, 401, `${what}: ${answer.status} ${answer.text}`);
        assert.ok(answer.headers["www-authenticate"], what);
      }
      assert.equal((await sample.send({ ...request, assertions: [good] })).status, 200, "the good one is still good");
    });

    test("it finds a new key, asks for unknown ones now and then only, and keeps the last keys while there are none to be had", async () => {
      const [one, other] = [strangeKey("one"), strangeKey("other")];
      let asked = 0;
      let keys = [one.jwk];
      const server = createServer((_, response) => {
        asked += 1;
        response.writeHead(keys === undefined ? 500 : 200, { "content-type": "application/json" });
        response.end(JSON.stringify({ keys }));
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const own = `http://127.0.0.1:${server.address().port}`;
      const cooldownSeconds = 1;
      const sample = await Sample.start(name, { of: own, cooldownSeconds });
      try {
        const says = (key) => ({
          target: "/v1/notes?page=2",
          assertions: [assertion(key, claims(sample, { iss: own }))],
        });
        assert.equal((await sample.send(says(one))).status, 200);
        const before = asked;
        const started = performance.now();
        for (let index = 0; index < 30; index += 1) {
          const answer = await sample.send(says(strangeKey(`invented-${index}`)));
          assert.equal(answer.status, 401);
        }
        const allowed = Math.ceil((performance.now() - started) / (cooldownSeconds * 1000));
        assert.ok(asked - before <= allowed, `${asked - before} fetches for 30 unknown keys, where ${allowed} are allowed`);

        keys = [one.jwk, other.jwk];
        await until("the new key is found", async () => (await sample.send(says(other))).status === 200);

        keys = undefined;
        const inVain = asked;
        await until("it has asked in vain", async () => {
          await sample.send(says(strangeKey("unknown")));
          return asked > inVain;
        });
        assert.equal((await sample.send(says(one))).status, 200);
        assert.equal((await sample.send(says(other))).status, 200);
      } finally {
        await sample.stop();
        server.closeAllConnections();
        server.close();
      }
    });
  });
}

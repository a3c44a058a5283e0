// What a refusal must look like, said once. These fail with the whole answer, so that the reason can be read.
import assert from "node:assert/strict";
import { issuer } from "./gateway.mjs";

const show = (answer) => `${answer.status} ${JSON.stringify(answer.headers)} ${answer.text.slice(0, 600)}`;

/** `application/problem+json` of this status and type (RFC 9457). */
export function assertProblem(answer, status, slug) {
  assert.equal(answer.status, status, show(answer));
  assert.equal(answer.headers["content-type"]?.split(";")[0], "application/problem+json", show(answer));
  const problem = answer.json;
  assert.equal(problem.type, `${issuer}/docs/errors/${slug}`, show(answer));
  assert.equal(problem.status, status, show(answer));
  assert.ok(problem.title && problem.request_id, show(answer));
  return problem;
}

/** OAuth's own error form (RFC 6749 section 5.2): JSON, never cached. */
export function assertOAuthError(answer, status, code) {
  assert.equal(answer.status, status, show(answer));
  assert.equal(answer.headers["content-type"]?.split(";")[0], "application/json", show(answer));
  assert.equal(answer.headers["cache-control"], "no-store", show(answer));
  assert.equal(answer.json.error, code, show(answer));
}

/** A page for the person and no redirect: nobody else can be trusted to be told. */
export function assertErrorPage(answer, what) {
  assert.equal(answer.status, 400, `${what}: ${show(answer)}`);
  assert.equal(answer.headers.location, undefined, `${what}: ${show(answer)}`);
  assert.match(answer.headers["content-type"] ?? "", /^text\/html/, `${what}: ${show(answer)}`);
}

/** A redirect to the client with this error, its state and the issuer (RFC 6749 section 4.1.2.1, RFC 9207). */
export function assertErrorRedirect(answer, request, code) {
  assert.equal(answer.status, 303, show(answer));
  const target = new URL(answer.headers.location);
  assert.ok(answer.headers.location.startsWith(request.parameters.redirect_uri), show(answer));
  assert.equal(target.searchParams.get("error"), code, show(answer));
  assert.equal(target.searchParams.get("state"), request.parameters.state ?? null, show(answer));
  assert.equal(target.searchParams.get("iss"), issuer, show(answer));
  assert.equal(target.searchParams.get("code"), null, show(answer));
}

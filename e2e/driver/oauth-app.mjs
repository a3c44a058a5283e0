// An application registered for a test: it asks for authorization, redeems codes, refreshes and revokes, and calls its project.
// It checks nothing by itself: what comes back is the test's to judge.
import { createHash, randomBytes } from "node:crypto";
import { applyProject, ownName } from "./gateward.mjs";
import { issuer } from "./gateway.mjs";
import { HttpClient } from "./http-client.mjs";

export const SCOPES = ["notes:read", "notes:write"];

/** A PKCE verifier and its S256 challenge (RFC 7636). */
export function pkce() {
  const verifier = randomBytes(32).toString("base64url");
  return { verifier, challenge: createHash("sha256").update(verifier).digest("base64url") };
}

/** After this many requests an application comes from another address, so that its tests stay below the limits of one. */
const REQUESTS_AN_ADDRESS = 50;

export class OAuthApp {
  #client;
  #requests = 0;

  constructor({ project, clientId, clientSecret, redirectUri, scopes = SCOPES }) {
    Object.assign(this, { project, clientId, clientSecret, redirectUri, scopes });
  }

  /** The client to send the next request with. */
  get http() {
    if (this.#requests++ % REQUESTS_AN_ADDRESS === 0) this.#client = new HttpClient({ connections: 128 });
    return this.#client;
  }

  /** Registers a project of its own with `count` clients. */
  static async register({ count = 1, upstream, scopes = SCOPES, redirectUris, confidential = false, services } = {}) {
    const project = ownName("e2e");
    const clients = Array.from({ length: count }, (_, index) => ({
      client_id: `${project}-app-${index}`,
      name: `Test app ${index}`,
      redirect_uris: redirectUris ?? [`https://${project}.example.test/callback/${index}`],
      scopes,
      confidential,
    }));
    const { secrets } = await applyProject({ project, upstream, clients, services });
    return clients.map(({ client_id: clientId, redirect_uris: [redirectUri] }) => {
      return new OAuthApp({ project, clientId, clientSecret: secrets[clientId], redirectUri, scopes });
    });
  }

  /** A fresh authorization request: its parameters, its verifier and its URL. */
  request(changes = {}) {
    const { verifier, challenge } = pkce();
    const parameters = {
      response_type: "code",
      client_id: this.clientId,
      redirect_uri: this.redirectUri,
      scope: this.scopes.join(" "),
      state: randomBytes(12).toString("base64url"),
      code_challenge: challenge,
      code_challenge_method: "S256",
      ...changes,
    };
    for (const [name, value] of Object.entries(parameters)) if (value === undefined) delete parameters[name];
    return { verifier, parameters, url: `${issuer}/oauth/authorize?${new URLSearchParams(parameters)}` };
  }

  /** Redeems a code; `changes` replaces or (undefined) removes parameters. */
  redeem(code, verifier, changes = {}, http = this.http) {
    return this.#token(
      {
        grant_type: "authorization_code",
        client_id: this.clientId,
        redirect_uri: this.redirectUri,
        code,
        code_verifier: verifier,
        ...changes,
      },
      http,
    );
  }

  refresh(refreshToken, changes = {}, http = this.http) {
    return this.#token({ grant_type: "refresh_token", client_id: this.clientId, refresh_token: refreshToken, ...changes }, http);
  }

  revoke(token, changes = {}) {
    return this.http.post(`${issuer}/oauth/revoke`, { client_id: this.clientId, token, ...changes });
  }

  /** Calls the project's service. */
  call(accessToken, path = "/hello", { http = this.http, headers = {}, ...more } = {}) {
    return http.get(`${issuer}/${this.project}/api${path}`, {
      headers: { authorization: `Bearer ${accessToken}`, ...headers },
      ...more,
    });
  }

  #token(parameters, http) {
    const form = Object.fromEntries(Object.entries(parameters).filter(([, value]) => value !== undefined));
    return http.post(`${issuer}/oauth/token`, form);
  }
}

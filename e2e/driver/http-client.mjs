// An HTTP client that hides nothing: no redirect followed, cookies kept when asked to, and a loopback address of its own, so
// that tests do not use up each other's rate limits.
import { Agent, request as httpRequest } from "node:http";
import { randomInt } from "node:crypto";

const TIMEOUT = 20_000;

/** An address in 127.0.0.0/8 that nobody else uses; Linux answers on all of them. */
export function ownAddress() {
  return process.platform === "linux" ? `127.${randomInt(1, 255)}.${randomInt(0, 256)}.${randomInt(1, 255)}` : "127.0.0.1";
}

/** What came back. */
export class Answer {
  constructor(status, headers, rawHeaders, bytes) {
    this.status = status;
    this.headers = headers;
    this.rawHeaders = rawHeaders;
    this.bytes = bytes;
  }

  get text() {
    return this.bytes.toString("utf8");
  }

  get json() {
    try {
      return JSON.parse(this.text);
    } catch {
      throw new Error(`no JSON came with ${this.status}: ${this.text.slice(0, 300)}`);
    }
  }

  get location() {
    return this.headers.location;
  }
}

export class HttpClient {
  #agent;
  #cookies = new Map();

  constructor({ address = ownAddress(), connections = 4 } = {}) {
    this.address = address;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections, localAddress: address });
  }

  /** The cookies that would be sent, by name. */
  get cookies() {
    return this.#cookies;
  }

  /** Sends one request. `form` is sent as application/x-www-form-urlencoded, `body` as it is. */
  async send(method, url, { headers = {}, form, body, timeout = TIMEOUT, withCookies = true } = {}) {
    const sent = { ...headers };
    let bytes = body;
    if (form !== undefined) {
      bytes = new URLSearchParams(form).toString();
      sent["content-type"] ??= "application/x-www-form-urlencoded";
    }
    if (bytes !== undefined) sent["content-length"] = Buffer.byteLength(bytes);
    if (withCookies && this.#cookies.size > 0) {
      sent.cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    }
    const answer = await this.#exchange(method, url, sent, bytes, timeout);
    for (const line of [answer.headers["set-cookie"] ?? []].flat()) this.#keep(line);
    return answer;
  }

  get(url, options) {
    return this.send("GET", url, options);
  }

  post(url, form, options) {
    return this.send("POST", url, { form, ...options });
  }

  close() {
    this.#agent.destroy();
  }

  #exchange(method, url, headers, body, timeout) {
    return new Promise((resolve, reject) => {
      const options = { method, headers, agent: this.#agent, signal: AbortSignal.timeout(timeout) };
      const request = httpRequest(url, options, (response) => {
        const chunks = [];
        response.on("data", (chunk) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          resolve(new Answer(response.statusCode, response.headers, response.rawHeaders, Buffer.concat(chunks)));
        });
      });
      request.on("error", (error) => reject(new Error(`${method} ${url}: ${error.message}`, { cause: error })));
      request.end(body);
    });
  }

  #keep(line) {
    const [pair, ...attributes] = line.split(";").map((part) => part.trim());
    const at = pair.indexOf("=");
    const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
    const attribute = (wanted) => attributes.find((one) => one.toLowerCase().startsWith(`${wanted}=`))?.slice(wanted.length + 1);
    const ended = Number(attribute("max-age") ?? 1) <= 0 || Date.parse(attribute("expires") ?? "9999-01-01") <= Date.now();
    if (ended) this.#cookies.delete(name);
    else this.#cookies.set(name, value);
  }
}

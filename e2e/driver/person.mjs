// A person with a browser of the simplest kind: follows redirects, fills in the gateway's forms, reads their own mail. Every
// step goes through the edge, as it would for a real one.
import { randomBytes } from "node:crypto";
import { formWith, formsOf, textOf } from "./forms.mjs";
import { issuer } from "./gateway.mjs";
import { HttpClient } from "./http-client.mjs";
import { codeIn, newestMessage, nextMessage } from "./mailbox.mjs";

const MOST_STEPS = 16;
const NAVIGATION = { "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };

/** Sign-in could not go on: what the person saw. */
export class Stuck extends Error {
  constructor(message, answer) {
    super(message);
    // Not among what is printed with the error.
    Object.defineProperty(this, "answer", { value: answer });
  }
}

export class Person {
  constructor({ email = `person-${randomBytes(8).toString("hex")}@example.test`, http = new HttpClient() } = {}) {
    this.email = email;
    this.http = http;
  }

  /** Opens a page of the gateway's, by its path or URL. */
  open(path) {
    return this.http.get(new URL(path, issuer).href, { headers: { ...NAVIGATION, "sec-fetch-site": "none" } });
  }

  /** Sends a form of a page, with these values filled in. */
  submit(form, values = {}) {
    const headers = { ...NAVIGATION, "sec-fetch-site": "same-origin", origin: new URL(issuer).origin };
    return this.http.post(new URL(form.action, issuer).href, { ...form.fields, ...values }, { headers });
  }

  /** Gives the address and asks for a code; the page that wants the code, and the code. */
  async askForCode(page) {
    const before = await newestMessage(this.email);
    const asked = await this.follow(await this.submit(formWith(page, "email"), { email: this.email }));
    if (asked.status >= 400) throw new Stuck(`no code was sent: ${asked.status} ${textOf(asked.text).slice(0, 300)}`, asked);
    return { page: asked, code: codeIn(await nextMessage(this.email, before)) };
  }

  /** Follows redirects within the gateway; the first answer that is none, or one that leads elsewhere. */
  async follow(answer) {
    let current = answer;
    for (let step = 0; step < MOST_STEPS; step++) {
      if (current.status !== 303 && current.status !== 302) return current;
      const target = new URL(current.location, issuer);
      if (target.origin !== new URL(issuer).origin) return current;
      current = await this.open(target.href);
    }
    throw new Stuck(`more than ${MOST_STEPS} redirects, the last to ${current.location}`, current);
  }

  /** Signs in without any application. */
  async signIn() {
    const page = await this.follow(await this.open("/sign-in"));
    const { page: codePage, code } = await this.askForCode(page);
    const done = await this.follow(await this.submit(formWith(codePage, "code"), { code }));
    if (done.status !== 200) throw new Stuck(`sign-in ended with ${done.status}: ${textOf(done.text).slice(0, 300)}`, done);
    return done;
  }

  /** Answers an authorization request to its end: signs in and consents when asked. The parameters the client receives. */
  async authorize(request, { decision = "allow" } = {}) {
    let answer = await this.follow(await this.open(request.url));
    for (let step = 0; step < MOST_STEPS; step++) {
      if (answer.location !== undefined) return this.#arrived(answer, request);
      const forms = formsOf(answer.text);
      if (forms.some((form) => form.buttons.some(({ name }) => name === "decision"))) {
        this.consentForm = formWith(answer, "decision");
        answer = await this.follow(await this.submit(this.consentForm, { decision }));
      } else if (forms.some((form) => form.action === "/sign-in/code" && "code" in form.fields)) {
        throw new Stuck(`the code was not taken: ${textOf(answer.text).slice(0, 300)}`, answer);
      } else if (answer.status === 200 && forms.some((form) => "email" in form.fields)) {
        const { page, code } = await this.askForCode(answer);
        answer = await this.follow(await this.submit(formWith(page, "code"), { code }));
      } else {
        throw new Stuck(`authorization ended with ${answer.status}: ${textOf(answer.text).slice(0, 300)}`, answer);
      }
    }
    throw new Stuck("authorization does not come to an end", answer);
  }

  #arrived(answer, request) {
    const { redirect_uri: expected } = request.parameters;
    if (!answer.location.startsWith(expected)) throw new Stuck(`sent to ${answer.location}, not to ${expected}`, answer);
    return Object.fromEntries(new URL(answer.location).searchParams);
  }

  /** Signs in to an application and returns its tokens, with the code and request that led to them. */
  async signInTo(app, changes) {
    const request = app.request(changes);
    const { code, error, error_description: description } = await this.authorize(request);
    if (code === undefined) throw new Error(`the client got no code: ${error} ${description}`);
    const answer = await app.redeem(code, request.verifier);
    if (answer.status !== 200) throw new Error(`the code gave no token: ${answer.status} ${answer.text.slice(0, 300)}`);
    return { ...answer.json, code, request };
  }
}

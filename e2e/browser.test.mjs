// People at a real Chromium: the demo app's sign-in from end to end, with mouse, with the keyboard alone, on a narrow screen, in
// the dark, without scripts. Every page is judged by axe, by what the browser complains about and by what it loads.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { gateway, issuer } from "./driver/gateway.mjs";
import { inspect, launch, openWindow, weigh } from "./driver/browser.mjs";
import { codeIn, newestMessage, nextMessage } from "./driver/mailbox.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

const ownEmail = () => `browser-${randomBytes(6).toString("hex")}@example.test`;
const authorizeUrl = (changes) => {
  const { client_id, redirect_uri, scopes } = gateway.demo_client;
  const parameters = {
    response_type: "code",
    client_id,
    redirect_uri,
    scope: scopes.join(" "),
    code_challenge: "A".repeat(43),
    code_challenge_method: "S256",
    ...changes,
  };
  return `${issuer}/oauth/authorize?${new URLSearchParams(parameters)}`;
};

/** Signs in to the demo app with mouse and keyboard; `look` is called on every page on the way. */
async function signIn({ page }, email, look = async () => {}) {
  await page.goto(gateway.app_url);
  await page.getByRole("button", { name: "Sign in with Gateward" }).click();
  await page.getByLabel("E-mail address").waitFor();
  assert.equal(new URL(page.url()).origin, issuer);
  await look("sign-in");
  await page.getByLabel("E-mail address").fill(email);
  const before = await newestMessage(email);
  await page.getByRole("button", { name: "Send me a code" }).click();
  await page.getByLabel("One-time code").waitFor();
  await look("code");
  const message = await nextMessage(email, before);
  await page.getByLabel("One-time code").fill(codeIn(message));
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("button", { name: "Allow" }).waitFor();
  await look("consent");
  await page.getByRole("button", { name: "Allow" }).click();
  await page.locator("#result").waitFor();
}

/** What the project answered, as the demo app shows it. */
async function shownByTheApp(page) {
  assert.equal(new URL(page.url()).origin, new URL(gateway.app_url).origin);
  assert.equal(await page.locator("#status").textContent(), "200");
  return JSON.parse(await page.locator("#result").textContent());
}

const variants = {
  "desktop-light": {},
  "desktop-dark": { colorScheme: "dark" },
  "narrow-light": { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true },
  "narrow-dark": { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, colorScheme: "dark" },
};

for (const [variant, options] of Object.entries(variants)) {
  test(`${variant}: the demo app signs a person in and calls the project with its token`, async () => {
    const window = await openWindow(browser, options);
    const { page } = window;
    const email = ownEmail();
    await signIn(window, email, (name) => inspect(window, `${variant}-${name}`));
    const seen = await shownByTheApp(page);
    assert.equal(seen.url, "/hello");
    assert.equal(seen.headers["x-gateway-project"], "notes");
    assert.equal(seen.headers["x-gateway-client"], gateway.demo_client.client_id);
    assert.ok(seen.headers["x-gateway-subject"]);
    assert.equal(seen.headers.authorization, undefined);
    assert.ok(!page.url().includes("code="), "the code does not stay in the address bar");
    await inspect(window, `${variant}-app`);

    await page.goto(`${issuer}/account`);
    await page.getByText(email).first().waitFor();
    await inspect(window, `${variant}-account`);
    await page.goto(authorizeUrl({ redirect_uri: "https://evil.test/" }));
    await page.getByRole("heading", { level: 1 }).waitFor();
    await inspect(window, `${variant}-error`);
    await page.goto(`${issuer}/docs/errors/token-expired`);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await inspect(window, `${variant}-explained`);
    await page.goto(issuer);
    await inspect(window, `${variant}-home`);

    // A wrong code: the page says so, keeps the person's place, and is as usable as before.
    const other = await openWindow(browser, options);
    await other.page.goto(`${issuer}/sign-in`);
    await other.page.getByLabel("E-mail address").fill("nobody@@example");
    await other.page.evaluate(() => document.querySelector("form").setAttribute("novalidate", ""));
    await other.page.getByRole("button", { name: "Send me a code" }).click();
    await other.page.getByRole("alert").waitFor();
    await inspect(other, `${variant}-sign-in-fault`);
    const second = ownEmail();
    await other.page.getByLabel("E-mail address").fill(second);
    await other.page.getByRole("button", { name: "Send me a code" }).click();
    await other.page.getByLabel("One-time code").fill("0");
    await other.page.getByRole("button", { name: "Sign in", exact: true }).click();
    await other.page.getByRole("alert").waitFor();
    await inspect(other, `${variant}-code-fault`);
    await other.context.close();
    await window.context.close();
  });
}

test("with the keyboard alone: every step is reachable, in order, and its focus can be seen", async () => {
  const window = await openWindow(browser);
  const { page } = window;
  const email = ownEmail();
  const focused = () =>
    page.evaluate(() => {
      const element = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      return {
        tag: element.tagName,
        name: element.name ?? "",
        text: element.textContent.trim(),
        visible: outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2,
      };
    });
  /** Presses Tab until the focus is where `wanted` says; a person gives up after a while. */
  const tabTo = async (what, wanted) => {
    for (let presses = 0; presses < 15; presses++) {
      const now = await focused();
      if (wanted(now)) {
        assert.ok(now.visible || now.tag === "INPUT", `the focus on ${what} cannot be seen: ${JSON.stringify(now)}`);
        return;
      }
      await page.keyboard.press("Tab");
    }
    assert.fail(`${what} cannot be reached with Tab`);
  };
  await page.goto(gateway.app_url);
  await tabTo("the app's button", ({ tag, text }) => tag === "BUTTON" && text.startsWith("Sign in"));
  await page.keyboard.press("Enter");
  await page.getByLabel("E-mail address").waitFor();
  assert.equal((await focused()).name, "email", "the field has the focus from the start");
  const before = await newestMessage(email);
  await page.keyboard.type(email);
  await page.keyboard.press("Enter");
  await page.getByLabel("One-time code").waitFor();
  assert.equal((await focused()).name, "code");
  await page.keyboard.type(codeIn(await nextMessage(email, before)));
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Allow" }).waitFor();
  await tabTo("Deny", ({ text }) => text === "Deny");
  await tabTo("Allow", ({ text }) => text === "Allow");
  await page.keyboard.press("Enter");
  await page.locator("#result").waitFor();
  await shownByTheApp(page);
  assert.deepEqual(window.noted.complaints, []);
  await page.goto(`${issuer}/account`);
  await tabTo("Sign out", ({ text }) => text === "Sign out");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname !== "/account");
  await page.goto(`${issuer}/account`);
  assert.notEqual(new URL(page.url()).pathname, "/account", "signed out");
  await window.context.close();
});

test("without JavaScript everything works the same", async () => {
  const window = await openWindow(browser, { javaScriptEnabled: false });
  await signIn(window, ownEmail());
  await shownByTheApp(window.page);
  await window.context.close();
});

test("a returning person is sent through without signing in again; saying no returns to the app with an error", async () => {
  const window = await openWindow(browser);
  const { page } = window;
  const email = ownEmail();
  await signIn(window, email);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in with Gateward" }).click();
  // Consent is never skipped for a public client on a loopback address (RFC 8252 section 8.6): either page may come, no code does.
  const arrived = page.locator("#result").or(page.getByRole("button", { name: "Allow" }));
  await arrived.first().waitFor();
  if (await page.getByRole("button", { name: "Deny" }).isVisible()) {
    await page.getByRole("button", { name: "Deny" }).click();
    await page.getByRole("alert").waitFor();
    assert.match(await page.getByRole("alert").textContent(), /access_denied/);
  }
  assert.deepEqual(window.noted.complaints, []);
  await window.context.close();
});

test("the one-time sign-in link signs the operator in by one click", async () => {
  const window = await openWindow(browser);
  await window.page.goto(gateway.sign_in_link);
  const button = window.page.getByRole("button", { name: "Sign in" });
  const used = window.page.getByRole("heading", { level: 1 });
  await used.waitFor();
  // Whoever started this gateway may have used it up; then the page says so and offers a way on.
  if (await button.isVisible()) {
    await inspect(window, "desktop-light-link");
    await button.click();
    await window.page.goto(`${issuer}/account`);
    await window.page.getByText(gateway.operator_email).first().waitFor();
  } else {
    await inspect(window, "desktop-light-link-used");
  }
  await window.context.close();
});

test("each page costs less than 50 kB with an empty cache", async (t) => {
  const pages = {
    "sign-in": "/sign-in",
    error: authorizeUrl({ client_id: "nobody" }),
    explained: "/docs/errors/rate-limited",
    home: "/",
  };
  for (const [name, path] of Object.entries(pages)) {
    const window = await openWindow(browser);
    const bytes = await weigh(window, name, () => window.page.goto(new URL(path, issuer).href));
    t.diagnostic(`${name}: ${bytes} bytes`);
    await window.context.close();
  }
  // The pages on the way, each with the form that led to it.
  const window = await openWindow(browser);
  await signIn(window, ownEmail(), async (name) => {
    await window.page.waitForLoadState("networkidle");
    assert.ok(window.noted.bytes > 0 && window.noted.bytes < 50_000, `${name}: ${window.noted.bytes} bytes`);
    t.diagnostic(`${name}, on the way: ${window.noted.bytes} bytes`);
    window.noted.bytes = 0;
  });
  const bytes = await weigh(window, "account", () => window.page.goto(`${issuer}/account`));
  t.diagnostic(`account: ${bytes} bytes`);
  await window.context.close();
});

test("no page may be framed, sniffed, cached or run a script; the session cookie is out of a script's reach", async () => {
  const window = await openWindow(browser);
  const { page, context } = window;
  const headers = new Map();
  page.on("response", (response) => {
    if (response.url().startsWith(issuer) && response.request().isNavigationRequest() && response.status() === 200)
      headers.set(new URL(response.url()).pathname, response.headers());
  });
  await signIn(window, ownEmail());
  await page.goto(`${issuer}/account`);
  for (const path of ["/sign-in", "/sign-in/code", "/consent", "/account"]) {
    const sent = headers.get(path);
    assert.ok(sent, `${path} was visited: ${[...headers.keys()]}`);
    assert.match(sent["content-security-policy"] ?? "", /default-src 'none'/, path);
    assert.match(sent["content-security-policy"], /frame-ancestors 'none'/, path);
    assert.doesNotMatch(sent["content-security-policy"], /unsafe-inline|unsafe-eval|\*/, path);
    assert.equal(sent["x-content-type-options"], "nosniff", path);
    assert.match(sent["cache-control"] ?? "", /no-store/, path);
    assert.ok(sent["referrer-policy"], path);
  }
  const cookies = await context.cookies(issuer);
  const session = cookies.find(({ name }) => name === "__Host-gateward_session");
  assert.ok(session, JSON.stringify(cookies.map(({ name }) => name)));
  const { httpOnly, secure, sameSite, path } = session;
  assert.deepEqual({ httpOnly, secure, sameSite, path }, { httpOnly: true, secure: true, sameSite: "Lax", path: "/" });
  assert.equal(await page.evaluate(() => document.cookie), "");
  await context.close();
});

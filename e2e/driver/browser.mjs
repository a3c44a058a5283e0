// A real Chromium with an eye on what a page does besides looking right: what it loads, from where, how much, and what the
// browser complains about.
import assert from "node:assert/strict";
import { accessSync, constants, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { gateway, issuer } from "./gateway.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENSHOTS = fileURLToPath(new URL("../../target/gateward/screenshots/", import.meta.url));
/** What one page may cost, everything it loads included. */
const MOST_BYTES = 50_000;

/** The browser named by CHROMIUM, or one found in the path. */
function executable() {
  const named = process.env.CHROMIUM ?? "chromium";
  if (named.includes("/")) return named;
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    try {
      accessSync(join(folder, named), constants.X_OK);
      return join(folder, named);
    } catch {
      // Look in the next folder.
    }
  }
  throw new Error(`there is no ${named} in the path; name a Chromium in CHROMIUM`);
}

export function launch() {
  const args = ["--disable-background-networking", "--disable-component-update", "--no-first-run"];
  // Chromium has no sandbox for root; only our own pages are opened.
  if (process.getuid?.() === 0) args.push("--no-sandbox");
  return chromium.launch({ executablePath: executable(), args });
}

/** A browser window of its own, with everything noted that happens in it. */
export async function openWindow(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const noted = { complaints: [], foreign: [], bytes: 0, statuses: [] };
  const ours = new Set([new URL(issuer).origin, new URL(gateway.app_url).origin]);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isRefusalAsExpected(message))
      noted.complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => noted.complaints.push(`script: ${error.message}`));
  page.on("requestfailed", (request) => noted.complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && !ours.has(url.origin)) noted.foreign.push(request.url());
  });
  const devtools = await context.newCDPSession(page);
  await devtools.send("Network.enable");
  devtools.on("Network.loadingFinished", ({ encodedDataLength }) => (noted.bytes += encodedDataLength));
  return { context, page, noted };
}

/** Chromium reports every 4xx document as a console error; a page that is meant to be a refusal is not a complaint. */
function isRefusalAsExpected(message) {
  return (
    /the server responded with a status of 4\d\d/.test(message.text()) && !/\.(css|svg|ico|js)$/.test(message.location().url)
  );
}

/** Runs axe on the page as it stands; its violations, each with where and why. */
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`,
  );
}

/** Everything that must hold on every page of the gateway; the picture is kept for people to look at. */
export async function inspect({ page, noted }, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
  assert.deepEqual(await axe(page), [], `${name}: axe`);
  assert.deepEqual(noted.complaints, [], `${name}: the browser complained`);
  assert.deepEqual(noted.foreign, [], `${name}: requests to others`);
  // A phone zooms out when something hangs over, so the window's own width is what counts.
  const { width } = page.viewportSize();
  const { inner, scroll } = await page.evaluate(() => ({ inner: innerWidth, scroll: document.documentElement.scrollWidth }));
  assert.ok(scroll <= width && inner <= width, `${name}: ${Math.max(scroll, inner)} px wide in a window of ${width} px`);
  assert.ok(await page.title(), `${name}: no title`);
}

/** How much the next page costs to load with an empty cache. */
export async function weigh({ page, noted }, name, open) {
  noted.bytes = 0;
  await open();
  await page.waitForLoadState("networkidle");
  assert.ok(noted.bytes > 0 && noted.bytes < MOST_BYTES, `${name}: ${noted.bytes} bytes`);
  return noted.bytes;
}

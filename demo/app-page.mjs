// The demo app's one page. No script; its style is named by hash in the policy, so nothing else can be injected.
import { createHash } from "node:crypto";

const STYLE = `
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 16%,transparent);--accent:#4f46e5}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;grid-template-columns:minmax(0,1fr);place-items:center;font:16px/1.55 system-ui,sans-serif;padding:1.5rem;
background:radial-gradient(60rem 40rem at 80% -10%,color-mix(in srgb,var(--accent) 18%,transparent),transparent)}
main{width:min(100%,40rem);border:1px solid var(--line);border-radius:1.25rem;padding:2rem 2.25rem;background:Canvas;
box-shadow:0 1.5rem 4rem -2rem color-mix(in srgb,var(--accent) 45%,transparent)}
h1{margin:0 0 .25rem;font-size:1.6rem;letter-spacing:-.02em}
p{margin:.25rem 0 1.25rem;opacity:.8}
form{display:inline-block;margin:0 .5rem 0 0}
button{font:inherit;font-weight:600;border:0;border-radius:.75rem;padding:.7rem 1.25rem;color:#fff;background:var(--accent);cursor:pointer}
button.quiet{background:transparent;color:inherit;border:1px solid var(--line)}
button:focus-visible,pre:focus-visible{outline:3px solid color-mix(in srgb,var(--accent) 50%,transparent);outline-offset:2px}
code{overflow-wrap:anywhere}
.status{display:flex;gap:.75rem;align-items:baseline;flex-wrap:wrap;margin:0 0 .75rem}
.status strong{font-size:1.15rem}
pre{margin:0 0 1.5rem;padding:1rem;border:1px solid var(--line);border-radius:.75rem;overflow:auto;max-height:24rem;font-size:.85rem}
.error{border-left:4px solid #dc2626;padding-left:.9rem;opacity:1}
`;

const digest = createHash("sha256").update(STYLE).digest("base64");

/** On every answer of the app. A form may go on to the gateway, which is another origin, so form-action is left open. */
export const SECURITY_HEADERS = {
  "Content-Security-Policy": `default-src 'none'; style-src 'sha256-${digest}'; img-src data:; base-uri 'none'; frame-ancestors 'none'`,
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "same-origin",
  "Cache-Control": "no-store",
};

const escape = (text) =>
  String(text).replace(/[&<>"']/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[sign]);

const button = (action, label, quiet = false) =>
  `<form method="post" action="${action}"><button${quiet ? ' class="quiet"' : ""}>${label}</button></form>`;

/** The page for a session, or with an error. */
export function renderPage({ error, tokens, result }) {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Demo app</title><link rel="icon" href="data:,"><style>${STYLE}</style></head>
<body><main>
<h1>Demo app</h1>
${error !== undefined ? refused(error) : tokens !== undefined ? signedIn(result) : signedOut()}
</main></body>
</html>`;
}

function signedOut() {
  return `<p>A small app that signs people in with Gateward and calls a project in their name.</p>
${button("/sign-in", "Sign in with Gateward")}`;
}

function refused(error) {
  return `<p class="error" role="alert">${escape(error)}</p>
${button("/sign-in", "Sign in with Gateward")}`;
}

function signedIn(result) {
  const call =
    result === undefined
      ? ""
      : `<div class="status"><strong id="status">${result.status}</strong><code>${escape(result.url)}</code>
<span>${result.milliseconds.toFixed(1)} ms</span></div>
<pre id="result" tabindex="0" role="region" aria-label="The answer of the project">${escape(pretty(result.body))}</pre>`;
  return `<p>You are signed in. This is what the project answered through the gateway:</p>
${call}
${button("/call", "Call it again")}${button("/sign-out", "Sign out", true)}`;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

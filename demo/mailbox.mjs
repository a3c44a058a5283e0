// The demo's mailbox: takes mail for everybody over real SMTP and shows it, to people on a page and to tests as JSON.
// Keeps the last messages in memory; delivers nothing anywhere.
import { createServer } from "node:http";
import { SMTPServer } from "smtp-server";
import { parseMail } from "./mail.mjs";

const KEPT = 5000;
const MESSAGE_LIMIT = 256 * 1024;
const LONG_POLL_MS = 10_000;

let lastId = 0;
const messages = [];
const waiting = new Set();

function keep(recipients, sender, source) {
  const { subject, text } = parseMail(source);
  for (const to of recipients) {
    lastId += 1;
    messages.push({ id: lastId, to, from: sender, subject, text, received_at: new Date().toISOString() });
  }
  messages.splice(0, Math.max(0, messages.length - KEPT));
  for (const look of [...waiting]) look();
}

const smtp = new SMTPServer({
  disabledCommands: ["AUTH", "STARTTLS"],
  authOptional: true,
  disableReverseLookup: true,
  size: MESSAGE_LIMIT,
  banner: "Gateward demo mailbox",
  onData(stream, session, done) {
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => {
      if (stream.sizeExceeded) return done(Object.assign(new Error("the message is too large"), { responseCode: 552 }));
      const recipients = session.envelope.rcptTo.map((recipient) => recipient.address);
      keep(recipients, session.envelope.mailFrom ? session.envelope.mailFrom.address : "", Buffer.concat(chunks));
      done();
    });
  },
});
// A peer that closes early is its own problem.
smtp.on("error", (error) => console.error(error.message));

const same = (a, b) => a.toLowerCase() === b.toLowerCase();
const addressedTo = (to) => messages.filter((message) => to === null || same(message.to, to));

const http = createServer((request, response) => {
  const url = new URL(request.url, "http://127.0.0.1");
  const to = url.searchParams.get("to");
  if (request.method !== "GET") return json(response, 405, { error: "only GET" });
  if (url.pathname === "/messages") return json(response, 200, addressedTo(to));
  if (url.pathname === "/messages/next") return next(url, to, request, response);
  if (url.pathname === "/") return page(response);
  json(response, 404, { error: "there is /, /messages?to=ADDRESS and /messages/next?to=ADDRESS&after=ID" });
});

// Answers with the first message after the given id, as soon as there is one; 204 when none came in time.
function next(url, to, request, response) {
  const after = Number(url.searchParams.get("after") ?? 0);
  const look = () => {
    const found = addressedTo(to).find((message) => message.id > after);
    if (found === undefined) return;
    finish();
    json(response, 200, found);
  };
  const timer = setTimeout(() => {
    finish();
    response.writeHead(204).end();
  }, LONG_POLL_MS);
  const finish = () => {
    clearTimeout(timer);
    waiting.delete(look);
  };
  request.on("close", finish);
  waiting.add(look);
  look();
}

function json(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

const escape = (text) =>
  text.replace(/[&<>"']/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[sign]);
const linked = (text) => escape(text).replace(/https?:\/\/[^\s&<>"']+(?:&amp;[^\s&<>"']+)*/g, (url) => `<a href="${url}">${url}</a>`);

const STYLE = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem}
article{border:1px solid color-mix(in srgb,currentColor 20%,transparent);border-radius:.75rem;padding:1rem 1.25rem;margin:1rem 0}
h2{font-size:1.05rem;margin:0}small{opacity:.7}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.75rem 0 0}`;

function page(response) {
  const articles = [...messages].reverse().slice(0, 100).map(
    ({ to, from, subject, text, received_at }) =>
      `<article><h2>${escape(subject)}</h2><small>to ${escape(to)} from ${escape(from)}, ${received_at}</small><pre>${linked(text)}</pre></article>`,
  );
  const body = `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width"><title>Mailbox</title><link rel="icon" href="data:,"><style>${STYLE}</style>
<h1>Mailbox</h1><p>Every mail that this gateway sends ends here. The page renews itself.</p>
${articles.join("\n") || "<p>No mail yet.</p>"}</html>`;
  response.writeHead(200, {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
  });
  response.end(body);
}

smtp.listen(Number(process.env.SMTP_PORT ?? 2525), "127.0.0.1");
// The page answers only when mail can be taken: its answer means that the mailbox is ready.
smtp.server.once("listening", () => http.listen(Number(process.env.PORT ?? 9103), "127.0.0.1"));
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    http.close();
    http.closeAllConnections();
    smtp.close(() => process.exit(0));
  });
}

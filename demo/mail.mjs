// Reads what the demo's mailbox shows of a message (RFC 5322, 2045, 2047): the subject and the plain text. Enough for
// the gateway's own mail, not a mail reader.

/** The subject and the first plain-text part of a raw message. */
export function parseMail(source) {
  const { headers, body } = split(source.toString("latin1"));
  return { subject: decodeWords(headers.get("subject") ?? ""), text: plainText(headers, body) };
}

function split(text) {
  const end = text.search(/\r?\n\r?\n/);
  const head = end < 0 ? text : text.slice(0, end);
  const body = end < 0 ? "" : text.slice(end).replace(/^\r?\n\r?\n/, "");
  const headers = new Map();
  // A line that begins with white space continues the one before.
  for (const line of head.replace(/\r?\n[ \t]+/g, " ").split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { headers, body };
}

function plainText(headers, body) {
  const type = headers.get("content-type") ?? "text/plain";
  const boundary = /boundary="?([^";]+)"?/i.exec(type)?.[1];
  if (/^multipart\//i.test(type) && boundary !== undefined) {
    const parts = body.split(`--${boundary}`).slice(1, -1);
    const texts = parts.map((part) => split(part.replace(/^\r?\n/, "")));
    const chosen = texts.find((part) => /^(text\/plain|multipart\/)/i.test(part.headers.get("content-type") ?? "text/plain"));
    return chosen === undefined ? "" : plainText(chosen.headers, chosen.body);
  }
  const charset = /charset="?([^";]+)"?/i.exec(type)?.[1] ?? "utf-8";
  const bytes = decodeTransfer(body, (headers.get("content-transfer-encoding") ?? "7bit").toLowerCase());
  return new TextDecoder(charset).decode(bytes).replace(/\r\n/g, "\n").trimEnd();
}

function decodeTransfer(body, encoding) {
  if (encoding === "base64") return Buffer.from(body, "base64");
  if (encoding !== "quoted-printable") return Buffer.from(body, "latin1");
  const joined = body.replace(/[ \t]+(?=\r?$)/gm, "").replace(/=\r?\n/g, "");
  return Buffer.from(joined.replace(/=([0-9A-F]{2})/gi, (_, code) => String.fromCharCode(parseInt(code, 16))), "latin1");
}

function decodeWords(text) {
  const adjacent = text.replace(/(\?=)\s+(=\?)/g, "$1$2");
  return adjacent.replace(/=\?([^?]+)\?([BQ])\?([^?]*)\?=/gi, (_, charset, kind, content) => {
    const bytes =
      kind.toUpperCase() === "B"
        ? Buffer.from(content, "base64")
        : decodeTransfer(content.replace(/_/g, " "), "quoted-printable");
    return new TextDecoder(charset).decode(bytes);
  });
}

// Raw request targets: what was matched is what is forwarded, and what could be read in two ways is refused (attack 1).
//
// What workerd itself does with a target, found by sending every byte: it answers 400 without asking the worker when there is a
// control character, a space, `<`, `>` or bytes that are not UTF-8, a backtick in the path or a `"` in the query. It cuts a fragment off, and of
// an absolute target it keeps path and query. Everything else arrives as sent: dot segments, empty segments, backslashes,
// percent-encodings of any spelling, `*`. `request.url` begins with the Host header as it came, even `Host: a/b`.
import assert from "node:assert/strict";

import { accessToken, gatewayTest } from "./rig.mjs";

const REFUSED = [
  "/notes/api/../admin", "/notes/api/..", "/notes/api/./x", "/notes/../notes/api/x", "//notes/api/x", "/notes//api/x", "/notes/api//x", "/notes/api/x//",
  "/notes/api/%2e%2e/x", "/notes/api/%2E./x", "/notes/api/.%2e", "/notes/api/a%2fb", "/notes/api/a%2Fb", "/notes%2fapi/x", "/notes/api/a\\b", "/notes/api/a%5cb",
  "/notes/api/a;b", "/notes/api/a%3bb", "/notes/api/%00", "/notes/api/a%0d%0ab", "/notes/api/a%23b", "/notes/api/a%3fb", "/notes/api/a%252fb", "/notes/api/a%zz", "/notes/api/a%f",
  "/notes/api/%ff", "/notes/api/..%c0%af", "/notes/api/a b", "/notes/api/a\tb", "/notes/api/<x>", "notes/api/x", "*", "\\notes\\api\\x",
  "http://evil.test/notes/api/../x",
];

const FORWARDED = {
  "/notes/api/x": "/x",
  "/notes/api": "/",
  "/notes/api/": "/",
  "/notes/api/%78/%41": "/x/A",
  "/notes/api/caf%c3%a9": "/caf%C3%A9",
  "/notes/api/caf\u00c3\u00a9": "/caf%C3%A9",
  "/notes/api/a%20b/100%25": "/a%20b/100%25",
  "/notes/api/x?a=../..//;\\&b=%2e%2e%2f": "/x?a=../..//;\\&b=%2e%2e%2f",
  "/notes/api/x?": "/x",
  "/notes/api/x#/../admin": "/x",
  "/notes/api/...": "/...",
  "/notes/api/{a|b}": "/%7Ba%7Cb%7D",
  "/notes/api/x%27%28": "/x'(",
  "http://evil.test/notes/api/x?y": "/x?y",
};

const send = (edge, keys, target, host = "a") =>
  edge.raw(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${accessToken(keys)}\r\nConnection: close\r\n\r\n`);

gatewayTest("a target that could be read in two ways is a 400 and reaches nobody", async ({ keys, upstream, edge }) => {
  for (const target of REFUSED) assert.match(await send(edge, keys, target), /^HTTP\/1.1 400/, target);
  assert.deepEqual(upstream.requests, []);
});

gatewayTest("a target with one reading is forwarded as it was matched", async ({ keys, upstream, edge }) => {
  for (const [target, expected] of Object.entries(FORWARDED)) {
    assert.match(await send(edge, keys, target), /^HTTP\/1.1 200/, target);
    assert.equal(upstream.requests.at(-1).url, expected, target);
  }
});

gatewayTest("a Host header cannot move where the path begins", async ({ keys, upstream, edge }) => {
  for (const host of ["a/notes/api", "a?b", "a#b", "u@a", "a b", "a\\b", "a\r\nHost: b"]) {
    assert.match(await send(edge, keys, "/notes/api/x", host), /^HTTP\/1.1 400/, host);
  }
  assert.deepEqual(upstream.requests, []);
});

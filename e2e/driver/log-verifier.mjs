// A second verifier of an exported audit log, written from RFC 6962, c2sp.org and docs/reference/audit.md alone, with Node's own
// cryptography. It shares nothing with the one in `gateward`: where both say yes, it is not one program that agrees with itself.
import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
const leafHash = (data) => sha256(Buffer.of(0), data);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

/** MTH of RFC 6962, 2.1: recursive, on a list that is all in memory. */
export function merkleRoot(leaves) {
  if (leaves.length === 0) return sha256();
  if (leaves.length === 1) return leaves[0];
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return nodeHash(merkleRoot(leaves.slice(0, split)), merkleRoot(leaves.slice(split)));
}

/** PATH of RFC 6962, 2.1.1, climbed from a leaf; the root it leads to. */
export function rootOfPath(leaf, index, size, path) {
  const climb = (low, high, depth) => {
    if (high - low === 1) return leaf;
    let split = 1;
    while (split * 2 < high - low) split *= 2;
    const sibling = path[path.length - 1 - depth];
    return index < low + split
      ? nodeHash(climb(low, low + split, depth + 1), sibling)
      : nodeHash(sibling, climb(low + split, high, depth + 1));
  };
  return climb(0, size, 0);
}

/** `NAME+ID+KEY`. */
function verifierKey(text) {
  const [, name, id, encoded] = /^([^+\s]+)\+([0-9a-f]{8})\+(.+)$/.exec(text);
  const bytes = Buffer.from(encoded, "base64");
  if (bytes[0] !== 1 || bytes.length !== 33) throw new Error("not an Ed25519 key of a log");
  if (sha256(`${name}\n`, bytes).subarray(0, 4).toString("hex") !== id) throw new Error("the key's id is another");
  const key = createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: bytes.subarray(1).toString("base64url") },
    format: "jwk",
  });
  return { name, id: Buffer.from(id, "hex"), key };
}

/** Reads a signed checkpoint; throws unless the key signed it. */
export function openCheckpoint(note, key) {
  const { name, id, key: publicKey } = verifierKey(key);
  const at = note.lastIndexOf("\n\n");
  const text = note.slice(0, at + 1);
  const signed = note.slice(at + 2).split("\n").filter(Boolean).some((line) => {
    const [dash, signer, encoded] = line.split(" ");
    const bytes = Buffer.from(encoded, "base64");
    if (dash !== "\u2014" || signer !== name || !bytes.subarray(0, 4).equals(id)) return false;
    return verifySignature(null, Buffer.from(text), publicKey, bytes.subarray(4));
  });
  if (!signed) throw new Error("the checkpoint is not signed by the key");
  const [origin, size, root] = text.split("\n");
  return { origin, size: Number(size), root: Buffer.from(root, "base64") };
}

/** The leaf of an event's line. */
export function leafOf({ version, prev_hash: prev, event_hash: hash, body }) {
  return Buffer.from(`gateward-event/v1\nversion ${version}\nprev ${prev ?? "none"}\nhash ${hash}\n${body}`);
}

/** Verifies a whole log; throws at the first fault, and gives what it found. */
export async function verifyLog(file, note, key) {
  const published = openCheckpoint(note, key);
  const leaves = [];
  const chains = new Map();
  const events = [];
  const own = [];
  let header;
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    const value = JSON.parse(line);
    if (header === undefined) {
      header = value;
      if (header.gateward_audit_log !== 1 || header.from !== 0) throw new Error("not a whole log of format 1");
      continue;
    }
    if (value.checkpoint !== undefined) {
      own.push(openCheckpoint(value.checkpoint, key));
      continue;
    }
    if (value.row !== undefined || value.missing_event !== undefined) throw new Error(`changed: ${line}`);
    if (value.position !== leaves.length) throw new Error(`position ${value.position} instead of ${leaves.length}`);
    const event = JSON.parse(value.body);
    const aggregate = `${event.workspace_id} ${event.aggregate_type} ${event.aggregate_id}`;
    const before = chains.get(aggregate) ?? { version: 0, event_hash: null };
    if (value.version !== before.version + 1) throw new Error(`${aggregate}: version ${value.version}`);
    if (value.prev_hash !== before.event_hash) throw new Error(`${aggregate}: another event before it`);
    const hash = sha256(Buffer.from(value.prev_hash ?? "", "base64"), value.body).toString("base64");
    if (hash !== value.event_hash) throw new Error(`${aggregate}: another hash`);
    chains.set(aggregate, value);
    leaves.push(leafHash(leafOf(value)));
    events.push(event);
  }
  if (header.size !== leaves.length) throw new Error(`${leaves.length} events instead of ${header.size}`);
  for (const { origin, size, root } of [...own, published]) {
    if (origin !== header.origin) throw new Error(`a checkpoint of ${origin}`);
    if (size > leaves.length) throw new Error(`the log ends after ${leaves.length} events, a checkpoint has ${size}`);
    if (!merkleRoot(leaves.slice(0, size)).equals(root)) throw new Error(`another root at ${size}`);
  }
  return { events, aggregates: chains.size, checkpoints: own.length, leaves };
}

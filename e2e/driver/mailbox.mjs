// The mailbox of the gateway under test: what it sent to an address, and the one-time code in it.
import { gateway } from "./gateway.mjs";

/** The id of the newest message to `address`, 0 when there is none. */
export async function newestMessage(address) {
  const answer = await fetch(`${gateway.mailbox_url}/messages?to=${encodeURIComponent(address)}`);
  return (await answer.json()).at(-1)?.id ?? 0;
}

/** The first message to `address` after the message `after`, as soon as it has arrived. */
export async function nextMessage(address, after, within = 20_000) {
  const deadline = performance.now() + within;
  while (performance.now() < deadline) {
    const url = `${gateway.mailbox_url}/messages/next?to=${encodeURIComponent(address)}&after=${after}`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(15_000) });
    if (answer.status === 200) return answer.json();
    await answer.arrayBuffer();
  }
  throw new Error(`no mail to ${address} within ${within} ms`);
}

/** The one-time code in a message: its first line of digits alone, in groups or not. */
export function codeIn(message) {
  const line = message.text
    .split(/\r?\n/)
    .map((text) => text.trim())
    .find((text) => /^\d[\d -]{3,14}\d$/.test(text));
  const digits = (line ?? /\b\d[\d -]{4,10}\d\b/.exec(message.text)?.[0] ?? "").replace(/\D/g, "");
  if (digits === "") throw new Error(`the mail has no code: ${message.text}`);
  return digits;
}

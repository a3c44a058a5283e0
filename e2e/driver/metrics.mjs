// The origin's request counters, read at its private address.
import { gateway } from "./gateway.mjs";

/** What the edge asks of its own accord. */
const OWN_QUESTIONS = ["policy", "credentials/resolve", "revocations/confirm"];

/** Requests of callers by endpoint; what the edge asks by itself is left out. */
export async function originRequests() {
  const answer = await fetch(`${gateway.origin_url}/metrics`, { signal: AbortSignal.timeout(10_000) });
  const counts = {};
  for (const [, labels, value] of (await answer.text()).matchAll(/^gateward_origin_requests_total\{([^}]*)\}\s+(\d+)/gm)) {
    const endpoint = /endpoint="([^"]*)"/.exec(labels)?.[1];
    if (!OWN_QUESTIONS.includes(endpoint)) counts[endpoint] = (counts[endpoint] ?? 0) + Number(value);
  }
  return counts;
}

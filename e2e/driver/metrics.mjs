// The origin's request counters, read at its private address.
import { gateway } from "./gateway.mjs";

/** Requests by endpoint; policy fetches, which the edge makes by itself, are left out. */
export async function originRequests() {
  const answer = await fetch(`${gateway.origin_url}/metrics`, { signal: AbortSignal.timeout(10_000) });
  const counts = {};
  for (const [, labels, value] of (await answer.text()).matchAll(/^gateward_origin_requests_total\{([^}]*)\}\s+(\d+)/gm)) {
    const endpoint = /endpoint="([^"]*)"/.exec(labels)?.[1];
    if (endpoint !== "policy") counts[endpoint] = (counts[endpoint] ?? 0) + Number(value);
  }
  return counts;
}

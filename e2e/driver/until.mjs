// Waiting for a condition, with a deadline. Tests wait by this and never for a fixed time.
import { setTimeout as pause } from "node:timers/promises";

/**
 * Asks `condition` again and again until it gives something other than `undefined`, `null` or `false`, and returns that.
 * A condition that throws is asked again; its last error is told when the time is over.
 */
export async function until(what, condition, { within = 10_000, every = 50 } = {}) {
  const started = performance.now();
  let lastError;
  for (;;) {
    try {
      const found = await condition();
      if (found !== undefined && found !== null && found !== false) return found;
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (performance.now() - started > within) {
      throw new Error(`${what}: not within ${within} ms`, { cause: lastError });
    }
    await pause(every);
  }
}

/** Runs `work` on every item, at most `width` at a time; the results in the items' order. */
export async function inParallel(items, width, work) {
  const results = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index], index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}

/** The value below which `share` of the numbers lie. */
export function percentile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

// The gateway under test: what `cargo xtask up --control` wrote about itself, and its control endpoint. Decides nothing.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FILE = process.env.UP_JSON ?? fileURLToPath(new URL("../../target/gateward/up.json", import.meta.url));

/** The present contents of up.json: process ids change when a part is started again. */
export function record() {
  try {
    return JSON.parse(readFileSync(FILE, "utf8"));
  } catch (error) {
    throw new Error(
      `${FILE} cannot be read (${error.message}): start \`cargo xtask up --control\` and name its up.json in UP_JSON`,
    );
  }
}

/** What does not change while it runs. */
export const gateway = record();
export const issuer = gateway.issuer;

/** Gives the supervisor an order: `stop`, `kill` (SIGKILL) or `start` one part. Returns once that has happened. */
export async function control(order, part) {
  if (gateway.control_url === undefined) throw new Error("this gateway was started without --control");
  const answer = await fetch(`${gateway.control_url}/${order}/${part}`, {
    method: "POST",
    signal: AbortSignal.timeout(130_000),
  });
  const text = (await answer.text()).trim();
  if (!answer.ok) throw new Error(`${order} ${part}: ${text}`);
  return text;
}

/** Whether a part is ready, stopped or in between. */
export async function stateOf(part) {
  const answer = await fetch(`${gateway.control_url}/status`, { signal: AbortSignal.timeout(130_000) });
  const line = (await answer.text()).split("\n").find((line) => line.split(" ")[0] === part);
  if (line === undefined) throw new Error(`the supervisor knows no ${part}`);
  return line.split(" ")[1];
}

/** Starts every part that a test which failed halfway has left stopped. */
export async function startWhatIsStopped() {
  for (const part of ["postgres", "origin", "forwarder", "edge"]) {
    if ((await stateOf(part)) === "stopped") await control("start", part);
  }
}

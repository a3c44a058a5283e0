// Further edges beside the gateway's own: the same worker, configuration and keys, each a process with an isolate of its own on a free
// port. Reads what the running one was started with where Linux shows it. Decides nothing.
import { spawn } from "node:child_process";
import { readFile, readlink, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { randomBytes } from "node:crypto";
import { record } from "./gateway.mjs";

/** Starts `count` edges, with `changes` to the environment of the gateway's own; their URLs, and `stop` for all of them. */
export async function startEdges(count, changes = {}) {
  const { processes } = record();
  const program = await readlink(`/proc/${processes.edge}/exe`);
  const zeroEnded = async (file) => (await readFile(`/proc/${processes.edge}/${file}`, "utf8")).split("\0").filter(Boolean);
  const environment = Object.fromEntries((await zeroEnded("environ")).map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  const configuration = (await zeroEnded("cmdline")).find((argument) => argument.endsWith(".capnp"));
  // Beside the other, whose modules it embeds.
  const file = join(dirname(configuration), `workerd-${randomBytes(6).toString("hex")}.capnp`);
  const text = await readFile(configuration, "utf8");
  await writeFile(file, text.replace(/address = "127\.0\.0\.1:\d+"/, 'address = "127.0.0.1:0"'));
  const children = [];
  const stop = async () => {
    await Promise.all(children.map(({ child, ended }) => child.kill("SIGKILL") && ended));
    await rm(file, { force: true });
  };
  try {
    const urls = await Promise.all(
      Array.from({ length: count }, async () => {
        const child = spawn(program, ["serve", "--control-fd=3", file], { stdio: ["ignore", "ignore", "ignore", "pipe"], env: { ...environment, ...changes } });
        children.push({ child, ended: new Promise((resolve) => child.once("exit", resolve)) });
        const port = await new Promise((resolve, reject) => {
          let events = "";
          child.stdio[3].on("data", (data) => {
            events += data;
            const found = /"port":(\d+)/.exec(events);
            if (found) resolve(found[1]);
          });
          child.once("exit", (code) => reject(new Error(`an edge ended with ${code} before it listened`)));
          child.once("error", reject);
        });
        return `http://127.0.0.1:${port}`;
      }),
    );
    return { urls, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

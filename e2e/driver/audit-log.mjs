// The audit log of the running gateway, as somebody has it who was given an export, a checkpoint and the log's key.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as database from "./database.mjs";
import { gateward } from "./gateward.mjs";
import { gateway } from "./gateway.mjs";
import { openCheckpoint } from "./log-verifier.mjs";
import { until } from "./until.mjs";

/** Where the gateway publishes its checkpoints. */
export const checkpointFile = gateway.environment.AUDIT_CHECKPOINT_FILE;

export class AuditLog {
  constructor(folder, key) {
    Object.assign(this, { folder, key });
  }

  /** With a folder of its own for exports. */
  static async open() {
    const folder = await mkdtemp(join(tmpdir(), "gateward-audit-"));
    return new AuditLog(folder, (await gateward("audit", "key")).trim());
  }

  close() {
    return rm(this.folder, { recursive: true });
  }

  /** Runs `gateward audit verify`; its report and whether it exited 0. */
  verify(file, ...given) {
    const args = ["audit", "verify", file, "--key", this.key, "--json", ...given];
    return new Promise((resolve) => {
      // Nothing of the gateway's environment: log, checkpoint and key are all it has.
      execFile(gateway.gateward, args, { env: {}, maxBuffer: 1 << 28 }, (error, stdout) => {
        resolve({ whole: !error, code: error?.code ?? 0, report: JSON.parse(stdout || "null") });
      });
    });
  }

  /** Waits until the published checkpoint has everything that has happened so far, and exports the log. */
  async exported(name) {
    const [{ events }] = await database.command("SELECT count(*)::int AS events FROM auth_gateway.events");
    const published = await until(
      "the published checkpoint has every event",
      async () => {
        const note = await readFile(checkpointFile, "utf8");
        return openCheckpoint(note, this.key).size >= events && note;
      },
      { within: 30_000 },
    );
    const file = join(this.folder, name);
    const checkpoint = join(this.folder, `${name}.checkpoint`);
    await gateward("audit", "export", "--out", file);
    await writeFile(checkpoint, published);
    return { file, checkpoint, published, events };
  }
}

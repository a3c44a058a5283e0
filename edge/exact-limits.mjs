// The object that counts exactly: one of 64, each with the keys of its share. No rule may live here: wasm counts, this keeps what
// it counted. All of it is in the object's storage, so that it may be evicted or restarted at any time.
import { arrivals_over_until, count_exactly } from "./gateward_edge.js";

/** How many keys one alarm looks at. */
const BATCH = 1_000;
/** Milliseconds between two sweeps. */
const SWEEP_EVERY = 60_000;

export class ExactLimits {
  #storage;
  #hasAlarm = false;
  /** Up to where this sweep has looked. */
  #swept = "";

  constructor(context) {
    this.#storage = context.storage;
    this.#storage.sql.exec("CREATE TABLE IF NOT EXISTS arrivals (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID");
  }

  async fetch(request) {
    const charges = await request.text();
    const { sql } = this.#storage;
    const load = (key) => [...sql.exec("SELECT at FROM arrivals WHERE key = ?", key)][0]?.at;
    const store = (key, at) => sql.exec("INSERT INTO arrivals VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET at = excluded.at", key, at);
    // Nothing is awaited between reading and writing: no other request comes between.
    const counted = count_exactly(charges, load, store);
    if (!this.#hasAlarm) {
      this.#hasAlarm = true;
      if ((await this.#storage.getAlarm()) === null) await this.#storage.setAlarm(Date.now() + SWEEP_EVERY);
    }
    return new Response(counted);
  }

  /** Forgets keys that have their whole quota again, a batch at a time. */
  async alarm() {
    const { sql } = this.#storage;
    const looked = [...sql.exec("SELECT key, at FROM arrivals WHERE key > ? ORDER BY key LIMIT ?", this.#swept, BATCH)];
    const over = arrivals_over_until();
    for (const { key, at } of looked) if (at <= over) sql.exec("DELETE FROM arrivals WHERE key = ?", key);
    const goesOn = looked.length === BATCH;
    this.#swept = goesOn ? looked.at(-1).key : "";
    this.#hasAlarm = goesOn || [...sql.exec("SELECT 1 FROM arrivals LIMIT 1")].length > 0;
    if (this.#hasAlarm) await this.#storage.setAlarm(Date.now() + (goesOn ? 0 : SWEEP_EVERY));
  }
}

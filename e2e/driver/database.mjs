// Reads the three databases as their administrator, to see what the gateway left there.
import pg from "pg";
import { gateway } from "./gateway.mjs";

async function read(url, sql, values) {
  const client = new pg.Client({ connectionString: url, application_name: "gateward-e2e" });
  // A server that is stopped in the middle of a query tells through the query; this only keeps the process alive.
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(sql, values)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Rows of the command database. */
export const command = (sql, values) => read(gateway.database_url, sql, values);
/** Rows of the read database. */
export const readSide = (sql, values) => read(gateway.read_database_url, sql, values);
/** Rows of the client registry. */
export const registry = (sql, values) => read(gateway.registry_database_url, sql, values);

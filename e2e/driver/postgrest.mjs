// A PostgREST for tests: takes the one request that Gateward sends, looks at its wire form strictly, and executes in a real Postgres
// the statement that PostgREST makes of it, under a role with few rights. PostgREST itself is in no package registry.
//
// In a test:   const server = await startPostgrest({ databaseUrl, role, key }); … await server.close();
// By itself:   DATABASE_URL=postgres://… ROLE=auth_events_writer SERVICE_KEY=… node driver/postgrest.mjs
//              prints one line of JSON, {"url":"http://127.0.0.1:PORT"}, when it is ready; SIGTERM ends it. `POST /_next` with a JSON
//              array says what the next requests meet, one each:
//              "apply-then-hang" (stored, never answered), "apply-then-close", "hang", "close", or {"status":503,"headers":{…},"body":{…}}.
//              `GET /_seen` gives {requests, rows, violations}.
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";
import pg from "pg";

const quoted = (name) => `"${name.replaceAll('"', '""')}"`;

/** What PostgREST answers to an error of Postgres, by its table of codes. */
export function statusOf(code, isAnonymous = false) {
  const exact = {
    23503: 409, 23505: 409, 25006: 405, 42501: isAnonymous ? 401 : 403, 42883: 404, "42P01": 404, "42P17": 500, 53400: 500,
    57014: 500, "57P01": 503, P0001: 400,
  };
  const classes = { "08": 503, "09": 500, "0L": 403, "0P": 403, 25: 500, 28: 403, "2D": 500, 38: 500, 39: 500, "3B": 500, 40: 500,
    53: 503, 54: 500, 55: 500, 57: 500, 58: 500, F0: 500, HV: 500, P0: 500, XX: 500 };
  return exact[code] ?? classes[code.slice(0, 2)] ?? 400;
}

/**
 * Starts one on a free port. `role` is what the key's bearer acts as; `schemas` are those that are exposed, the first one unless the
 * request names another; `basePath` stands before the table. `url` is where it is; `requests`, `rows` and `violations` say what came, and
 * `next` holds what the next requests meet.
 */
export async function startPostgrest({ databaseUrl, role, key, schemas = ["public"], basePath = "/rest/v1", port = 0 }) {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 4, application_name: "postgrest" });
  // A server that goes away under an idle connection tells the next request.
  pool.on("error", () => {});
  const seen = { requests: 0, rows: 0, violations: [] };
  const next = [];
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray().catch(() => []));
    const reply = (status, value, headers = {}) => {
      const text = value === undefined ? "" : JSON.stringify(value);
      response.writeHead(status, { ...(text && { "content-type": "application/json; charset=utf-8" }), ...headers }).end(text);
    };
    if (request.url === "/_next") {
      next.push(...JSON.parse(body));
      return reply(204);
    }
    if (request.url === "/_seen") return reply(200, seen);
    seen.requests += 1;
    const order = next.shift();
    if (order === "hang") return;
    if (order === "close") return request.socket.destroy();
    if (order?.status !== undefined) return reply(order.status, order.body, order.headers);
    let answer;
    try {
      answer = await take(request, body);
    } catch (error) {
      answer = { status: 503, value: { code: error.code ?? "PGRST000", message: error.message, details: null, hint: null } };
    }
    if (order === "apply-then-hang") return;
    if (order === "apply-then-close") return request.socket.destroy();
    reply(answer.status, answer.value, answer.headers);
  });

  const fault = (status, code, message) => ({ status, value: { code, message, details: null, hint: null } });
  const violation = (message) => {
    seen.violations.push(message);
    return fault(400, "PGRST100", message);
  };

  async function take(request, body) {
    const headers = request.headers;
    if (headers.apikey !== key || headers.authorization !== `Bearer ${key}`) return fault(401, "PGRST301", "JWSError");
    const url = new URL(request.url, "http://localhost");
    if (request.method !== "POST") return violation(`${request.method} instead of POST`);
    const table = url.pathname.startsWith(`${basePath}/`) ? url.pathname.slice(basePath.length + 1) : undefined;
    if (table === undefined || table.includes("/")) return fault(404, "PGRST125", "Invalid path");
    const schema = headers["content-profile"] ?? schemas[0];
    if (!schemas.includes(schema)) return fault(406, "PGRST106", `The schema must be one of: ${schemas.join(", ")}`);
    if ([...url.searchParams.keys()].sort().join() !== "columns,on_conflict") return violation(`the query is ${url.search}`);
    if (url.searchParams.get("on_conflict") !== "event_id") return violation("on_conflict is not event_id");
    if (headers["content-type"] !== "application/json") return violation(`content-type is ${headers["content-type"]}`);
    const preferences = (headers.prefer ?? "").split(",").map((one) => one.trim()).sort().join();
    if (preferences !== "resolution=ignore-duplicates,return=minimal") return violation(`prefer is ${headers.prefer}`);
    if (headers.cookie !== undefined) return violation("there is a cookie");
    if (Number(headers["content-length"]) !== body.length) return violation("content-length is missing or wrong");
    const columns = url.searchParams.get("columns").split(",");
    let rows;
    try {
      rows = JSON.parse(body);
    } catch {
      return fault(400, "PGRST102", "Empty or invalid json");
    }
    if (!Array.isArray(rows)) return violation("the body is no array");
    const known = [...columns].sort().join();
    if (!rows.every((row) => Object.keys(row).sort().join() === known)) return violation("a row has other members than columns= names");
    return insert(schema, table, columns, body.toString("utf8"), rows.length);
  }

  async function insert(schema, table, columns, json, count) {
    const client = await pool.connect();
    let broken;
    try {
      const types = await client.query(
        `SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
        [`${quoted(schema)}.${quoted(table)}`],
      );
      if (types.rows.length === 0) return fault(404, "PGRST205", `Could not find the table '${schema}.${table}' in the schema cache`);
      const typeOf = new Map(types.rows.map((row) => [row.attname, row.type]));
      const missing = columns.find((column) => !typeOf.has(column));
      if (missing !== undefined) return fault(400, "PGRST204", `Could not find the '${missing}' column of '${table}' in the schema cache`);
      const names = columns.map(quoted).join(", ");
      const from = columns.map((column) => `"pgrst_body".${quoted(column)}`).join(", ");
      const definition = columns.map((column) => `${quoted(column)} ${typeOf.get(column)}`).join(", ");
      const statement =
        `WITH pgrst_source AS (INSERT INTO ${quoted(schema)}.${quoted(table)}(${names}) SELECT ${from} ` +
        `FROM (SELECT $1::json AS json_data) pgrst_payload, LATERAL (SELECT ${names} ` +
        `FROM json_to_recordset(pgrst_payload.json_data) AS _(${definition})) pgrst_body ` +
        `ON CONFLICT("event_id") DO NOTHING RETURNING 1) ` +
        `SELECT '' AS total_result_set, pg_catalog.count(_postgrest_t) AS page_total, array[]::text[] AS header, ''::text AS body, ` +
        `nullif(current_setting('response.headers', true), '') AS response_headers, ` +
        `nullif(current_setting('response.status', true), '') AS response_status FROM (SELECT * FROM pgrst_source) _postgrest_t`;
      await client.query("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
      await client.query("SELECT set_config('search_path', $1, true), set_config('role', $2, true)", [`${quoted(schema)}, public`, role]);
      await client.query(statement, [json]);
      await client.query("COMMIT");
      seen.rows += count;
      return { status: 201, headers: { "content-range": "*/*" } };
    } catch (error) {
      await client.query("ROLLBACK").catch((failed) => {
        broken = failed;
      });
      if (error.code === undefined || !/^[0-9A-Z]{5}$/.test(error.code)) throw error;
      const value = { code: error.code, message: error.message, details: error.detail ?? null, hint: error.hint ?? null };
      return { status: statusOf(error.code), value };
    } finally {
      client.release(broken);
    }
  }

  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await pool.end();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, seen, next, close };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { DATABASE_URL, ROLE, SERVICE_KEY, SCHEMAS = "public", BASE_PATH = "/rest/v1", PORT = "0" } = process.env;
  const server = await startPostgrest({
    databaseUrl: DATABASE_URL, role: ROLE, key: SERVICE_KEY, schemas: SCHEMAS.split(","), basePath: BASE_PATH, port: Number(PORT),
  });
  process.stdout.write(`${JSON.stringify({ url: server.url })}\n`);
  process.once("SIGTERM", () => server.close().then(() => process.exit(0)));
}

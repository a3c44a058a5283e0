//! A PostgREST that lies: it takes the one request that is sent to it, checks its form, and executes in a real Postgres the statement
//! that PostgREST makes of it, under a role with few rights. Then it tells the truth, unless it is to lie. HTTP/1.1 by hand, since what
//! is to be shown is a connection that ends in the middle.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Liar;
use crate::plan::Lie;

/// The key that opens it.
pub(crate) const SERVICE_KEY: &str = "sb_secret_of_the_fault_tests";
/// Longer than any forwarder waits.
const HANG: Duration = Duration::from_secs(3);
/// What a request's head may have at most.
const HEAD: usize = 16 * 1024;
/// What the request must hold, in lower case, each at the begin of a line.
const FIELDS: [&str; 4] = [
    "post /rest/v1/auth_events?on_conflict=event_id&columns=event_id,workspace_id,aggregate_type,aggregate_id,version,event_type,schema_version,payload,metadata,occurred_at http/1.1",
    "prefer: resolution=ignore-duplicates,return=minimal",
    "content-type: application/json",
    "apikey: sb_secret_of_the_fault_tests",
];
/// What PostgREST makes of it.
const STATEMENT: &str = r#"WITH pgrst_source AS (INSERT INTO "public"."auth_events"("event_id", "workspace_id", "aggregate_type", "aggregate_id", "version",
        "event_type", "schema_version", "payload", "metadata", "occurred_at")
    SELECT "pgrst_body"."event_id", "pgrst_body"."workspace_id", "pgrst_body"."aggregate_type", "pgrst_body"."aggregate_id", "pgrst_body"."version",
        "pgrst_body"."event_type", "pgrst_body"."schema_version", "pgrst_body"."payload", "pgrst_body"."metadata", "pgrst_body"."occurred_at"
    FROM (SELECT $1::json AS json_data) pgrst_payload, LATERAL (SELECT * FROM json_to_recordset(pgrst_payload.json_data) AS _("event_id" uuid,
        "workspace_id" uuid, "aggregate_type" text, "aggregate_id" uuid, "version" bigint, "event_type" text, "schema_version" smallint,
        "payload" jsonb, "metadata" jsonb, "occurred_at" timestamptz)) pgrst_body
    ON CONFLICT("event_id") DO NOTHING RETURNING 1)
SELECT pg_catalog.count(_postgrest_t) AS page_total FROM (SELECT * FROM pgrst_source) _postgrest_t"#;

/// Serves until the runtime ends. `options` are the superuser's on the database behind it.
pub(crate) async fn serve(port: u16, options: PgConnectOptions, liar: Liar) -> Result<()> {
    let listener =
        TcpListener::bind(("127.0.0.1", port)).await.context("the port of the HTTP sink is taken")?;
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (pool, liar) = (pool.clone(), liar.clone());
            tokio::spawn(async move {
                tokio::select! {
                    // A request that cannot be read is its sender's to notice.
                    _ = answer(&mut client, &pool, &liar) => {}
                    () = liar.cut() => {}
                }
            });
        }
    });
    Ok(())
}

/// One request, after which the connection ends.
async fn answer(client: &mut TcpStream, pool: &PgPool, liar: &Liar) -> Result<()> {
    let (head, mut body) = read_head(client).await?;
    if let Some(missing) = FIELDS.iter().find(|field| !head.lines().any(|line| line == **field)) {
        return say(
            client,
            400,
            &json!({"code": "PGRST100", "message": format!("there is no `{missing}` in: {head}")}),
        )
        .await;
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let length = length.context("there is no content-length")?;
    let lie = liar.next();
    if lie == Some(Lie::CutsBefore) {
        return Ok(());
    }
    if lie == Some(Lie::CutsInTheMiddle) {
        let mut half = vec![0; (length / 2).saturating_sub(body.len())];
        client.read_exact(&mut half).await?;
        return Ok(());
    }
    let mut rest = vec![0; length.saturating_sub(body.len())];
    client.read_exact(&mut rest).await?;
    body.extend(rest);
    let rows: Vec<Value> = serde_json::from_slice(&body).context("the body is no array")?;
    let half = rows.get(..rows.len() / 2).unwrap_or_default().to_vec();
    match lie {
        Some(Lie::Says(status)) => return say(client, status, &lied(status)).await,
        Some(Lie::AppliesHalfThenSays(status)) => {
            let _ = apply(pool, half).await;
            return say(client, status, &lied(status)).await;
        }
        Some(Lie::AppliesLate(milliseconds)) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        _ => {}
    }
    let (status, value) = apply(pool, rows).await;
    match lie {
        Some(Lie::AppliesThenCuts) => Ok(()),
        Some(Lie::AppliesThenHangs) => {
            tokio::time::sleep(HANG).await;
            Ok(())
        }
        Some(Lie::AppliesThenSays(status)) => say(client, status, &lied(status)).await,
        _ => say(client, status, &value).await,
    }
}

/// The head in lower case, except for nothing that matters here, and what came of the body with it.
async fn read_head(client: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let mut buffer = [0_u8; 4_096];
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).to_lowercase(), body));
        }
        let count = client.read(&mut buffer).await?;
        if count == 0 || read.len() > HEAD {
            bail!("the request has no end");
        }
        read.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
}

/// In one transaction under the key's role. Answers as PostgREST does, by the code of what Postgres said.
async fn apply(pool: &PgPool, rows: Vec<Value>) -> (u16, Value) {
    let work = async {
        let mut transaction = pool.begin().await?;
        sqlx::query("SELECT set_config('role', 'auth_events_writer', true)")
            .execute(&mut *transaction)
            .await?;
        sqlx::query(STATEMENT).bind(Value::Array(rows)).execute(&mut *transaction).await?;
        transaction.commit().await
    };
    let Err(error) = work.await else { return (201, Value::Null) };
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .map(std::borrow::Cow::into_owned);
    match code {
        Some(code) => {
            let status = match code.get(..2) {
                Some("22") => 400,
                Some("23") => 409,
                Some("53" | "57" | "08") => 503,
                _ => 500,
            };
            (status, json!({"code": code, "message": error.to_string()}))
        }
        None => (503, json!({"code": "PGRST000", "message": "the database cannot be reached"})),
    }
}

/// What it says of nothing that happened.
fn lied(status: u16) -> Value {
    let code = match status {
        409 => "23505",
        500 => "XX000",
        503 => "57P03",
        _ => "PGRST000",
    };
    json!({"code": code, "message": "this is not so"})
}

async fn say(client: &mut TcpStream, status: u16, value: &Value) -> Result<()> {
    let body = if value.is_null() { String::new() } else { value.to_string() };
    let wait = if status == 429 { "retry-after: 1\r\n" } else { "" };
    let answer = format!(
        "HTTP/1.1 {status} As Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{wait}\r\n{body}",
        body.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    Ok(())
}

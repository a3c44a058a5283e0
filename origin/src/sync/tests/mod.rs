//! Webhooks as a source sends them, through an edge, against a real Postgres.

mod api_key;
mod backfill;
mod deliveries;
mod secret;
mod user;

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::{base64url, credential::CredentialStatement, jwt::SigningKey};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    http::test_origin::{Answer, ISSUER, TestOrigin, WEBHOOK_SECRET},
    projects,
    test_database::TestDatabase,
};

const USER: &str = "/v1/sync/user";
const API_KEY: &str = "/v1/sync/api-key";
const BACKFILL: &str = "/v1/sync/backfill-api-keys";

/// Sends a webhook.
async fn send(test: &TestOrigin, path: &str, body: &Value) -> Answer {
    send_text(test, path, &body.to_string(), "application/json").await
}

async fn send_text(test: &TestOrigin, path: &str, body: &str, media_type: &str) -> Answer {
    let headers = [
        ("content-type", media_type),
        ("x-webhook-secret", WEBHOOK_SECRET),
        ("x-service-name", "supabase.test"),
    ];
    test.send("POST", path, &headers, body).await
}

/// Sends them all at the same time.
async fn at_once(test: &Arc<TestOrigin>, path: &'static str, bodies: Vec<Value>) -> Vec<Answer> {
    let mut sending = JoinSet::new();
    for body in bodies {
        let test = Arc::clone(test);
        sending.spawn(async move { send(&test, path, &body).await });
    }
    sending.join_all().await
}

/// What a good webhook was answered.
async fn good(test: &TestOrigin, path: &str, body: &Value) -> Value {
    let answer = send(test, path, body).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let body = answer.json();
    assert_eq!(body["success"], true);
    body
}

/// The problem of a bad one, and the fields that it names. Nothing of what was sent may be in it.
async fn refused(test: &TestOrigin, path: &str, body: &Value) -> (u16, String, Vec<String>) {
    let answer = send(test, path, body).await;
    let (status, slug) = answer.problem();
    let problem = answer.json();
    let faults = problem["faults"].as_array().cloned().unwrap_or_default();
    let fields = faults.iter().map(|fault| fault["field"].as_str().unwrap().to_owned()).collect();
    (status, slug, fields)
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_a1b2_0000_7000_8000_0000_0000_0000 + number)
}

const ORGANIZATION: u128 = 0xa0;

fn organization() -> Uuid {
    uuid(ORGANIZATION)
}

/// The hash of a key of this text, as its source would send it.
fn hash(key: &str) -> String {
    format!("{:x}", Sha256::digest(key))
}

/// A key's record as a source has it.
fn key(number: u128, secret: &str) -> Value {
    json!({
        "id": uuid(number),
        "user_id": uuid(0xe0),
        "organization_id": organization(),
        "name": format!("key {number}"),
        "key_hash": hash(secret),
        "permissions": ["notes:read"],
    })
}

fn with(mut record: Value, changes: Value) -> Value {
    if let Value::Object(members) = changes {
        for (name, value) in members {
            record[name] = value;
        }
    }
    record
}

/// An account, so that there can be keys of it.
async fn account(test: &TestOrigin) {
    let user = json!({"id": uuid(0xe0), "email": "ann@example.test"});
    assert_eq!(good(test, USER, &user).await["outcome"], "created");
}

/// A project in the organization's workspace.
async fn project(t: &TestDatabase, slug: &str) {
    let text = format!(
        "[workspace]\nslug = \"org-{}\"\nname = \"Organization\"\n[[project]]\nslug = \"{slug}\"\n[[project.service]]\nslug = \"api\"\n\
         upstreams = [\"http://127.0.0.1:9100\"]\n",
        organization()
    );
    projects::apply(&t.database, &projects::Declaration::parse(&text).unwrap()).await.unwrap();
}

/// What an edge hears of a key, by its text.
async fn resolve(test: &TestOrigin, secret: &str) -> Option<shared::credential::Resolved> {
    let sha256 = base64url::encode(&Sha256::digest(secret));
    let question = json!({ "sha256": sha256 }).to_string();
    let answer = test.send("POST", "/internal/credentials/resolve", &[], &question).await;
    let key = SigningKey::from_seed("policy", &[1; 32]).verification_key();
    let statement =
        CredentialStatement::verify(answer.json()["statement"].as_str().unwrap(), &key, ISSUER).unwrap();
    statement.credential
}

/// The events of one kind of aggregate, oldest first: `type@version`.
async fn events(t: &TestDatabase, aggregate: &str, id: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT event_type || '@' || version FROM auth_gateway.events WHERE aggregate_type = $1 AND aggregate_id = $2
         ORDER BY version",
    )
    .bind(aggregate)
    .bind(id)
    .fetch_all(&mut t.admin().await)
    .await
    .unwrap()
}

async fn count(t: &TestDatabase, table: &'static str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap()
}

/// How many of the refusals were counted under this reason.
async fn counted(test: &TestOrigin, reason: &str) -> u64 {
    let scraped = test.send_bare("GET", "/metrics", &[], "").await;
    let metrics = String::from_utf8(scraped.body).unwrap();
    let name = format!("gateward_origin_sync_refused_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// Every row of every table, as text.
async fn everything(t: &TestDatabase) -> String {
    let mut admin = t.admin().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname IN ('auth_gateway', 'security_service') AND c.relkind IN ('r', 'p')",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM {table} AS t")))
                .fetch_all(&mut admin)
                .await
                .unwrap();
        all.push_str(&rows.join("\n"));
    }
    all
}

//! `POST /v1/sync/api-key`: one key was made, changed, rotated or revoked at its source.

use axum::{body::Bytes, extract::State, response::Response};
use serde_json::{Value, json};

use super::{
    key_record::{Intent, KeyRecord},
    refused::{self, StoreError, SyncRefused},
    store::{self, Outcome},
    webhook::Webhook,
};
use crate::http::Origin;

/// The handler.
pub(super) async fn sync(State(origin): State<Origin>, webhook: Webhook, body: Bytes) -> Response {
    refused::answer(carry_out(&origin, &webhook, &body).await, &origin)
}

async fn carry_out(origin: &Origin, webhook: &Webhook, body: &[u8]) -> Result<Value, SyncRefused> {
    let record = KeyRecord::of_webhook(body)?;
    let (id, intent) = (record.id, record.intent);
    let settled = store::store(&origin.database, webhook, &[record]).await?;
    // One record, one answer.
    let stored = settled.into_iter().next().ok_or(StoreError::Raced)??;
    if stored.outcome != Outcome::Unchanged {
        // The next edge that asks is told.
        origin.policy.mark_changed();
    }
    let (event_type, done) = match intent {
        Intent::Create | Intent::State => ("ApiKeyCreated", "created"),
        Intent::Update => ("ApiKeyUpdated", "updated"),
        Intent::Rotate => ("ApiKeyRotated", "rotated"),
        Intent::Revoke => ("ApiKeyRevoked", "revoked"),
    };
    let message = match stored.outcome {
        Outcome::Unchanged => "API key unchanged".to_owned(),
        Outcome::Created | Outcome::Updated => format!("API key {done}; only its hash is stored"),
    };
    Ok(json!({
        "success": true,
        "message": message,
        "event_type": event_type,
        "api_key_id": id,
        "key_hash_stored": true,
        "outcome": stored.outcome.name(),
        "status": if stored.is_revoked { "revoked" } else { "active" },
        "project": stored.project,
    }))
}

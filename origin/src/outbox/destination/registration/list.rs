//! What destinations there are, each with the state of its queue.

use serde_json::Value;
use time::OffsetDateTime;

use super::RegistrationError;
use crate::database::{Actor, Component, Database};

/// A destination with the state of its queue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct Listed {
    /// Its number in the outbox.
    pub id: i16,
    /// Its name.
    pub name: String,
    /// How it is delivered to.
    pub kind: String,
    /// Where to and how.
    pub options: Value,
    /// The aggregates whose events it gets; nothing: all.
    pub aggregate_types: Option<Vec<String>>,
    /// Whether events are queued for it and delivered to it.
    pub enabled: bool,
    /// Whether past events are still to be queued for it: until then nothing is delivered.
    pub is_backfilling: bool,
    /// Why it was disabled, where it was not an operator who did it.
    pub disabled_reason: Option<String>,
    /// Events on their way to it.
    pub queued: i64,
    /// Since when the oldest of them has been.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_queued_at: Option<OffsetDateTime>,
    /// Events it would not take.
    pub failed: i64,
    /// What its last outage was, while that lasts.
    pub outage: Option<String>,
}

/// Every destination with the state of its queue, or the one that is named.
pub async fn list(database: &Database, name: Option<&str>) -> Result<Vec<Listed>, RegistrationError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await?;
    let rows: Vec<Listed> = sqlx::query_as(
        "SELECT d.id, d.name, d.kind, d.options, d.aggregate_types, d.enabled, d.disabled_reason,
                NOT EXISTS (SELECT FROM outbox_lanes WHERE destination_id = d.id) AS is_backfilling,
                q.queued, q.oldest_queued_at,
                (SELECT count(*) FROM outbox_failed WHERE destination_id = d.id) AS failed, d.breaker_error AS outage
         FROM outbox_destinations AS d CROSS JOIN LATERAL (
             SELECT count(*) AS queued, min(created_at) AS oldest_queued_at FROM outbox WHERE destination_id = d.id) AS q
         WHERE $1::text IS NULL OR d.name = $1
         ORDER BY d.id",
    )
    .bind(name)
    .fetch_all(scope.connection())
    .await?;
    match name {
        Some(name) if rows.is_empty() => Err(RegistrationError::Unknown(name.to_owned())),
        _ => Ok(rows),
    }
}

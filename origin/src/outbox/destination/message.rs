//! An event as it goes out in a webhook and to NATS: one JSON object, in the shape that Standard Webhooks recommends.

use serde::Serialize;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use uuid::Uuid;

use crate::outbox::Delivery;

/// The members of the object. It grows, but none of them goes or changes its meaning.
#[derive(Serialize)]
struct Message<'a> {
    /// `session.SessionStarted`: what it is about, and what happened.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened; not when it is delivered.
    timestamp: String,
    event_id: Uuid,
    workspace_id: Uuid,
    aggregate_type: &'a str,
    aggregate_id: Uuid,
    version: i64,
    event_type: &'a str,
    schema_version: i16,
    metadata: &'a Value,
    data: &'a Value,
}

/// The event's type with what it is about.
pub(super) fn kind(row: &Delivery) -> String {
    format!("{}.{}", row.aggregate_type, row.event_type)
}

/// The bytes that are signed and sent.
pub(super) fn bytes(row: &Delivery) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&Message {
        kind: kind(row),
        timestamp: timestamp(row.occurred_at)?,
        event_id: row.event_id,
        workspace_id: row.workspace_id,
        aggregate_type: &row.aggregate_type,
        aggregate_id: row.aggregate_id,
        version: row.version,
        event_type: &row.event_type,
        schema_version: row.schema_version,
        metadata: &row.metadata,
        data: &row.payload,
    })
    .map_err(|error| format!("the event cannot be written as JSON: {error}"))
}

/// RFC 3339, in UTC.
pub(super) fn timestamp(at: OffsetDateTime) -> Result<String, String> {
    at.to_offset(UtcOffset::UTC)
        .format(&Rfc3339)
        .map_err(|error| format!("its time cannot be written: {error}"))
}

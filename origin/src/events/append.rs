//! Appending: one statement that finds the next version, inserts the event, chains its hash and queues it for every destination
//! that wants it.
//!
//! What carries correctness is the unique key on (workspace, aggregate, version), not a lock: of two writers of one version the
//! second waits for the first, inserts nothing and tries the next version.

use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::canonical;
use super::field::Moment;
use super::new_event::NewEvent;
use super::payload::Aggregate;
use crate::database::{DatabaseError, Scope};
use crate::outbox::lane_of;

/// How often an append looks for a free version before it gives up: once, and three times more.
pub(super) const TRIES: u32 = 4;

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its id, the same wherever it is delivered.
    pub event_id: Uuid,
    /// Its place in its aggregate, from 1.
    pub version: i64,
}

/// Why an event could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Others appended to the same aggregate at the same time, again and again. The whole scope can be tried again; as an answer it
    /// is a 409.
    #[error("others changed {aggregate} {aggregate_id} at the same time; try again")]
    Conflict {
        /// Its kind.
        aggregate: &'static str,
        /// Its id.
        aggregate_id: Uuid,
    },
    /// The payload cannot be written as JSON.
    #[error("{event_type} cannot be written as JSON: {reason}")]
    Payload {
        /// The event's type.
        event_type: &'static str,
        /// Why.
        reason: String,
    },
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// An event as it will stand in the log, but for its version and its place in the chain.
pub(super) struct Sealed {
    pub(super) event_id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) aggregate: Aggregate,
    pub(super) aggregate_id: Uuid,
    pub(super) event_type: &'static str,
    pub(super) schema_version: i16,
    pub(super) payload: Value,
    pub(super) metadata: Value,
    pub(super) occurred_at: OffsetDateTime,
    /// The canonical bytes that are hashed.
    pub(super) body: Vec<u8>,
}

impl Scope {
    /// Records an event in this transaction, together with whatever else the scope does.
    pub async fn append(&mut self, event: NewEvent) -> Result<Appended, AppendError> {
        let event = self.seal(event)?;
        for _ in 0..TRIES {
            let version: Option<i64> = sqlx::query_scalar(
                "WITH last AS (
                     SELECT version, event_hash FROM events
                     WHERE workspace_id = $2 AND aggregate_type = $3 AND aggregate_id = $4
                     ORDER BY version DESC LIMIT 1
                 ), appended AS (
                     INSERT INTO events (event_id, workspace_id, aggregate_type, aggregate_id, version, event_type,
                                         schema_version, payload, metadata, occurred_at, body, prev_hash, event_hash)
                     SELECT $1, $2, $3, $4, coalesce(last.version, 0) + 1, $5, $6, $7, $8, $9, $10, last.event_hash,
                            sha256(coalesce(last.event_hash, ''::bytea) || $10)
                     FROM (VALUES (true)) AS one LEFT JOIN last ON true
                     ON CONFLICT DO NOTHING
                     RETURNING event_id, version
                 ), queued AS (
                     INSERT INTO outbox (destination_id, lane, event_id)
                     SELECT outbox_destinations.id, $11, appended.event_id
                     FROM appended CROSS JOIN outbox_destinations
                     WHERE outbox_destinations.enabled
                       AND (outbox_destinations.aggregate_types IS NULL OR $3 = ANY (outbox_destinations.aggregate_types))
                 )
                 SELECT version FROM appended",
            )
            .bind(event.event_id)
            .bind(event.workspace_id)
            .bind(event.aggregate.name())
            .bind(event.aggregate_id)
            .bind(event.event_type)
            .bind(event.schema_version)
            .bind(&event.payload)
            .bind(&event.metadata)
            .bind(event.occurred_at)
            .bind(&event.body)
            .bind(event.lane())
            .fetch_optional(self.connection())
            .await
            .map_err(DatabaseError::from)?;
            if let Some(version) = version {
                return Ok(Appended { event_id: event.event_id, version });
            }
        }
        Err(event.conflict())
    }

    /// Gives an event its id, its moment and its bytes.
    pub(super) fn seal(&self, event: NewEvent) -> Result<Sealed, AppendError> {
        let event_id = self.new_id();
        let occurred_at = self.clock().now();
        let NewEvent { workspace_id, aggregate, aggregate_id, event_type, schema_version, payload } = event;
        let unwritable = |reason: String| AppendError::Payload { event_type, reason };
        let payload = payload.map_err(|error| unwritable(error.to_string()))?;
        let metadata = self.metadata(event_id);
        let body = canonical::bytes(&json!({
            "event_id": event_id,
            "workspace_id": workspace_id,
            "aggregate_type": aggregate.name(),
            "aggregate_id": aggregate_id,
            "event_type": event_type,
            "schema_version": schema_version,
            "occurred_at": Moment(occurred_at).to_text().map_err(|error| unwritable(error.to_string()))?,
            "payload": payload,
            "metadata": metadata,
        }));
        Ok(Sealed {
            event_id,
            workspace_id,
            aggregate,
            aggregate_id,
            event_type,
            schema_version,
            payload,
            metadata,
            occurred_at,
            body,
        })
    }

    /// Who did it, for which request, and following from what. An event without a request starts a correlation of its own.
    fn metadata(&self, event_id: Uuid) -> Value {
        let known_as = self.actor().service_name();
        let mut metadata = json!({
            "actor": self.actor().to_json(),
            "service_name": self.service_name().unwrap_or(known_as),
            "correlation_id": self.correlation_id().unwrap_or(event_id),
            "causation_id": self.causation_id(),
        });
        if let (Some(_), Value::Object(members)) = (self.service_name(), &mut metadata) {
            // What it calls itself does not hide what its credential says it is.
            members.insert("authenticated_as".to_owned(), known_as.into());
        }
        metadata
    }
}

impl Sealed {
    /// The lane of its aggregate.
    pub(super) fn lane(&self) -> i16 {
        lane_of(self.workspace_id, self.aggregate.name(), self.aggregate_id)
    }

    pub(super) fn conflict(&self) -> AppendError {
        AppendError::Conflict { aggregate: self.aggregate.name(), aggregate_id: self.aggregate_id }
    }
}

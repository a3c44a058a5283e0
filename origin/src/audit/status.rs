//! How the audit log is doing: how far it is, how old the latest checkpoint is, and since when each place has one. By the database's
//! clock alone.

use super::tree::{self, TreeError};
use crate::database::{Actor, Component, Database};

/// The whole.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct AuditStatus {
    /// Events in the log.
    pub size: u64,
    /// Events that are queued for it.
    pub queued: i64,
    /// How long the oldest of them has been, in seconds.
    pub oldest_queued_seconds: f64,
    /// The latest checkpoint; nothing before the first.
    pub checkpoint: Option<CheckpointStatus>,
    /// Each place that checkpoints are published to.
    pub publications: Vec<PublicationStatus>,
}

/// The latest checkpoint.
#[derive(Clone, Debug, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct CheckpointStatus {
    /// How many events it is of.
    pub size: i64,
    /// How old it is, in seconds. With events in the log that it does not have, this is how long the keeper is behind.
    pub age_seconds: f64,
    /// How many cosignatures of witnesses it has.
    pub cosignatures: i64,
}

/// One place.
#[derive(Clone, Debug, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct PublicationStatus {
    /// `file`, `database` or `witness`.
    pub publisher: String,
    /// The largest checkpoint that is known to be there.
    pub size: Option<i64>,
    /// How long ago it was published, in seconds.
    pub published_seconds: Option<f64>,
    /// How long the oldest checkpoint that is not there has been waiting, in seconds; 0 when it has the latest.
    pub behind_seconds: f64,
    /// Failures in a row.
    pub failures: i32,
    /// The last of them.
    pub error: Option<String>,
}

/// Reads it, by a login that may act as the auditor.
pub async fn status(database: &Database) -> Result<AuditStatus, TreeError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await?;
    let size = tree::frontier(&mut scope).await?.size();
    let (queued, oldest_queued_seconds) = sqlx::query_as(
        "SELECT count(*), coalesce(greatest(extract(epoch FROM clock_timestamp() - min(created_at)), 0), 0)::float8
         FROM outbox JOIN outbox_destinations AS destination ON destination.id = outbox.destination_id
         WHERE destination.kind = 'sealer'",
    )
    .fetch_one(scope.connection())
    .await?;
    let checkpoint = sqlx::query_as(
        "SELECT size, greatest(extract(epoch FROM clock_timestamp() - made_at), 0)::float8 AS age_seconds,
                cardinality(cosignatures)::bigint AS cosignatures
         FROM audit_checkpoints ORDER BY size DESC LIMIT 1",
    )
    .fetch_optional(scope.connection())
    .await?;
    let publications = sqlx::query_as(
        "SELECT publisher, size, greatest(extract(epoch FROM clock_timestamp() - published_at), 0)::float8 AS published_seconds,
                coalesce((SELECT greatest(extract(epoch FROM clock_timestamp() - min(missing.made_at)), 0)
                          FROM audit_checkpoints AS missing WHERE missing.size > coalesce(known.size, 0)), 0)::float8
                    AS behind_seconds,
                failures, error
         FROM audit_publications AS known ORDER BY publisher",
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(AuditStatus { size, queued, oldest_queued_seconds, checkpoint, publications })
}

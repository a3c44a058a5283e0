//! The state of the outbox, for `gateward outbox stats` and for metrics.

use crate::database::{Actor, Component, Database, DatabaseError};

/// One destination's queue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct DestinationStatistics {
    /// The destination.
    pub destination: String,
    /// Whether anything is queued for it at all.
    pub enabled: bool,
    /// Why it was disabled, where it was not an operator who did it.
    pub disabled_reason: Option<String>,
    /// Rows waiting to be delivered.
    pub queued: i64,
    /// Age of the oldest of them, in seconds.
    pub oldest_seconds: f64,
    /// Why the oldest of them is still there, where it was refused.
    pub oldest_error: Option<String>,
    /// Rows that were refused and wait for another attempt.
    pub backing_off: i64,
    /// Rows set aside.
    pub failed: i64,
    /// Aggregates set aside.
    pub parked_aggregates: i64,
    /// Lanes that a forwarder holds now.
    pub leased_lanes: i64,
    /// Outages in a row; 0 when it is well.
    pub breaker_failures: i32,
    /// What the last outage was.
    pub breaker_error: Option<String>,
    /// In how many seconds it is tried again, while its breaker is open.
    pub breaker_seconds: Option<f64>,
}

/// Statistics of every destination.
pub async fn statistics(database: &Database) -> Result<Vec<DestinationStatistics>, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await?;
    let rows = sqlx::query_as(
        "SELECT d.name AS destination, d.enabled, d.disabled_reason, q.queued, q.backing_off,
                coalesce(greatest(extract(epoch FROM clock_timestamp() - oldest.created_at), 0), 0)::float8 AS oldest_seconds,
                oldest.last_error AS oldest_error,
                (SELECT count(*) FROM outbox_failed WHERE destination_id = d.id) AS failed,
                (SELECT count(*) FROM outbox_parked WHERE destination_id = d.id) AS parked_aggregates,
                (SELECT count(*) FROM outbox_lanes WHERE destination_id = d.id AND leased_until > clock_timestamp())
                    AS leased_lanes,
                d.breaker_failures, d.breaker_error,
                (CASE WHEN d.breaker_until > clock_timestamp()
                      THEN extract(epoch FROM d.breaker_until - clock_timestamp()) END)::float8 AS breaker_seconds
         FROM outbox_destinations AS d
         CROSS JOIN LATERAL (
             SELECT count(*) AS queued, count(*) FILTER (WHERE next_attempt_at IS NOT NULL) AS backing_off
             FROM outbox WHERE destination_id = d.id) AS q
         -- The oldest row stands at the head of its lane, so there is no need for an index by age.
         LEFT JOIN LATERAL (
             SELECT head.created_at, head.last_error FROM generate_series(0, 63) AS lane CROSS JOIN LATERAL (
                 SELECT created_at, last_error FROM outbox
                 WHERE destination_id = d.id AND outbox.lane = lane::smallint ORDER BY id LIMIT 1) AS head
             ORDER BY head.created_at LIMIT 1) AS oldest ON true
         ORDER BY d.id",
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(rows)
}

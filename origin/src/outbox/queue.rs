//! Reads what is next in leased lanes. No row is locked: the lease is what keeps others away.

use super::delivery::Delivery;
use super::lease::Lane;
use crate::database::{DatabaseError, Scope};

/// Up to `per_lane` rows of each lane, in the lane's order. Rows of an aggregate of which one is waiting for its next attempt wait
/// with it. All rows are judged at one moment: were it to move on within the statement, the one that waits could be skipped and the
/// next one of its aggregate not.
pub(super) async fn next(
    scope: &mut Scope,
    destination_id: i16,
    lanes: &[Lane],
    per_lane: i64,
) -> Result<Vec<Delivery>, DatabaseError> {
    let numbers: Vec<i16> = lanes.iter().map(|lane| lane.lane).collect();
    let rows = sqlx::query_as(
        "SELECT next.* FROM unnest($2::smallint[]) AS leased (lane) CROSS JOIN LATERAL (
             SELECT outbox.lane, outbox.id, outbox.attempts,
                    EXISTS (
                        SELECT FROM outbox_parked AS parked
                        WHERE parked.destination_id = $1 AND parked.workspace_id = events.workspace_id
                          AND parked.aggregate_type = events.aggregate_type
                          AND parked.aggregate_id = events.aggregate_id) AS parked,
                    events.event_id, events.workspace_id, events.aggregate_type, events.aggregate_id, events.version,
                    events.event_type, events.schema_version, events.payload, events.metadata, events.occurred_at
             FROM outbox JOIN events ON events.event_id = outbox.event_id
             WHERE outbox.destination_id = $1 AND outbox.lane = leased.lane
               AND NOT EXISTS (
                   SELECT FROM outbox AS waiting JOIN events AS earlier ON earlier.event_id = waiting.event_id
                   WHERE waiting.destination_id = $1 AND waiting.lane = leased.lane
                     AND waiting.next_attempt_at > statement_timestamp()
                     AND (earlier.workspace_id, earlier.aggregate_type, earlier.aggregate_id)
                       = (events.workspace_id, events.aggregate_type, events.aggregate_id))
             ORDER BY outbox.id
             LIMIT $3) AS next
         ORDER BY next.lane, next.id",
    )
    .bind(destination_id)
    .bind(numbers)
    .bind(per_lane)
    .fetch_all(scope.connection())
    .await?;
    Ok(rows)
}

/// How many rows are queued, and how many of these wait for another attempt.
pub(super) async fn remaining(scope: &mut Scope, destination_id: i16) -> Result<Remaining, DatabaseError> {
    let remaining = sqlx::query_as(
        "SELECT count(*) AS queued,
                count(*) FILTER (WHERE EXISTS (
                   SELECT FROM outbox AS waiting JOIN events AS earlier ON earlier.event_id = waiting.event_id
                   WHERE waiting.destination_id = $1 AND waiting.lane = outbox.lane
                     AND waiting.next_attempt_at > statement_timestamp()
                     AND (earlier.workspace_id, earlier.aggregate_type, earlier.aggregate_id)
                       = (events.workspace_id, events.aggregate_type, events.aggregate_id))) AS waiting
         FROM outbox JOIN events ON events.event_id = outbox.event_id
         WHERE outbox.destination_id = $1",
    )
    .bind(destination_id)
    .fetch_one(scope.connection())
    .await?;
    Ok(remaining)
}

/// What is left in the queue.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(super) struct Remaining {
    pub(super) queued: i64,
    pub(super) waiting: i64,
}

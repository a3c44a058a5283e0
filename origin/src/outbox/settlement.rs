//! Writes down what became of a batch: delivered rows go, refused ones wait for another attempt or are parked. All of it only for
//! lanes that are still ours.

use std::collections::HashSet;
use std::time::Duration;

use super::delivery::Delivery;
use super::halving::Outcome;
use super::lease::{self, Lane};
use crate::database::{DatabaseError, Scope};

/// A row is refused this often, then it is parked.
pub(super) const ATTEMPTS: i16 = 5;

/// How long to wait before trying again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// After the first failure.
    pub(super) first: Duration,
    /// However many there were.
    pub(super) most: Duration,
}

/// What was settled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) delivered: u64,
    pub(super) refused: u64,
    pub(super) parked: u64,
    /// Whether the destination's breaker has been open since it last took something.
    pub(super) tripped: bool,
    /// Lanes that somebody else has taken over: what was delivered of them will be delivered again.
    pub(super) lost_lanes: usize,
}

/// Settles a batch and returns the lanes that are still ours. `aside` are the rows that were not to be delivered, since their
/// aggregates were parked when the batch was read.
pub(super) async fn settle(
    scope: &mut Scope,
    destination_id: i16,
    lanes: &[Lane],
    lease: Duration,
    backoff: Backoff,
    aside: &[Delivery],
    outcome: &Outcome,
) -> Result<(Vec<Lane>, Settled), DatabaseError> {
    let (held, delivered, tripped) = acknowledge(scope, destination_id, lanes, lease, outcome).await?;
    let ours: HashSet<i16> = held.iter().map(|lane| lane.lane).collect();
    let lost_lanes = lanes.len() - held.len();
    let mut settled = Settled { delivered, tripped, lost_lanes, ..Settled::default() };

    for (row, reason) in outcome.refused.iter().filter(|(row, _)| ours.contains(&row.lane)) {
        settled.refused += 1;
        tracing::warn!(event_id = %row.event_id, attempt = row.attempts + 1, %reason, "the destination refused an event");
        if row.attempts + 1 < ATTEMPTS {
            retry_later(scope, destination_id, row, reason, backoff).await?;
        } else {
            settled.parked += park(scope, destination_id, row, reason).await?;
        }
    }
    for row in aside.iter().filter(|row| ours.contains(&row.lane)) {
        settled.parked += set_aside(scope, destination_id, row).await?;
    }
    Ok((held, settled))
}

/// Extends the lease on those lanes that are still ours and deletes what was delivered of them, in one statement. The lanes' rows stay
/// locked until the scope ends, so that what the scope does next is fenced, too. Each row is looked up by its key: by the statistics of a
/// destination that was filled a moment ago there is next to nothing in it, and a join planned by these would read all of it for each row.
async fn acknowledge(
    scope: &mut Scope,
    destination_id: i16,
    lanes: &[Lane],
    lease: Duration,
    outcome: &Outcome,
) -> Result<(Vec<Lane>, u64, bool), DatabaseError> {
    let (numbers, epochs) = lease::columns(lanes);
    let (gone_lanes, gone_ids): (Vec<i16>, Vec<i64>) = outcome.delivered.iter().copied().unzip();
    let rows: Vec<(i16, i64, i64, bool)> = sqlx::query_as(
        "WITH held AS (
             UPDATE outbox_lanes AS lanes SET leased_until = clock_timestamp() + $4
             FROM unnest($2::smallint[], $3::bigint[]) AS mine (lane, epoch)
             WHERE lanes.destination_id = $1 AND lanes.lane = mine.lane AND lanes.epoch = mine.epoch
             RETURNING lanes.lane, lanes.epoch
         ), gone AS (
             DELETE FROM outbox WHERE ctid = ANY (ARRAY(
                 SELECT found.place FROM unnest($5::smallint[], $6::bigint[]) AS done (lane, id)
                 JOIN held ON held.lane = done.lane
                 CROSS JOIN LATERAL (
                     SELECT outbox.ctid AS place FROM outbox
                     WHERE outbox.destination_id = $1 AND outbox.lane = done.lane AND outbox.id = done.id
                     OFFSET 0) AS found))
             RETURNING 1
         )
         SELECT held.lane, held.epoch, (SELECT count(*) FROM gone),
                (SELECT breaker_failures > 0 FROM outbox_destinations WHERE id = $1)
         FROM held",
    )
    .bind(destination_id)
    .bind(numbers)
    .bind(epochs)
    .bind(lease)
    .bind(gone_lanes)
    .bind(gone_ids)
    .fetch_all(scope.connection())
    .await?;
    let delivered = rows.first().map_or(0, |row| u64::try_from(row.2).unwrap_or(0));
    let tripped = rows.first().is_some_and(|row| row.3);
    Ok((rows.into_iter().map(|(lane, epoch, ..)| Lane { lane, epoch }).collect(), delivered, tripped))
}

async fn retry_later(
    scope: &mut Scope,
    destination_id: i16,
    row: &Delivery,
    reason: &str,
    backoff: Backoff,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE outbox SET attempts = attempts + 1, last_error = left($4, 1000),
                next_attempt_at = clock_timestamp() + least($6::interval, $5::interval * power(2, attempts))
         WHERE destination_id = $1 AND lane = $2 AND id = $3",
    )
    .bind(destination_id)
    .bind(row.lane)
    .bind(row.id)
    .bind(reason)
    .bind(backoff.first)
    .bind(backoff.most)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Moves a refused row and everything queued behind it in its aggregate to `outbox_failed`, and marks the aggregate.
async fn park(
    scope: &mut Scope,
    destination_id: i16,
    row: &Delivery,
    reason: &str,
) -> Result<u64, DatabaseError> {
    sqlx::query(
        "INSERT INTO outbox_parked (destination_id, workspace_id, aggregate_type, aggregate_id, parked_at)
         VALUES ($1, $2, $3, $4, clock_timestamp()) ON CONFLICT DO NOTHING",
    )
    .bind(destination_id)
    .bind(row.workspace_id)
    .bind(&row.aggregate_type)
    .bind(row.aggregate_id)
    .execute(scope.connection())
    .await?;
    let moved = sqlx::query(
        "WITH gone AS (
             DELETE FROM outbox USING events
             WHERE outbox.destination_id = $1 AND outbox.lane = $2 AND events.event_id = outbox.event_id
               AND events.workspace_id = $3 AND events.aggregate_type = $4 AND events.aggregate_id = $5
             RETURNING outbox.id, outbox.event_id, outbox.attempts, outbox.last_error, outbox.created_at)
         INSERT INTO outbox_failed
             (destination_id, lane, id, event_id, attempts, error_class, last_error, created_at, failed_at)
         SELECT $1, $2, id, event_id,
                CASE WHEN id = $6 THEN attempts + 1 ELSE attempts END,
                CASE WHEN id = $6 THEN 'refused' ELSE 'behind' END,
                CASE WHEN id = $6 THEN left($7, 1000) ELSE last_error END, created_at, clock_timestamp()
         FROM gone",
    )
    .bind(destination_id)
    .bind(row.lane)
    .bind(row.workspace_id)
    .bind(&row.aggregate_type)
    .bind(row.aggregate_id)
    .bind(row.id)
    .bind(reason)
    .execute(scope.connection())
    .await?;
    tracing::error!(
        aggregate_type = row.aggregate_type, aggregate_id = %row.aggregate_id, event_id = %row.event_id, %reason,
        "an event was refused {ATTEMPTS} times; its aggregate is parked"
    );
    Ok(moved.rows_affected())
}

/// Moves one row of a parked aggregate to `outbox_failed`, so that it does not stand in the lane's way. Where an operator has let
/// the aggregate go on since the batch was read, the row stays.
async fn set_aside(scope: &mut Scope, destination_id: i16, row: &Delivery) -> Result<u64, DatabaseError> {
    let moved = sqlx::query(
        "WITH gone AS (
             DELETE FROM outbox WHERE destination_id = $1 AND lane = $2 AND id = $3
               AND EXISTS (
                   SELECT FROM outbox_parked AS parked
                   WHERE parked.destination_id = $1 AND parked.workspace_id = $4 AND parked.aggregate_type = $5
                     AND parked.aggregate_id = $6)
             RETURNING id, event_id, attempts, last_error, created_at)
         INSERT INTO outbox_failed
             (destination_id, lane, id, event_id, attempts, error_class, last_error, created_at, failed_at)
         SELECT $1, $2, id, event_id, attempts, 'behind', last_error, created_at, clock_timestamp() FROM gone",
    )
    .bind(destination_id)
    .bind(row.lane)
    .bind(row.id)
    .bind(row.workspace_id)
    .bind(&row.aggregate_type)
    .bind(row.aggregate_id)
    .execute(scope.connection())
    .await?;
    Ok(moved.rows_affected())
}

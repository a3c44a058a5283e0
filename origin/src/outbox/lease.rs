//! Leases on lanes, by the database's clock alone. Each lease raises the lane's epoch, so that whoever held it before can no longer
//! acknowledge anything.

use std::time::Duration;

use crate::database::{DatabaseError, Scope};

/// A lane that is ours until its lease ends or somebody raises its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Lane {
    pub(super) lane: i16,
    pub(super) epoch: i64,
}

/// Leases up to `count` lanes that have something to carry and are held by nobody, the longest idle first. Nothing while the
/// destination's breaker is open, unless `despite_breaker`; a time that the destination named is kept all the same.
pub(super) async fn acquire(
    scope: &mut Scope,
    destination_id: i16,
    holder: &str,
    lease: Duration,
    count: i64,
    despite_breaker: bool,
) -> Result<Vec<Lane>, DatabaseError> {
    let lanes = sqlx::query_as(
        "UPDATE outbox_lanes SET epoch = epoch + 1, leased_by = $2, leased_until = clock_timestamp() + $3
         WHERE (destination_id, lane) IN (
             SELECT lanes.destination_id, lanes.lane FROM outbox_lanes AS lanes
             JOIN outbox_destinations ON outbox_destinations.id = lanes.destination_id
             WHERE lanes.destination_id = $1 AND outbox_destinations.enabled
               AND ($5 OR coalesce(outbox_destinations.breaker_until <= clock_timestamp(), true))
               AND coalesce(outbox_destinations.breaker_not_before <= clock_timestamp(), true)
               AND coalesce(lanes.leased_until <= clock_timestamp(), true)
               AND EXISTS (
                   SELECT FROM outbox
                   WHERE outbox.destination_id = lanes.destination_id AND outbox.lane = lanes.lane
                     AND coalesce(outbox.next_attempt_at <= clock_timestamp(), true))
             ORDER BY lanes.leased_until NULLS FIRST
             LIMIT $4
             FOR UPDATE OF lanes SKIP LOCKED)
         RETURNING lane, epoch",
    )
    .bind(destination_id)
    .bind(holder)
    .bind(lease)
    .bind(count)
    .bind(despite_breaker)
    .fetch_all(scope.connection())
    .await?;
    Ok(lanes)
}

/// Gives lanes back at once. The end of the lease becomes now, which is how the longest idle lane is found.
pub(super) async fn release(
    scope: &mut Scope,
    destination_id: i16,
    lanes: &[Lane],
) -> Result<(), DatabaseError> {
    let (numbers, epochs) = columns(lanes);
    sqlx::query(
        "UPDATE outbox_lanes AS lanes SET leased_by = NULL, leased_until = clock_timestamp()
         FROM unnest($2::smallint[], $3::bigint[]) AS mine (lane, epoch)
         WHERE lanes.destination_id = $1 AND lanes.lane = mine.lane AND lanes.epoch = mine.epoch",
    )
    .bind(destination_id)
    .bind(numbers)
    .bind(epochs)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Lanes as a statement takes them.
pub(super) fn columns(lanes: &[Lane]) -> (Vec<i16>, Vec<i64>) {
    lanes.iter().map(|lane| (lane.lane, lane.epoch)).unzip()
}

//! The breaker of a destination, shared by all forwarders through its row: open after an outage, longer with each one in a row.

use std::time::Duration;

use super::settlement::Backoff;
use crate::database::{DatabaseError, Scope};

/// A destination cannot keep itself shut for longer than this by naming a time.
const LONGEST_NAMED: Duration = Duration::from_hours(24);

/// Opens it. Forwarders that met the same outage at the same time count it once. A time that the destination named is kept even
/// by those that were asked to carry despite the breaker.
pub(super) async fn trip(
    scope: &mut Scope,
    destination_id: i16,
    reason: &str,
    retry_after: Option<Duration>,
    backoff: Backoff,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE outbox_destinations
         SET breaker_failures = breaker_failures + was.closed::int, breaker_error = left($2, 1000),
             breaker_not_before = greatest(breaker_not_before, clock_timestamp() + $5::interval),
             breaker_until = greatest(
                 breaker_until, clock_timestamp() + $5::interval,
                 CASE WHEN was.closed
                      THEN clock_timestamp() + least($4::interval, $3::interval * power(2, least(breaker_failures, 30))) END)
         FROM (SELECT id, coalesce(breaker_until <= clock_timestamp(), true) AS closed
               FROM outbox_destinations WHERE id = $1 FOR UPDATE) AS was
         WHERE outbox_destinations.id = was.id",
    )
    .bind(destination_id)
    .bind(reason)
    .bind(backoff.first)
    .bind(backoff.most)
    .bind(retry_after.map(|named| named.min(LONGEST_NAMED)))
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Closes it, where it was open.
pub(super) async fn reset(scope: &mut Scope, destination_id: i16) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE outbox_destinations
         SET breaker_failures = 0, breaker_error = NULL, breaker_until = NULL, breaker_not_before = NULL
         WHERE id = $1 AND breaker_failures > 0",
    )
    .bind(destination_id)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Disables a destination that wants nothing any more. Its rows stay, and nothing new is queued for it.
pub(super) async fn disable(
    scope: &mut Scope,
    destination_id: i16,
    reason: &str,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE outbox_destinations SET enabled = false, disabled_reason = left($2, 1000)
         WHERE id = $1 AND enabled",
    )
    .bind(destination_id)
    .bind(reason)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// What a destination said of when it may be called again, where that is still to come.
pub(super) async fn named_time(
    scope: &mut Scope,
    destination_id: i16,
) -> Result<Option<String>, DatabaseError> {
    Ok(sqlx::query_scalar(
        "SELECT 'it asked to be left alone until ' || to_char(breaker_not_before AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
                || coalesce(': ' || breaker_error, '')
         FROM outbox_destinations WHERE id = $1 AND breaker_not_before > clock_timestamp()",
    )
    .bind(destination_id)
    .fetch_optional(scope.connection())
    .await?)
}

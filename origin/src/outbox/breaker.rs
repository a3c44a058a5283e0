//! The breaker of a destination, shared by all forwarders through its row: open after an outage, longer with each one in a row.

use super::settlement::Backoff;
use crate::database::{DatabaseError, Scope};

/// Opens it. Forwarders that met the same outage at the same time count it once.
pub(super) async fn trip(
    scope: &mut Scope,
    destination_id: i16,
    reason: &str,
    backoff: Backoff,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE outbox_destinations
         SET breaker_failures = breaker_failures + 1, breaker_error = left($2, 1000),
             breaker_until = clock_timestamp() + least($4::interval, $3::interval * power(2, least(breaker_failures, 30)))
         WHERE id = $1 AND coalesce(breaker_until <= clock_timestamp(), true)",
    )
    .bind(destination_id)
    .bind(reason)
    .bind(backoff.first)
    .bind(backoff.most)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Closes it, where it was open.
pub(super) async fn reset(scope: &mut Scope, destination_id: i16) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE outbox_destinations SET breaker_failures = 0, breaker_error = NULL, breaker_until = NULL
         WHERE id = $1 AND breaker_failures > 0",
    )
    .bind(destination_id)
    .execute(scope.connection())
    .await?;
    Ok(())
}

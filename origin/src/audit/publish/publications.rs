//! How each place is doing, as rows, for `gateward audit status` and the doctor.

use crate::database::{DatabaseError, Scope};

/// Writes down that a place has the checkpoint of this size, or why it has not.
pub(in crate::audit) async fn record(
    scope: &mut Scope,
    publisher: &str,
    result: Result<u64, &str>,
) -> Result<(), DatabaseError> {
    let size = result.ok().map(|size| i64::try_from(size).unwrap_or(i64::MAX));
    sqlx::query(
        "INSERT INTO audit_publications AS known (publisher, size, published_at, attempted_at, failures, error)
         VALUES ($1, $2, CASE WHEN $3::text IS NULL THEN clock_timestamp() END, clock_timestamp(),
                 CASE WHEN $3 IS NULL THEN 0 ELSE 1 END, left($3, 1000))
         ON CONFLICT (publisher) DO UPDATE SET
             size = coalesce(excluded.size, known.size), published_at = coalesce(excluded.published_at, known.published_at),
             attempted_at = excluded.attempted_at, error = excluded.error,
             failures = CASE WHEN $3 IS NULL THEN 0 ELSE known.failures + 1 END",
    )
    .bind(publisher)
    .bind(size)
    .bind(result.err())
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Forgets every place but these.
pub(in crate::audit) async fn forget_all_but(
    scope: &mut Scope,
    publishers: &[&str],
) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM audit_publications WHERE NOT publisher = ANY ($1)")
        .bind(publishers)
        .execute(scope.connection())
        .await?;
    Ok(())
}

//! Rows of `public.auth_events`, as they are written and removed other than by a forwarder.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::recorded::Recorded;
use crate::database::{DatabaseError, Scope, sqlstate};

/// Inserts events that are not there yet, into the table or a namesake of it. Without `received_at` they were received now.
pub(super) async fn insert(
    scope: &mut Scope,
    table: &'static str,
    events: &[Recorded],
    received_at: Option<time::OffsetDateTime>,
) -> Result<u64, DatabaseError> {
    let (received_column, received_value) =
        if received_at.is_some() { (", received_at", ", $11") } else { ("", "") };
    let statement = format!(
        "INSERT INTO public.{table} (event_id, workspace_id, aggregate_type, aggregate_id, version, event_type,
                                     schema_version, payload, metadata, occurred_at{received_column})
         SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version, payload,
                metadata, occurred_at{received_value}
         FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::text[], $7::smallint[],
                     $8::jsonb[], $9::jsonb[], $10::timestamptz[]) WITH ORDINALITY
              AS batch (event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version,
                        payload, metadata, occurred_at, place)
         ORDER BY place
         ON CONFLICT (event_id) DO NOTHING"
    );
    let mut query = sqlx::query(AssertSqlSafe(statement))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.workspace_id))
        .bind(column(events, |event| event.aggregate_type.clone()))
        .bind(column(events, |event| event.aggregate_id))
        .bind(column(events, |event| event.version))
        .bind(column(events, |event| event.event_type.clone()))
        .bind(column(events, |event| event.schema_version))
        .bind(column(events, |event| event.payload.clone()))
        .bind(column(events, |event| event.metadata.clone()))
        .bind(column(events, |event| event.occurred_at));
    if let Some(at) = received_at {
        query = query.bind(at);
    }
    Ok(query.execute(scope.connection()).await?.rows_affected())
}

fn column<T>(events: &[Recorded], of: impl Fn(&Recorded) -> T) -> Vec<T> {
    events.iter().map(of).collect()
}

/// Removes rows by their ids.
pub(super) async fn remove(scope: &mut Scope, ids: &[Uuid]) -> Result<u64, DatabaseError> {
    let removed = sqlx::query("DELETE FROM public.auth_events WHERE event_id = ANY ($1)")
        .bind(ids)
        .execute(scope.connection())
        .await?;
    Ok(removed.rows_affected())
}

/// Whether the store will not take a row, for what the row is: data exceptions, integrity violations, limits, a trigger that says no.
pub(super) fn is_refusal(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Refused(source) if sqlstate(source).is_some_and(|code| {
        code.starts_with("22") || code.starts_with("23") || code.starts_with("54") || code == "P0001"
    }))
}

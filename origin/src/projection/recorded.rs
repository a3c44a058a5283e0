//! Events as the command database holds them, read by the auditor in pages. An aggregate's events come in the order of their versions,
//! and a page never has a later one without those before it: whoever reads page after page sees, of each aggregate, a beginning without gaps.

use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::registry::Happened;

/// An event.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub(super) struct Recorded {
    pub(super) event_id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: Uuid,
    pub(super) version: i64,
    pub(super) event_type: String,
    pub(super) schema_version: i16,
    pub(super) payload: Value,
    pub(super) metadata: Value,
    pub(super) occurred_at: OffsetDateTime,
}

impl<'a> From<&'a Recorded> for Happened<'a> {
    fn from(event: &'a Recorded) -> Self {
        Self {
            workspace_id: event.workspace_id,
            aggregate_id: event.aggregate_id,
            version: event.version,
            event_type: &event.event_type,
            schema_version: event.schema_version,
            payload: &event.payload,
            occurred_at: event.occurred_at,
        }
    }
}

/// The place of an event in the order of pages.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    workspace_id: Uuid,
    aggregate_type: String,
    aggregate_id: Uuid,
    version: i64,
}

impl Recorded {
    pub(super) fn place(&self) -> Place {
        Place {
            workspace_id: self.workspace_id,
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id,
            version: self.version,
        }
    }
}

pub(super) async fn auditor(command: &Database) -> Result<Scope, DatabaseError> {
    command.scope(Actor::System(Component::Auditor)).await
}

/// The next events after a place, of the aggregates named or of all.
pub(super) async fn page(
    command: &Database,
    aggregates: Option<&[&str]>,
    after: &Place,
    most: i64,
) -> Result<Vec<Recorded>, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_as(
        "SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version, payload,
                metadata, occurred_at
         FROM events
         WHERE (workspace_id, aggregate_type, aggregate_id, version) > ($1, $2, $3, $4)
           AND ($5::text[] IS NULL OR aggregate_type = ANY ($5))
         ORDER BY workspace_id, aggregate_type, aggregate_id, version
         LIMIT $6",
    )
    .bind(after.workspace_id)
    .bind(&after.aggregate_type)
    .bind(after.aggregate_id)
    .bind(after.version)
    .bind(aggregates)
    .bind(most)
    .fetch_all(scope.connection())
    .await?)
}

/// The next events after an id, by their ids.
pub(super) async fn page_by_id(
    command: &Database,
    after: Uuid,
    most: i64,
) -> Result<Vec<Recorded>, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_as(
        "SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version, payload,
                metadata, occurred_at
         FROM events WHERE event_id > $1 ORDER BY event_id LIMIT $2",
    )
    .bind(after)
    .bind(most)
    .fetch_all(scope.connection())
    .await?)
}

/// The command database's clock.
pub(super) async fn time(command: &Database) -> Result<OffsetDateTime, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(scope.connection()).await?)
}

/// Events by their ids, in the order of their aggregates.
pub(super) async fn by_ids(command: &Database, ids: &[Uuid]) -> Result<Vec<Recorded>, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_as(
        "SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version, payload,
                metadata, occurred_at
         FROM events WHERE event_id = ANY ($1)
         ORDER BY workspace_id, aggregate_type, aggregate_id, version",
    )
    .bind(ids)
    .fetch_all(scope.connection())
    .await?)
}

/// All events of some aggregates of one kind, each aggregate's in order.
pub(super) async fn of_aggregates(
    command: &Database,
    aggregate_type: &str,
    ids: &[Uuid],
) -> Result<Vec<Recorded>, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_as(
        "SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version, payload,
                metadata, occurred_at
         FROM events WHERE aggregate_type = $1 AND aggregate_id = ANY ($2)
         ORDER BY workspace_id, aggregate_type, aggregate_id, version",
    )
    .bind(aggregate_type)
    .bind(ids)
    .fetch_all(scope.connection())
    .await?)
}

/// How many events there are, as far as the planner's statistics know: for telling progress, nothing else.
pub(super) async fn about(command: &Database) -> Result<i64, DatabaseError> {
    let mut scope = auditor(command).await?;
    let about: f32 =
        sqlx::query_scalar("SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = 'events'::regclass")
            .fetch_one(scope.connection())
            .await?;
    #[allow(clippy::cast_possible_truncation, reason = "an estimate")]
    Ok(about as i64)
}

/// Which of these events there are.
pub(super) async fn known(command: &Database, ids: &[Uuid]) -> Result<Vec<Uuid>, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_scalar("SELECT event_id FROM events WHERE event_id = ANY ($1)")
        .bind(ids)
        .fetch_all(scope.connection())
        .await?)
}

/// Which of these events there are that are neither on their way to a destination nor set aside: what was acknowledged, or never queued.
pub(super) async fn settled(
    command: &Database,
    destination_id: i16,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, DatabaseError> {
    let mut scope = auditor(command).await?;
    // One statement, one snapshot: a row that moves from the one table to the other is seen in one of them.
    Ok(sqlx::query_scalar(
        "SELECT event_id FROM events
         WHERE event_id = ANY ($2)
           AND event_id NOT IN (SELECT event_id FROM outbox WHERE destination_id = $1 AND event_id = ANY ($2))
           AND event_id NOT IN (SELECT event_id FROM outbox_failed WHERE destination_id = $1 AND event_id = ANY ($2))",
    )
    .bind(destination_id)
    .bind(ids)
    .fetch_all(scope.connection())
    .await?)
}

/// Which of these aggregates have events on their way to a destination, or set aside.
pub(super) async fn unsettled_aggregates(
    command: &Database,
    destination_id: i16,
    aggregate_type: &str,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, DatabaseError> {
    let mut scope = auditor(command).await?;
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT events.aggregate_id FROM events
         WHERE events.aggregate_type = $2 AND events.aggregate_id = ANY ($3)
           AND (EXISTS (SELECT FROM outbox WHERE outbox.destination_id = $1 AND outbox.event_id = events.event_id)
             OR EXISTS (SELECT FROM outbox_failed WHERE outbox_failed.destination_id = $1
                        AND outbox_failed.event_id = events.event_id))",
    )
    .bind(destination_id)
    .bind(aggregate_type)
    .bind(ids)
    .fetch_all(scope.connection())
    .await?)
}

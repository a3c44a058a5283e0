//! What an operator can do about rows that a destination would not take: look at them, queue them again, or give them up. The two
//! changes are events themselves.
//!
//! Order holds because a row keeps the place in its lane that it was appended to: whatever is appended to its aggregate meanwhile, or
//! later, stands behind it. A change takes all lanes of the destination first. So a batch that a forwarder has in flight is settled
//! either before it, and what it set aside is found here, or after it, and then it sets nothing aside any more.

use time::OffsetDateTime;
use uuid::Uuid;

use super::destination;
use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::events::field::Identifier;
use crate::events::payload::{OutboxEventsDiscarded, OutboxEventsReplayed};
use crate::events::{AppendError, NewEvent};

/// How often a change is tried that a forwarder's transaction was in the way of.
const TRIES: u32 = 3;

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct FailedEvent {
    /// The destination that did not take it.
    pub destination: String,
    /// The event.
    pub event_id: Uuid,
    /// What happened.
    pub event_type: String,
    /// The workspace that owns the aggregate.
    pub workspace_id: Uuid,
    /// What it is about.
    pub aggregate_type: String,
    /// Which one it is about.
    pub aggregate_id: Uuid,
    /// Its place in the aggregate.
    pub version: i64,
    /// `refused`, or `behind` one of its aggregate that was.
    pub error_class: String,
    /// What the destination said.
    pub reason: Option<String>,
    /// How often it was refused.
    pub attempts: i16,
    /// When it was set aside.
    #[serde(with = "time::serde::rfc3339")]
    pub failed_at: OffsetDateTime,
}

/// Which of them to list.
#[derive(Debug, Clone, Default)]
pub struct FailedFilter {
    /// Of this destination.
    pub destination: Option<String>,
    /// Of this aggregate.
    pub aggregate_id: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// Which of a destination's rows to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// One event. Replaying it takes all of its aggregate along, since order must hold.
    Event(Uuid),
    /// An aggregate.
    Aggregate(Uuid),
    /// All.
    All,
}

/// What was queued again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
pub struct Replayed {
    /// How many events.
    pub events: i64,
    /// Of how many aggregates.
    pub aggregates: i64,
    /// The smallest of their ids.
    pub first_event_id: Option<Uuid>,
    /// The largest of their ids.
    pub last_event_id: Option<Uuid>,
}

/// What was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Discarded {
    /// How many events.
    pub events: i64,
    /// Of how many aggregates.
    pub aggregates: i64,
    /// How many stood behind them and are queued again.
    pub released: i64,
    /// The smallest of the ids of those given up.
    pub first_event_id: Option<Uuid>,
    /// The largest of them.
    pub last_event_id: Option<Uuid>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SetAsideError {
    /// No such destination.
    #[error("there is no destination {0}")]
    UnknownDestination(String),
    /// Nothing of what was named is set aside.
    #[error(
        "nothing that is set aside for {0} is of that event or aggregate; `gateward outbox failed` lists what is"
    )]
    Nothing(String),
    /// The change could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for SetAsideError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Lists what is set aside, in the order of its aggregates.
pub async fn failed(database: &Database, filter: &FailedFilter) -> Result<Vec<FailedEvent>, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await?;
    let rows = sqlx::query_as(
        "SELECT d.name AS destination, e.event_id, e.event_type, e.workspace_id, e.aggregate_type, e.aggregate_id, e.version,
                f.error_class, f.last_error AS reason, f.attempts, f.failed_at
         FROM outbox_failed AS f
         JOIN outbox_destinations AS d ON d.id = f.destination_id
         JOIN events AS e ON e.event_id = f.event_id
         WHERE ($1::text IS NULL OR d.name = $1) AND ($2::uuid IS NULL OR e.aggregate_id = $2)
         ORDER BY f.destination_id, f.lane, f.id
         LIMIT $3",
    )
    .bind(&filter.destination)
    .bind(filter.aggregate_id)
    .bind(filter.limit)
    .fetch_all(scope.connection())
    .await?;
    Ok(rows)
}

/// Queues again what was set aside, attempts forgotten, and lets its aggregates go on.
pub async fn replay(database: &Database, destination: &str, which: Which) -> Result<Replayed, SetAsideError> {
    again_when_contended(async || {
        let (mut scope, destination_id) = open(database, destination).await?;
        let chosen = choose(&mut scope, destination_id, which).await?;
        let replayed = release(&mut scope, destination_id, &chosen).await?;
        if chosen.is_empty() {
            return nothing(destination, which, replayed);
        }
        let Replayed { events, aggregates, first_event_id, last_event_id } = replayed;
        let payload = OutboxEventsReplayed {
            destination: Identifier::of(destination),
            events,
            aggregates,
            first_event_id,
            last_event_id,
        };
        scope.append(NewEvent::of_platform(destination::aggregate_id(destination), &payload)).await?;
        scope.commit().await?;
        Ok(replayed)
    })
    .await
}

/// Gives up what was set aside, for good. An aggregate goes on once nothing of it is left that was refused.
pub async fn discard(
    database: &Database,
    destination: &str,
    which: Which,
) -> Result<Discarded, SetAsideError> {
    again_when_contended(async || {
        let (mut scope, destination_id) = open(database, destination).await?;
        let chosen = choose(&mut scope, destination_id, which).await?;
        let dropped = drop_rows(&mut scope, destination_id, &chosen, which).await?;
        let free = without_refused(&mut scope, destination_id, &chosen).await?;
        let released = release(&mut scope, destination_id, &free).await?.events;
        let Replayed { events, aggregates, first_event_id, last_event_id } = dropped;
        let discarded = Discarded { events, aggregates, released, first_event_id, last_event_id };
        if chosen.is_empty() {
            return nothing(destination, which, discarded);
        }
        let payload = OutboxEventsDiscarded {
            destination: Identifier::of(destination),
            events,
            aggregates,
            released,
            first_event_id,
            last_event_id,
        };
        scope.append(NewEvent::of_platform(destination::aggregate_id(destination), &payload)).await?;
        scope.commit().await?;
        Ok(discarded)
    })
    .await
}

/// What was asked for by name must be there; all of nothing is nothing.
fn nothing<T>(destination: &str, which: Which, done: T) -> Result<T, SetAsideError> {
    match which {
        Which::All => Ok(done),
        Which::Event(_) | Which::Aggregate(_) => Err(SetAsideError::Nothing(destination.to_owned())),
    }
}

async fn again_when_contended<T>(
    change: impl AsyncFn() -> Result<T, SetAsideError>,
) -> Result<T, SetAsideError> {
    for _ in 1..TRIES {
        match change().await {
            Err(
                SetAsideError::Database(DatabaseError::Contended(_))
                | SetAsideError::Append(AppendError::Conflict { .. }),
            ) => {}
            result => return result,
        }
    }
    change().await
}

/// An aggregate, in columns.
#[derive(Debug, Default)]
struct Aggregates {
    workspaces: Vec<Uuid>,
    types: Vec<String>,
    ids: Vec<Uuid>,
}

impl Aggregates {
    fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl FromIterator<(Uuid, String, Uuid)> for Aggregates {
    fn from_iter<I: IntoIterator<Item = (Uuid, String, Uuid)>>(rows: I) -> Self {
        let mut aggregates = Self::default();
        for (workspace_id, aggregate_type, aggregate_id) in rows {
            aggregates.workspaces.push(workspace_id);
            aggregates.types.push(aggregate_type);
            aggregates.ids.push(aggregate_id);
        }
        aggregates
    }
}

/// A scope that no forwarder can settle a batch of the destination against.
async fn open(database: &Database, destination: &str) -> Result<(Scope, i16), SetAsideError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let destination_id: i16 = sqlx::query_scalar("SELECT id FROM outbox_destinations WHERE name = $1")
        .bind(destination)
        .fetch_optional(scope.connection())
        .await?
        .ok_or_else(|| SetAsideError::UnknownDestination(destination.to_owned()))?;
    // In one order, so that two operators do not stand in each other's way.
    sqlx::query("SELECT lane FROM outbox_lanes WHERE destination_id = $1 ORDER BY lane FOR UPDATE")
        .bind(destination_id)
        .execute(scope.connection())
        .await?;
    Ok((scope, destination_id))
}

/// The aggregates that are parked, or have rows that were set aside.
async fn choose(scope: &mut Scope, destination_id: i16, which: Which) -> Result<Aggregates, SetAsideError> {
    let (event_id, aggregate_id) = match which {
        Which::Event(event_id) => (Some(event_id), None),
        Which::Aggregate(aggregate_id) => (None, Some(aggregate_id)),
        Which::All => (None, None),
    };
    let rows: Vec<(Uuid, String, Uuid)> = sqlx::query_as(
        "SELECT e.workspace_id, e.aggregate_type, e.aggregate_id
         FROM outbox_failed AS f JOIN events AS e ON e.event_id = f.event_id
         WHERE f.destination_id = $1 AND ($2::uuid IS NULL OR f.event_id = $2)
           AND ($3::uuid IS NULL OR e.aggregate_id = $3)
         UNION
         SELECT workspace_id, aggregate_type, aggregate_id FROM outbox_parked
         WHERE destination_id = $1 AND $2::uuid IS NULL AND ($3::uuid IS NULL OR aggregate_id = $3)",
    )
    .bind(destination_id)
    .bind(event_id)
    .bind(aggregate_id)
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Of these aggregates, those of which nothing is left that was refused.
async fn without_refused(
    scope: &mut Scope,
    destination_id: i16,
    aggregates: &Aggregates,
) -> Result<Aggregates, SetAsideError> {
    let rows: Vec<(Uuid, String, Uuid)> = sqlx::query_as(
        "SELECT chosen.workspace_id, chosen.aggregate_type, chosen.aggregate_id
         FROM unnest($2::uuid[], $3::text[], $4::uuid[]) AS chosen (workspace_id, aggregate_type, aggregate_id)
         EXCEPT
         SELECT e.workspace_id, e.aggregate_type, e.aggregate_id
         FROM outbox_failed AS f JOIN events AS e ON e.event_id = f.event_id
         WHERE f.destination_id = $1 AND f.error_class = 'refused'",
    )
    .bind(destination_id)
    .bind(&aggregates.workspaces)
    .bind(&aggregates.types)
    .bind(&aggregates.ids)
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().collect())
}

/// Moves the rows of these aggregates back to where they stood, and lets the aggregates go on.
async fn release(
    scope: &mut Scope,
    destination_id: i16,
    aggregates: &Aggregates,
) -> Result<Replayed, SetAsideError> {
    Ok(sqlx::query_as(
        "WITH chosen AS (
             SELECT * FROM unnest($2::uuid[], $3::text[], $4::uuid[]) AS chosen (workspace_id, aggregate_type, aggregate_id)
         ), unparked AS (
             DELETE FROM outbox_parked AS parked USING chosen
             WHERE parked.destination_id = $1 AND parked.workspace_id = chosen.workspace_id
               AND parked.aggregate_type = chosen.aggregate_type AND parked.aggregate_id = chosen.aggregate_id
         ), back AS (
             DELETE FROM outbox_failed AS f USING events AS e, chosen
             WHERE f.destination_id = $1 AND e.event_id = f.event_id AND e.workspace_id = chosen.workspace_id
               AND e.aggregate_type = chosen.aggregate_type AND e.aggregate_id = chosen.aggregate_id
             RETURNING f.lane, f.id, f.event_id, f.created_at, e.aggregate_id
         ), queued AS (
             INSERT INTO outbox (destination_id, lane, id, event_id, created_at) OVERRIDING SYSTEM VALUE
             SELECT $1, lane, id, event_id, created_at FROM back
         )
         SELECT count(*) AS events, count(DISTINCT aggregate_id) AS aggregates,
                min(event_id::text)::uuid AS first_event_id, max(event_id::text)::uuid AS last_event_id
         FROM back",
    )
    .bind(destination_id)
    .bind(&aggregates.workspaces)
    .bind(&aggregates.types)
    .bind(&aggregates.ids)
    .fetch_one(scope.connection())
    .await?)
}

/// Deletes the rows that were set aside: the one event, or all of the aggregates.
async fn drop_rows(
    scope: &mut Scope,
    destination_id: i16,
    aggregates: &Aggregates,
    which: Which,
) -> Result<Replayed, SetAsideError> {
    let event_id = if let Which::Event(event_id) = which { Some(event_id) } else { None };
    Ok(sqlx::query_as(
        "WITH dropped AS (
             DELETE FROM outbox_failed AS f
             USING events AS e, unnest($2::uuid[], $3::text[], $4::uuid[]) AS chosen (workspace_id, aggregate_type, aggregate_id)
             WHERE f.destination_id = $1 AND ($5::uuid IS NULL OR f.event_id = $5)
               AND e.event_id = f.event_id AND e.workspace_id = chosen.workspace_id
               AND e.aggregate_type = chosen.aggregate_type AND e.aggregate_id = chosen.aggregate_id
             RETURNING f.event_id, e.aggregate_id)
         SELECT count(*) AS events, count(DISTINCT aggregate_id) AS aggregates,
                min(event_id::text)::uuid AS first_event_id, max(event_id::text)::uuid AS last_event_id
         FROM dropped",
    )
    .bind(destination_id)
    .bind(&aggregates.workspaces)
    .bind(&aggregates.types)
    .bind(&aggregates.ids)
    .bind(event_id)
    .fetch_one(scope.connection())
    .await?)
}

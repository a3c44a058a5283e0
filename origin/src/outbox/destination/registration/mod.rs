//! Adding, disabling and removing destinations. Each change is an event.
//!
//! **A backfill has neither gap nor overlap.** An append queues for the destinations that its statement sees, and holds a lock on
//! their table until its transaction ends. So: the new row stays uncommitted while all events that are visible are queued for it, with
//! no lock that an append would wait for. Then the table is locked: every append that did not see the new row has ended, and none
//! begins. What these have appended meanwhile is queued, and the commit ends the lock; the next append sees the row. Numbers in the
//! outbox grow through all three, so order per aggregate holds.

#[cfg(test)]
mod tests;

use serde_json::Value;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::aggregate_id;
use crate::configuration::{Faults, check_destination_options};
use crate::database::{Actor, Component, Database, DatabaseError, Scope, sqlstate};
use crate::events::field::{Identifier, RegisteredUri};
use crate::events::payload::{
    OutboxDestinationAdded, OutboxDestinationDisabled, OutboxDestinationEnabled, OutboxDestinationRemoved,
};
use crate::events::{AppendError, EventPayload, NewEvent};

/// The numbers below it are of Gateward's own destinations.
const FIRST_ADDED: i16 = 16;
/// How often a change is tried that somebody else's transaction was in the way of.
const TRIES: u32 = 3;

/// A destination to add.
#[derive(Debug, Clone)]
pub struct Addition {
    /// Its name: lower-case letters, digits and dashes, a letter first.
    pub name: String,
    /// `postgres`, `postgrest`, `webhook` or `nats`.
    pub kind: String,
    /// Where to and how, by kind. No secret.
    pub options: Value,
    /// The aggregates whose events it gets; nothing: all.
    pub aggregate_types: Option<Vec<String>>,
    /// Whether all events that ever happened are queued for it, too.
    pub backfill: bool,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Added {
    /// Its number in the outbox.
    pub id: i16,
    /// Its name.
    pub name: String,
    /// How many past events were queued for it.
    pub backfilled: i64,
}

/// What enabling did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Enabled {
    /// Whether it was disabled before.
    pub changed: bool,
    /// How many past events were queued for it.
    pub backfilled: i64,
}

/// What removing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// How many events were dropped that it had not got.
    pub dropped: i64,
}

/// A destination with the state of its queue.
#[derive(Debug, Clone, PartialEq, serde::Serialize, sqlx::FromRow)]
pub struct Listed {
    /// Its number in the outbox.
    pub id: i16,
    /// Its name.
    pub name: String,
    /// How it is delivered to.
    pub kind: String,
    /// Where to and how.
    pub options: Value,
    /// The aggregates whose events it gets; nothing: all.
    pub aggregate_types: Option<Vec<String>>,
    /// Whether events are queued for it and delivered to it.
    pub enabled: bool,
    /// Why it was disabled, where it was not an operator who did it.
    pub disabled_reason: Option<String>,
    /// Events on their way to it.
    pub queued: i64,
    /// Since when the oldest of them has been.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_queued_at: Option<OffsetDateTime>,
    /// Events it would not take.
    pub failed: i64,
    /// What its last outage was, while that lasts.
    pub outage: Option<String>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// Its name is none.
    #[error(
        "{0:?} is no name of a destination: take lower-case letters, digits and dashes, a letter first, 63 at most"
    )]
    Name(String),
    /// Its kind is none that can be added.
    #[error("there is no kind {0:?}: add one of postgres, postgrest, webhook or nats")]
    Kind(String),
    /// An aggregate's name is none.
    #[error("{0:?} is no aggregate: their names are words such as session, api_key or grant")]
    AggregateType(String),
    /// Its options do not fit its kind.
    #[error(transparent)]
    Options(#[from] Faults),
    /// There is one of that name.
    #[error("there is a destination {0} already")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no destination {0}; `gateward destination list` shows those there are")]
    Unknown(String),
    /// It is Gateward's own.
    #[error("{0} is a part of Gateward and cannot be removed; it can be disabled")]
    Own(String),
    /// It gets events while it is enabled.
    #[error("{0} is enabled: disable it first, then enable it with everything queued again")]
    IsEnabled(String),
    /// It has not got everything.
    #[error(
        "{name} has not got {queued} queued and {failed} failed events; remove it with --drop-queued to give them up"
    )]
    Undelivered {
        /// Its name.
        name: String,
        /// Events on their way to it.
        queued: i64,
        /// Events it would not take.
        failed: i64,
    },
    /// Others have been in the way for too long.
    #[error(
        "nothing was changed: a transaction that appends events, or another change of destinations, has been open for five seconds; \
         try again"
    )]
    Busy,
    /// The change could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for RegistrationError {
    fn from(error: sqlx::Error) -> Self {
        // lock_not_available: the time for a lock ran out.
        if sqlstate(&error).as_deref() == Some("55P03") { Self::Busy } else { Self::Database(error.into()) }
    }
}

/// Every destination with the state of its queue, or the one that is named.
pub async fn list(database: &Database, name: Option<&str>) -> Result<Vec<Listed>, RegistrationError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await?;
    let rows: Vec<Listed> = sqlx::query_as(
        "SELECT d.id, d.name, d.kind, d.options, d.aggregate_types, d.enabled, d.disabled_reason,
                q.queued, q.oldest_queued_at,
                (SELECT count(*) FROM outbox_failed WHERE destination_id = d.id) AS failed, d.breaker_error AS outage
         FROM outbox_destinations AS d CROSS JOIN LATERAL (
             SELECT count(*) AS queued, min(created_at) AS oldest_queued_at FROM outbox WHERE destination_id = d.id) AS q
         WHERE $1::text IS NULL OR d.name = $1
         ORDER BY d.id",
    )
    .bind(name)
    .fetch_all(scope.connection())
    .await?;
    match name {
        Some(name) if rows.is_empty() => Err(RegistrationError::Unknown(name.to_owned())),
        _ => Ok(rows),
    }
}

/// Adds a destination: what happens from now on is queued for it, and with a backfill what has ever happened.
pub async fn add(database: &Database, addition: &Addition) -> Result<Added, RegistrationError> {
    let Addition { name, kind, options, aggregate_types, .. } = addition;
    let is_name = name.len() <= 63
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_name {
        return Err(RegistrationError::Name(name.clone()));
    }
    if !["postgres", "postgrest", "webhook", "nats"].contains(&kind.as_str()) {
        return Err(RegistrationError::Kind(kind.clone()));
    }
    let is_aggregate = |name: &str| {
        (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    if let Some(other) = aggregate_types.iter().flatten().find(|name| !is_aggregate(name)) {
        return Err(RegistrationError::AggregateType(other.clone()));
    }
    check_destination_options(name, kind, options)?;
    again_when_contended(async || add_once(database, addition).await).await
}

async fn add_once(database: &Database, addition: &Addition) -> Result<Added, RegistrationError> {
    let Addition { name, kind, options, aggregate_types, backfill } = addition;
    let mut scope = open(database).await?;
    let id: Option<i16> = sqlx::query_scalar(
        "INSERT INTO outbox_destinations (id, name, kind, options, aggregate_types)
         SELECT nextval('outbox_destination_ids'), $1, $2, $3, $4
         WHERE NOT EXISTS (SELECT FROM outbox_destinations WHERE name = $1)
         RETURNING id",
    )
    .bind(name)
    .bind(kind)
    .bind(Json(options))
    .bind(aggregate_types)
    .fetch_optional(scope.connection())
    .await?;
    let id = id.ok_or_else(|| RegistrationError::Exists(name.clone()))?;
    sqlx::query(
        "INSERT INTO outbox_lanes (destination_id, lane) SELECT $1, lane FROM generate_series(0, 63) AS lane",
    )
    .bind(id)
    .execute(scope.connection())
    .await?;
    let backfilled = if *backfill { queue_everything(&mut scope, id).await? } else { 0 };
    let url = options.get("url").and_then(Value::as_str).map(RegisteredUri::of);
    let event = OutboxDestinationAdded {
        destination: Identifier::of(name),
        kind: Identifier::of(kind),
        url,
        aggregate_types: aggregate_types
            .as_ref()
            .map(|types| types.iter().map(|name| Identifier::of(name)).collect()),
        backfilled,
    };
    record(scope, name, &event).await?;
    Ok(Added { id, name: name.clone(), backfilled })
}

/// Enables a destination. With a backfill, whatever was left in its queue is replaced by all events that ever happened: those that
/// happened while it was disabled were never queued.
pub async fn enable(database: &Database, name: &str, backfill: bool) -> Result<Enabled, RegistrationError> {
    if backfill {
        // An append that saw it enabled may still be queueing for it, whoever disabled it. After this there is none.
        let mut scope = open(database).await?;
        lock_out_appends(&mut scope).await?;
        scope.commit().await?;
    }
    again_when_contended(async || {
        let mut scope = open(database).await?;
        let (id, enabled) = find(&mut scope, name).await?;
        if enabled {
            let unchanged = Enabled { changed: false, backfilled: 0 };
            return if backfill { Err(RegistrationError::IsEnabled(name.to_owned())) } else { Ok(unchanged) };
        }
        sqlx::query(
            "UPDATE outbox_destinations
             SET enabled = true, disabled_reason = NULL, breaker_failures = 0, breaker_until = NULL, breaker_error = NULL,
                 breaker_not_before = NULL
             WHERE id = $1",
        )
        .bind(id)
        .execute(scope.connection())
        .await?;
        let mut backfilled = 0;
        if backfill {
            forget_queue(&mut scope, id).await?;
            backfilled = queue_everything(&mut scope, id).await?;
        }
        let event = OutboxDestinationEnabled { destination: Identifier::of(name), backfilled };
        record(scope, name, &event).await?;
        Ok(Enabled { changed: true, backfilled })
    })
    .await
}

/// Disables a destination: nothing further is queued for it and nothing delivered. What is queued stays. Says whether it was enabled.
pub async fn disable(database: &Database, name: &str) -> Result<bool, RegistrationError> {
    again_when_contended(async || {
        let mut scope = open(database).await?;
        let (id, enabled) = find(&mut scope, name).await?;
        if !enabled {
            return Ok(false);
        }
        sqlx::query("UPDATE outbox_destinations SET enabled = false, disabled_reason = NULL WHERE id = $1")
            .bind(id)
            .execute(scope.connection())
            .await?;
        record(scope, name, &OutboxDestinationDisabled { destination: Identifier::of(name) }).await?;
        Ok(true)
    })
    .await
}

/// Removes a destination, and with `drop_queued` also one that has not got everything.
pub async fn remove(
    database: &Database,
    name: &str,
    drop_queued: bool,
) -> Result<Removed, RegistrationError> {
    again_when_contended(async || {
        let mut scope = open(database).await?;
        let (id, _) = find(&mut scope, name).await?;
        if id < FIRST_ADDED {
            return Err(RegistrationError::Own(name.to_owned()));
        }
        // Whoever saw it has queued for it by now, and nobody sees it any more.
        lock_out_appends(&mut scope).await?;
        let (queued, failed): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM outbox WHERE destination_id = $1),
                    (SELECT count(*) FROM outbox_failed WHERE destination_id = $1)",
        )
        .bind(id)
        .fetch_one(scope.connection())
        .await?;
        if queued + failed > 0 && !drop_queued {
            return Err(RegistrationError::Undelivered { name: name.to_owned(), queued, failed });
        }
        forget_queue(&mut scope, id).await?;
        for statement in [
            "DELETE FROM outbox_lanes WHERE destination_id = $1",
            "DELETE FROM outbox_destinations WHERE id = $1",
        ] {
            sqlx::query(statement).bind(id).execute(scope.connection()).await?;
        }
        let dropped = queued + failed;
        record(scope, name, &OutboxDestinationRemoved { destination: Identifier::of(name), dropped }).await?;
        Ok(Removed { dropped })
    })
    .await
}

/// A scope in which nobody else changes destinations.
async fn open(database: &Database) -> Result<Scope, RegistrationError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    // A backfill takes its time, and goes with the transaction where it fails. Nobody who appends waits for more than five seconds.
    sqlx::query(
        "SELECT set_config('statement_timeout', '1h', true), set_config('lock_timeout', '5s', true),
                pg_advisory_xact_lock(7230417)",
    )
    .execute(scope.connection())
    .await?;
    Ok(scope)
}

async fn find(scope: &mut Scope, name: &str) -> Result<(i16, bool), RegistrationError> {
    sqlx::query_as("SELECT id, enabled FROM outbox_destinations WHERE name = $1")
        .bind(name)
        .fetch_optional(scope.connection())
        .await?
        .ok_or_else(|| RegistrationError::Unknown(name.to_owned()))
}

/// Waits until every transaction that has appended has ended, and lets none append until this one has.
async fn lock_out_appends(scope: &mut Scope) -> Result<(), RegistrationError> {
    sqlx::query("LOCK TABLE outbox_destinations IN ACCESS EXCLUSIVE MODE")
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// Queues every event that a destination gets and that is not queued for it, in order per aggregate; ends with appends locked out.
async fn queue_everything(scope: &mut Scope, id: i16) -> Result<i64, RegistrationError> {
    let before = queue_what_is_visible(scope, id).await?;
    lock_out_appends(scope).await?;
    Ok(before + queue_what_is_visible(scope, id).await?)
}

async fn queue_what_is_visible(scope: &mut Scope, id: i16) -> Result<i64, RegistrationError> {
    // About the order in which they happened. Of an aggregate the version decides, also where a clock went back: the latest time so
    // far never does. The lane is `lane_of`'s.
    let queued = sqlx::query(
        "INSERT INTO outbox (destination_id, lane, event_id)
         SELECT $1, lane, event_id FROM (
             SELECT e.event_id, e.version,
                    get_byte(sha256(uuid_send(e.workspace_id) || uuid_send(e.aggregate_id)
                                    || convert_to(e.aggregate_type, 'UTF8')), 0) % 64 AS lane,
                    max(e.occurred_at) OVER (PARTITION BY e.workspace_id, e.aggregate_type, e.aggregate_id
                                             ORDER BY e.version) AS happened_at
             FROM events AS e
             JOIN outbox_destinations AS d ON d.id = $1 AND coalesce(e.aggregate_type = ANY(d.aggregate_types), true)
             WHERE NOT EXISTS (SELECT FROM outbox WHERE outbox.destination_id = $1 AND outbox.event_id = e.event_id)) AS past
         ORDER BY happened_at, version",
    )
    .bind(id)
    .execute(scope.connection())
    .await?;
    Ok(i64::try_from(queued.rows_affected()).unwrap_or(i64::MAX))
}

/// Empties a destination's queue, with what was set aside. What a forwarder has in flight it can no longer settle.
async fn forget_queue(scope: &mut Scope, id: i16) -> Result<(), RegistrationError> {
    for statement in [
        "UPDATE outbox_lanes SET epoch = epoch + 1, leased_by = NULL, leased_until = NULL WHERE destination_id = $1",
        "DELETE FROM outbox WHERE destination_id = $1",
        "DELETE FROM outbox_failed WHERE destination_id = $1",
        "DELETE FROM outbox_parked WHERE destination_id = $1",
    ] {
        sqlx::query(statement).bind(id).execute(scope.connection()).await?;
    }
    Ok(())
}

/// Appends the event and stores the whole.
async fn record(mut scope: Scope, name: &str, event: &impl EventPayload) -> Result<(), RegistrationError> {
    scope.append(NewEvent::of_platform(aggregate_id(name), event)).await?;
    scope.commit().await?;
    Ok(())
}

async fn again_when_contended<T>(
    change: impl AsyncFn() -> Result<T, RegistrationError>,
) -> Result<T, RegistrationError> {
    for _ in 1..TRIES {
        match change().await {
            Err(
                RegistrationError::Database(DatabaseError::Contended(_))
                | RegistrationError::Append(AppendError::Conflict { .. }),
            ) => {}
            result => return result,
        }
    }
    change().await
}

//! Adding, disabling and removing destinations. Each change is an event.
//!
//! **A backfill has neither gap nor overlap**, and takes two transactions. An append queues for the destinations that its statement
//! sees, and holds a lock on their table until its transaction ends. The first one adds the destination and, just before its commit,
//! locks that table: then every append that did not see the destination has ended, and every later one sees it. It has no lanes yet,
//! so nothing is delivered. The second one, which nobody waits for however long it takes, queues every event that is not queued: by
//! then these are exactly the past ones. They get numbers below zero, before all that the appends have queued meanwhile, so order per
//! aggregate holds. With them come the lanes. Whoever is killed in between leaves a destination without lanes, which is shown as
//! such: enabling it with a backfill, or removing it, mends that.

mod list;
#[cfg(test)]
mod tests;

use serde_json::Value;
use sqlx::types::Json;

pub use self::list::{Listed, list};
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
    let id = again_when_contended(async || add_once(database, addition).await).await?;
    let mut backfilled = 0;
    if addition.backfill {
        match again_when_contended(async || backfill(database, id).await).await {
            Ok(queued) => backfilled = queued,
            Err(error) => {
                // As if it had not been tried. Where that fails, too, it is shown as unfinished.
                if let Err(error) = remove(database, name, true).await {
                    tracing::warn!(destination = name, %error, "a destination stays whose backfill failed");
                }
                return Err(error);
            }
        }
    }
    Ok(Added { id, name: name.clone(), backfilled })
}

async fn add_once(database: &Database, addition: &Addition) -> Result<i16, RegistrationError> {
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
    if !backfill {
        make_lanes(&mut scope, id).await?;
    }
    let url = options.get("url").and_then(Value::as_str).map(RegisteredUri::of);
    let event = OutboxDestinationAdded {
        destination: Identifier::of(name),
        kind: Identifier::of(kind),
        url,
        aggregate_types: aggregate_types
            .as_ref()
            .map(|types| types.iter().map(|name| Identifier::of(name)).collect()),
        backfill: *backfill,
    };
    scope.append(NewEvent::of_platform(aggregate_id(name), &event)).await?;
    if *backfill {
        lock_out_appends(&mut scope).await?;
    }
    scope.commit().await?;
    Ok(id)
}

/// Enables a destination. With a backfill, whatever was left in its queue is replaced by all events that ever happened: those that
/// happened while it was disabled were never queued.
pub async fn enable(
    database: &Database,
    name: &str,
    with_backfill: bool,
) -> Result<Enabled, RegistrationError> {
    if with_backfill {
        // An append that saw it enabled may still be queueing for it, whoever disabled it. After this there is none.
        let mut scope = open(database).await?;
        lock_out_appends(&mut scope).await?;
        scope.commit().await?;
    }
    let enabled = again_when_contended(async || enable_once(database, name, with_backfill).await).await?;
    let Some(id) = enabled else { return Ok(Enabled { changed: false, backfilled: 0 }) };
    let mut backfilled = 0;
    if with_backfill {
        // Where this fails it stays as a backfill that is not finished.
        backfilled = again_when_contended(async || backfill(database, id).await).await?;
    }
    Ok(Enabled { changed: true, backfilled })
}

/// The number of the destination, where something was changed.
async fn enable_once(
    database: &Database,
    name: &str,
    with_backfill: bool,
) -> Result<Option<i16>, RegistrationError> {
    let mut scope = open(database).await?;
    let (id, enabled, is_backfilling) = find(&mut scope, name).await?;
    if enabled && with_backfill && !is_backfilling {
        return Err(RegistrationError::IsEnabled(name.to_owned()));
    }
    if enabled && !with_backfill {
        return Ok(None);
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
    if with_backfill && !is_backfilling {
        forget_queue(&mut scope, id).await?;
        forget_lanes(&mut scope, id).await?;
    }
    let event = OutboxDestinationEnabled { destination: Identifier::of(name), backfill: with_backfill };
    scope.append(NewEvent::of_platform(aggregate_id(name), &event)).await?;
    if with_backfill {
        lock_out_appends(&mut scope).await?;
    }
    scope.commit().await?;
    Ok(Some(id))
}

/// Disables a destination: nothing further is queued for it and nothing delivered. What is queued stays. Says whether it was enabled.
pub async fn disable(database: &Database, name: &str) -> Result<bool, RegistrationError> {
    again_when_contended(async || {
        let mut scope = open(database).await?;
        let (id, enabled, _) = find(&mut scope, name).await?;
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
    again_when_contended(async || retire(database, name, drop_queued).await).await?;
    // Nobody queues for it any more, so nobody waits for this.
    again_when_contended(async || {
        let mut scope = open(database).await?;
        let (id, _, _) = find(&mut scope, name).await?;
        let (queued, failed) = undelivered(&mut scope, id).await?;
        forget_queue(&mut scope, id).await?;
        forget_lanes(&mut scope, id).await?;
        sqlx::query("DELETE FROM outbox_destinations WHERE id = $1")
            .bind(id)
            .execute(scope.connection())
            .await?;
        let dropped = queued + failed;
        record(scope, name, &OutboxDestinationRemoved { destination: Identifier::of(name), dropped }).await?;
        Ok(Removed { dropped })
    })
    .await
}

/// Disables a destination that may be removed, and waits for those who are still queueing for it.
async fn retire(database: &Database, name: &str, drop_queued: bool) -> Result<(), RegistrationError> {
    let mut scope = open(database).await?;
    let (id, _, _) = find(&mut scope, name).await?;
    if id < FIRST_ADDED {
        return Err(RegistrationError::Own(name.to_owned()));
    }
    let refuse_undelivered = async |scope: &mut Scope| match undelivered(scope, id).await? {
        (0, 0) => Ok(()),
        (queued, failed) => Err(RegistrationError::Undelivered { name: name.to_owned(), queued, failed }),
    };
    if !drop_queued {
        refuse_undelivered(&mut scope).await?;
    }
    sqlx::query("UPDATE outbox_destinations SET enabled = false WHERE id = $1")
        .bind(id)
        .execute(scope.connection())
        .await?;
    lock_out_appends(&mut scope).await?;
    if !drop_queued {
        // There was nothing before, so there is little to look through.
        refuse_undelivered(&mut scope).await?;
    }
    scope.commit().await?;
    Ok(())
}

/// How many events a destination has not got: on their way, and set aside.
async fn undelivered(scope: &mut Scope, id: i16) -> Result<(i64, i64), RegistrationError> {
    Ok(sqlx::query_as(
        "SELECT (SELECT count(*) FROM outbox WHERE destination_id = $1),
                (SELECT count(*) FROM outbox_failed WHERE destination_id = $1)",
    )
    .bind(id)
    .fetch_one(scope.connection())
    .await?)
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

/// Its number, whether it is enabled, and whether its past events are still to be queued.
async fn find(scope: &mut Scope, name: &str) -> Result<(i16, bool, bool), RegistrationError> {
    sqlx::query_as(
        "SELECT id, enabled, NOT EXISTS (SELECT FROM outbox_lanes WHERE destination_id = d.id)
         FROM outbox_destinations AS d WHERE name = $1",
    )
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

/// Queues every event that a destination gets and that is not queued for it, before all that are, and opens its lanes.
async fn backfill(database: &Database, id: i16) -> Result<i64, RegistrationError> {
    let mut scope = open(database).await?;
    // About the order in which they happened. Of an aggregate the version decides, also where a clock went back: the latest time so
    // far never does. The lane is `lane_of`'s. Whoever appends queues in the same transaction: what is not queued now is past.
    let queued = sqlx::query(
        "INSERT INTO outbox (destination_id, lane, id, event_id) OVERRIDING SYSTEM VALUE
         SELECT $1, lane, row_number() OVER (ORDER BY happened_at, version) - count(*) OVER () - 1, event_id FROM (
             SELECT e.event_id, e.version,
                    get_byte(sha256(uuid_send(e.workspace_id) || uuid_send(e.aggregate_id)
                                    || convert_to(e.aggregate_type, 'UTF8')), 0) % 64 AS lane,
                    max(e.occurred_at) OVER (PARTITION BY e.workspace_id, e.aggregate_type, e.aggregate_id
                                             ORDER BY e.version) AS happened_at
             FROM events AS e
             JOIN outbox_destinations AS d ON d.id = $1 AND coalesce(e.aggregate_type = ANY(d.aggregate_types), true)
             WHERE NOT EXISTS (SELECT FROM outbox WHERE outbox.destination_id = $1 AND outbox.event_id = e.event_id)) AS past",
    )
    .bind(id)
    .execute(scope.connection())
    .await?;
    make_lanes(&mut scope, id).await?;
    scope.commit().await?;
    Ok(i64::try_from(queued.rows_affected()).unwrap_or(i64::MAX))
}

async fn make_lanes(scope: &mut Scope, id: i16) -> Result<(), RegistrationError> {
    sqlx::query(
        "INSERT INTO outbox_lanes (destination_id, lane) SELECT $1, lane FROM generate_series(0, 63) AS lane",
    )
    .bind(id)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Without lanes nothing is delivered, and what a forwarder has in flight it can no longer settle.
async fn forget_lanes(scope: &mut Scope, id: i16) -> Result<(), RegistrationError> {
    sqlx::query("DELETE FROM outbox_lanes WHERE destination_id = $1")
        .bind(id)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// Empties a destination's queue, with what was set aside.
async fn forget_queue(scope: &mut Scope, id: i16) -> Result<(), RegistrationError> {
    for statement in [
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

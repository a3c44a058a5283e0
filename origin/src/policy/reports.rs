//! What each isolate of each edge says it decides by, so that one can tell when a revocation or a new key has reached all of them. It may
//! not be relied on for that: an isolate that is not asked anything says nothing, and refreshes before its next decision.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use sqlx::FromRow;
use time::OffsetDateTime;

use crate::{
    database::{Actor, Component, Database, DatabaseError},
    http::{EdgeCaller, Origin, Refused},
};

/// An isolate that has been silent for so long is gone, as far as anybody can tell.
const SILENCE: Duration = Duration::from_mins(10);
/// Silent isolates that one report removes: more than one report adds.
const PRUNED_AT_A_TIME: i64 = 8;

/// What an isolate last said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, FromRow)]
pub struct Isolate {
    /// The edge it belongs to.
    pub edge: String,
    /// The name it chose when it started; empty where the edge does not say.
    pub isolate: String,
    /// The version it decided by when it asked.
    pub policy_version: i64,
    /// When it asked.
    #[serde(with = "time::serde::rfc3339")]
    pub reported_at: OffsetDateTime,
    /// How long ago that was, in whole seconds.
    #[sqlx(skip)]
    pub age_seconds: u64,
}

/// The newest version, and what the isolates say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// The newest version.
    pub policy_version: i64,
    /// Since when it is.
    #[serde(with = "time::serde::rfc3339")]
    pub changed_at: OffsetDateTime,
    /// Isolates that were heard of in the last ten minutes, those with the oldest version first.
    pub isolates: Vec<Isolate>,
}

impl Propagation {
    /// The isolates that decide by an older version, as far as they said; those silent for longer than `hard_seconds` do not decide.
    pub fn behind(&self, hard_seconds: u64) -> impl Iterator<Item = &Isolate> {
        self.isolates
            .iter()
            .filter(move |one| one.policy_version < self.policy_version && one.age_seconds < hard_seconds)
    }
}

/// Keeps what the caller says it decides by, and forgets some of those that say nothing any more.
pub(super) async fn record(origin: &Origin, caller: &EdgeCaller) -> Result<(), DatabaseError> {
    let mut scope = origin.database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let now = origin.clock.now();
    sqlx::query(
        "WITH silent AS (
             DELETE FROM edge_isolates WHERE (edge_id, isolate) IN (
                 SELECT edge_id, isolate FROM edge_isolates WHERE reported_at < $5 ORDER BY reported_at LIMIT $6
                 FOR UPDATE SKIP LOCKED)
             AND (edge_id, isolate) <> ($1, $2)
         )
         INSERT INTO edge_isolates (edge_id, isolate, policy_version, reported_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (edge_id, isolate) DO UPDATE SET policy_version = excluded.policy_version, reported_at = excluded.reported_at
         WHERE edge_isolates.reported_at <= excluded.reported_at",
    )
    .bind(&caller.edge_id)
    .bind(&caller.isolate)
    .bind(i64::try_from(caller.policy_version).unwrap_or(i64::MAX))
    .bind(now)
    .bind(now - SILENCE)
    .bind(PRUNED_AT_A_TIME)
    .execute(scope.connection())
    .await?;
    scope.commit().await
}

/// `POST /internal/policy/acknowledgement`: an isolate has put another version in force.
pub(super) async fn acknowledge(
    State(origin): State<Origin>,
    caller: EdgeCaller,
) -> Result<StatusCode, Refused> {
    record(&origin, &caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far the newest version has come.
pub async fn propagation(database: &Database) -> Result<Propagation, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await?;
    let now = scope.clock().now();
    let (policy_version, changed_at): (i64, OffsetDateTime) =
        sqlx::query_as("SELECT version, changed_at FROM policy_head").fetch_one(scope.connection()).await?;
    let mut isolates: Vec<Isolate> = sqlx::query_as(
        "SELECT edge_id AS edge, isolate, policy_version, reported_at FROM edge_isolates
         WHERE reported_at >= $1 ORDER BY policy_version, edge_id, isolate",
    )
    .bind(now - SILENCE)
    .fetch_all(scope.connection())
    .await?;
    for one in &mut isolates {
        one.age_seconds = u64::try_from((now - one.reported_at).whole_seconds()).unwrap_or_default();
    }
    Ok(Propagation { policy_version, changed_at, isolates })
}

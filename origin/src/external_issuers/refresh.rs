//! Keeping the keys up to date: which issuer is due, who fetches, what is stored. Whoever begins a fetch moves the issuer's next one on
//! in the same statement, so that of several origins one fetches; a crash in between costs a minute. Nothing is fetched inside a
//! transaction. It may not drop keys because a fetch failed: only a set that says so drops them.

use std::{future::Future, time::Duration};

use serde::Serialize;
use shared::policy::IssuerKey;
use sqlx::types::Json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    fetch::Fetcher,
    key_set::{self, KeySetFault},
};
use crate::{
    database::{Actor, Component, Database, DatabaseError, Scope},
    events::{
        AppendError, NewEvent,
        field::{Identifier, RegisteredUri},
        payload::ExternalIssuerKeysChanged,
    },
    http::Origin,
};

/// How old keys may become before they are fetched again.
const FETCHED_EVERY: Duration = Duration::from_mins(5);
/// After which time a fetch that was begun and never ended is begun again.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);
/// How long is waited after the first try that fails; after each further one twice as long, up to [`FETCHED_EVERY`].
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// How many issuers are fetched from at once.
const AT_ONCE: i64 = 8;
/// How often it is looked whether one is due.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

/// Why keys could not be refreshed at all; what a single issuer did wrong is an [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<sqlx::Error> for RefreshError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What came of one issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The keys are these now.
    Changed {
        /// Their `kid`s.
        keys: Vec<String>,
    },
    /// They were these already.
    Same {
        /// Their `kid`s.
        keys: Vec<String>,
    },
    /// The issuer was changed or removed while it was asked: what it answered does not count.
    Superseded,
    /// It failed; the keys that were there stay.
    Failed {
        /// Why.
        reason: String,
    },
}

/// One issuer that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refreshed {
    /// The project's slug.
    pub project: String,
    /// `iss`.
    pub issuer: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Clone, Debug, sqlx::FromRow)]
struct Due {
    id: Uuid,
    workspace_id: Uuid,
    project_id: Uuid,
    project: String,
    issuer: String,
    jwks_uri: String,
    failures: i32,
}

/// Fetches from every issuer that is due by the database's clock.
pub async fn refresh_due(database: &Database, fetcher: &Fetcher) -> Result<Vec<Refreshed>, RefreshError> {
    let mut refreshed = Vec::new();
    loop {
        let due = claim(database).await?;
        if due.is_empty() {
            return Ok(refreshed);
        }
        let mut asked = JoinSet::new();
        for due in due {
            let (database, fetcher) = (database.clone(), fetcher.clone());
            asked.spawn(async move { ask(&database, &fetcher, due).await });
        }
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(answer) => refreshed.push(answer?),
                // The issuer is due again when its minute is over.
                Err(error) => tracing::error!(%error, "a fetch of keys ended early"),
            }
        }
    }
}

/// Makes every issuer of a project, or of all of them, due at once.
pub async fn request_all(database: &Database, project: Option<&str>) -> Result<u64, RefreshError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let asked = sqlx::query(
        "UPDATE external_issuers AS i SET keys_due_at = 'epoch' FROM projects AS p
         WHERE p.id = i.project_id AND p.enabled AND ($1::text IS NULL OR p.slug = $1)",
    )
    .bind(project)
    .execute(scope.connection())
    .await?;
    scope.commit().await?;
    Ok(asked.rows_affected())
}

/// Keeps the keys up to date until `stop` is ready: a part of `gateward serve`.
pub async fn keep_fresh(origin: Origin, fetcher: Fetcher, stop: impl Future<Output = ()>) {
    let watch = async {
        loop {
            match refresh_due(&origin.database, &fetcher).await {
                Ok(refreshed) => {
                    if refreshed.iter().any(|one| matches!(one.outcome, Outcome::Changed { .. })) {
                        origin.policy.mark_changed();
                    }
                }
                Err(error) => tracing::warn!(%error, "keys of external issuers were not refreshed"),
            }
            tokio::time::sleep(LOOKED_EVERY).await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = stop => {}
    }
}

/// Takes some issuers that are due, for [`ABANDONED_AFTER`].
async fn claim(database: &Database) -> Result<Vec<Due>, RefreshError> {
    let mut scope = database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let now = scope.clock().now();
    let due = sqlx::query_as(
        "WITH due AS (
             SELECT i.id, p.slug FROM external_issuers AS i JOIN projects AS p ON p.id = i.project_id
             WHERE p.enabled AND (i.keys_due_at <= $1 OR i.keys_uri IS DISTINCT FROM i.jwks_uri)
             ORDER BY i.keys_due_at, i.id LIMIT $3 FOR UPDATE OF i SKIP LOCKED
         )
         UPDATE external_issuers AS i
         SET keys_due_at = $2, keys_uri = i.jwks_uri,
             keys_failures = CASE WHEN i.keys_uri = i.jwks_uri THEN i.keys_failures ELSE 0 END
         FROM due WHERE i.id = due.id
         RETURNING i.id, i.workspace_id, i.project_id, due.slug AS project, i.issuer, i.jwks_uri, i.keys_failures AS failures",
    )
    .bind(now)
    .bind(now + ABANDONED_AFTER)
    .bind(AT_ONCE)
    .fetch_all(scope.connection())
    .await?;
    scope.commit().await?;
    Ok(due)
}

async fn ask(database: &Database, fetcher: &Fetcher, due: Due) -> Result<Refreshed, RefreshError> {
    let read = match fetcher.fetch(&due.jwks_uri).await {
        Ok(document) => key_set::read(&document).map_err(|fault: KeySetFault| fault.to_string()),
        Err(fault) => Err(fault.to_string()),
    };
    let outcome = match read {
        Ok(keys) => store(database, &due, &keys).await?,
        Err(reason) => {
            tracing::warn!(
                project = due.project,
                issuer = due.issuer,
                reason,
                "keys of an external issuer: the last ones stay"
            );
            record_failure(database, &due, &reason).await?;
            Outcome::Failed { reason }
        }
    };
    Ok(Refreshed { project: due.project, issuer: due.issuer, outcome })
}

/// Makes the stored keys exactly these, if the issuer is still the one that was asked.
async fn store(database: &Database, due: &Due, keys: &[IssuerKey]) -> Result<Outcome, RefreshError> {
    let mut scope = database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let now = scope.clock().now();
    let is_current = sqlx::query(
        "UPDATE external_issuers SET keys_fetched_at = $3, keys_due_at = $4, keys_failures = 0,
                keys_failure = NULL
         WHERE id = $1 AND jwks_uri = $2",
    )
    .bind(due.id)
    .bind(&due.jwks_uri)
    .bind(now)
    .bind(now + FETCHED_EVERY)
    .execute(scope.connection())
    .await?
    .rows_affected()
        == 1;
    if !is_current {
        scope.rollback().await?;
        return Ok(Outcome::Superseded);
    }
    let kids: Vec<String> = keys.iter().map(|key| key.kid.clone()).collect();
    let mut changed =
        sqlx::query("DELETE FROM external_issuer_keys WHERE issuer_id = $1 AND kid <> ALL ($2)")
            .bind(due.id)
            .bind(&kids)
            .execute(scope.connection())
            .await?
            .rows_affected();
    for key in keys {
        changed += write(&mut scope, due, key).await?;
    }
    if changed == 0 {
        scope.commit().await?;
        return Ok(Outcome::Same { keys: kids });
    }
    let event = ExternalIssuerKeysChanged {
        issuer: RegisteredUri::of(&due.issuer),
        keys: kids.iter().map(|kid| Identifier::of(kid)).collect(),
    };
    scope.append(NewEvent::of(due.workspace_id, due.project_id, &event)).await?;
    scope.commit().await?;
    tracing::info!(
        project = due.project,
        issuer = due.issuer,
        keys = kids.len(),
        "keys of an external issuer changed"
    );
    Ok(Outcome::Changed { keys: kids })
}

/// Writes one key; gives 0 when it was there as it is.
async fn write(scope: &mut Scope, due: &Due, key: &IssuerKey) -> Result<u64, RefreshError> {
    let now = scope.clock().now();
    let written = sqlx::query(
        "INSERT INTO external_issuer_keys AS k (workspace_id, issuer_id, kid, alg, jwk, fetched_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (issuer_id, kid) DO UPDATE SET alg = excluded.alg, jwk = excluded.jwk, fetched_at = excluded.fetched_at
         WHERE k.alg <> excluded.alg OR k.jwk <> excluded.jwk",
    )
    .bind(due.workspace_id)
    .bind(due.id)
    .bind(&key.kid)
    .bind(key.alg.name())
    .bind(Json(&key.jwk))
    .bind(now)
    .execute(scope.connection())
    .await?;
    Ok(written.rows_affected())
}

async fn record_failure(database: &Database, due: &Due, reason: &str) -> Result<(), RefreshError> {
    let mut scope = database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let now = scope.clock().now();
    let doublings = u32::try_from(due.failures).unwrap_or_default().min(10);
    let pause = FIRST_BACKOFF.saturating_mul(1 << doublings).min(FETCHED_EVERY);
    sqlx::query(
        "UPDATE external_issuers
         SET keys_failures = least(keys_failures, 1000000) + 1, keys_failure = $3, keys_due_at = $4
         WHERE id = $1 AND jwks_uri = $2",
    )
    .bind(due.id)
    .bind(&due.jwks_uri)
    .bind(reason.chars().take(500).collect::<String>())
    .bind(now + pause)
    .execute(scope.connection())
    .await?;
    scope.commit().await?;
    Ok(())
}

//! What is known of the external issuers and their keys.

use serde::Serialize;
use time::OffsetDateTime;

use crate::database::{Actor, Component, Database, DatabaseError};

/// An issuer that a project trusts, and how far its keys are up to date.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct ListedIssuer {
    /// The project's slug.
    pub project: String,
    /// `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are fetched from.
    pub jwks_uri: String,
    /// The keys that are believed, by `kid`.
    pub keys: Vec<String>,
    /// When they were last fetched whole.
    #[serde(with = "time::serde::rfc3339::option")]
    pub fetched_at: Option<OffsetDateTime>,
    /// How often fetching has failed since.
    pub failures: i32,
    /// Why it failed the last time.
    pub failure: Option<String>,
}

/// Every external issuer of a project, or of all of them.
pub async fn list(database: &Database, project: Option<&str>) -> Result<Vec<ListedIssuer>, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let issuers = sqlx::query_as(
        "SELECT p.slug AS project, i.issuer, i.jwks_uri, i.keys_fetched_at AS fetched_at, i.keys_failures AS failures,
                i.keys_failure AS failure,
                ARRAY(SELECT k.kid FROM external_issuer_keys AS k WHERE k.issuer_id = i.id ORDER BY k.kid COLLATE \"C\") AS keys
         FROM external_issuers AS i JOIN projects AS p ON p.id = i.project_id
         WHERE $1::text IS NULL OR p.slug = $1
         ORDER BY p.slug, i.issuer",
    )
    .bind(project)
    .fetch_all(scope.connection())
    .await?;
    scope.rollback().await?;
    Ok(issuers)
}

/// All external issuers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct IssuerStatistics {
    /// How many enabled projects trust.
    pub trusted: i64,
    /// How many of them could not be fetched from the last time.
    pub failing: i64,
    /// How long ago keys were fetched whole, or the issuer declared, in seconds, where that is longest.
    pub oldest_seconds: i64,
}

/// Counts them.
pub async fn statistics(database: &Database) -> Result<IssuerStatistics, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let now = scope.clock().now();
    let statistics = sqlx::query_as(
        "SELECT count(*) AS trusted, count(*) FILTER (WHERE i.keys_failures > 0) AS failing,
                coalesce(extract(epoch FROM $1 - min(coalesce(i.keys_fetched_at, i.created_at))), 0)::bigint AS oldest_seconds
         FROM external_issuers AS i JOIN projects AS p ON p.id = i.project_id WHERE p.enabled",
    )
    .bind(now)
    .fetch_one(scope.connection())
    .await?;
    scope.rollback().await?;
    Ok(statistics)
}

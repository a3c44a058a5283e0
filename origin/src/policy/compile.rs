//! One compilation: one transaction that holds the head of versions, so that versions grow one by one and in the order of what they
//! saw, however many origins compile at once. A new version is stored only when the content is other than the last one's.

use std::{ops::Deref, sync::Arc};

use sha2::{Digest as _, Sha256};
use shared::{
    jwt::PolicyKey,
    policy::{ActivePolicy, FreshnessBounds, Limits, PolicyFault, PolicyStatement, RevocationFilter},
    time::UnixMillis,
};
use sqlx::Row as _;

use super::{content, revocations};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};

/// How many versions are kept for a look back.
const KEPT_VERSIONS: i64 = 100;

/// What a policy is made of besides rows.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) issuer: String,
    pub(super) limits: Limits,
    /// What the edges sign their assertions to upstreams with, in the order of their ids.
    pub(super) edge_keys: Vec<PolicyKey>,
    pub(super) freshness: FreshnessBounds,
    /// How many revoked tokens and grants may stand in a policy one by one.
    pub(super) list: u32,
}

/// A policy as it was compiled here.
#[derive(Debug)]
pub struct Compiled {
    active: ActivePolicy,
    /// The content, byte for byte as its statement hashes it.
    pub content: Vec<u8>,
    /// How many changes of this process it covers.
    pub(super) changes: u64,
    /// Whether it is time to build a filter of revocations.
    pub(super) filter_is_due: bool,
}

impl Deref for Compiled {
    type Target = ActivePolicy;

    fn deref(&self) -> &ActivePolicy {
        &self.active
    }
}

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The rows could not be read, or the version not stored.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The head of versions is gone: the migration inserts it, and nothing deletes it.
    #[error(
        "the table policy_head has lost its row; restore it with the highest version that was ever given out"
    )]
    NoHead,
    /// The head of filters is gone: the migration inserts it, and nothing deletes it.
    #[error(
        "the table revocation_filter_head has lost its row; restore it with the highest generation in revocation_filters"
    )]
    NoFilterHead,
    /// A stored filter is not what it was.
    #[error("the filter of revocations of generation {generation} is damaged or gone")]
    BadFilter {
        /// Which.
        generation: i64,
    },
    /// There are too many revocations to list, and the filter is being built.
    #[error("the filter of revocations is being built")]
    FilterPending,
    /// A key does not fit its algorithm.
    #[error("the policy cannot be used: {0:?}")]
    Unusable(PolicyFault),
    /// It could not be written as JSON.
    #[error("the policy cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    /// The statement could not be signed.
    #[error("the statement of the policy cannot be signed")]
    Unsigned,
}

impl From<sqlx::Error> for PolicyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Compiles. `changes` is the caller's count of changes before it began; `filter`, the filter it has in memory.
pub(super) async fn run(
    database: &Database,
    settings: &Settings,
    changes: u64,
    filter: Option<&Arc<RevocationFilter>>,
) -> Result<Compiled, PolicyError> {
    let mut scope = database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let head: i64 = sqlx::query("SELECT version FROM policy_head FOR UPDATE")
        .fetch_optional(scope.connection())
        .await?
        .ok_or(PolicyError::NoHead)?
        .try_get("version")?;
    // After the lock and before the first row is read: whatever was committed by now is in it.
    let made_at = UnixMillis(database.clock().unix_millis());
    let read = revocations::read(&mut scope, filter, settings.list).await?;
    let policy = content::read(&mut scope, settings, read.revocations).await?;
    let content = serde_json::to_vec(&policy)?;
    let version = store(&mut scope, head, &content).await?;
    scope.commit().await?;

    let version = u64::try_from(version).unwrap_or_default();
    let statement = PolicyStatement::new(&settings.issuer, version, made_at, &content);
    let active = ActivePolicy::from_parts(policy, statement, read.filter).map_err(PolicyError::Unusable)?;
    Ok(Compiled { active, content, changes, filter_is_due: read.is_due })
}

/// The version of this content: the head's when it is the same, else the next.
async fn store(scope: &mut Scope, head: i64, content: &[u8]) -> Result<i64, PolicyError> {
    let hash = Sha256::digest(content);
    let last: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT content_sha256 FROM policy_versions WHERE version = $1")
            .bind(head)
            .fetch_optional(scope.connection())
            .await?;
    if last.as_deref() == Some(hash.as_slice()) {
        return Ok(head);
    }
    let (version, now) = (head + 1, scope.clock().now());
    sqlx::query(
        "INSERT INTO policy_versions (version, content_sha256, content, created_at) VALUES ($1, $2, $3, $4)",
    )
    .bind(version)
    .bind(hash.as_slice())
    .bind(content)
    .bind(now)
    .execute(scope.connection())
    .await?;
    sqlx::query("UPDATE policy_head SET version = $1, changed_at = $2")
        .bind(version)
        .bind(now)
        .execute(scope.connection())
        .await?;
    sqlx::query("DELETE FROM policy_versions WHERE version <= $1")
        .bind(version - KEPT_VERSIONS)
        .execute(scope.connection())
        .await?;
    Ok(version)
}

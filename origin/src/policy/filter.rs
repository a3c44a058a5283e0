//! Building a filter of revocations, beside the requests: seldom, by one origin at a time, and page by page. It may not let a row count
//! as filtered before the filter that has it is published: one transaction does both, whatever the clocks say.

use shared::policy::{RevocationFilter, entry_hash};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::database::{Actor, Component, Database, DatabaseError, Scope};

/// Rows read at a time.
const PAGE: i64 = 20_000;
/// How many valid tokens that would be hit falsely a filter may list; further ones are confirmed when they come.
const MAX_EXCEPTIONS: usize = 32_768;
/// Filters that are kept: one may be read by a compilation that began before it was replaced.
const KEPT_FILTERS: i64 = 3;

/// What came of building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Built {
    /// A filter is in force that was built just now.
    Filter {
        /// Of how many entries.
        entries: u64,
        /// How many false hits it knows.
        exceptions: usize,
    },
    /// What is left is few enough to be listed: no filter is in force any more.
    List,
    /// Another origin is building.
    Elsewhere,
}

/// Builds the next filter of everything that has not expired; `list` is how many may stand one by one. A failure leaves everything as
/// it was.
pub(super) async fn build(database: &Database, list: u32) -> Result<Built, DatabaseError> {
    let mut scope = database.scope(Actor::System(Component::PolicyCompiler)).await?;
    let head: Option<i64> =
        sqlx::query_scalar("SELECT generation FROM revocation_filter_head FOR UPDATE SKIP LOCKED")
            .fetch_optional(scope.connection())
            .await?;
    let Some(head) = head else { return Ok(Built::Elsewhere) };
    let (generation, now) = (head + 1, scope.clock().now());
    // Whatever is committed from here on has no generation, and stands in the list.
    sqlx::query(
        "UPDATE revocations SET filter_generation = $1
         WHERE filter_generation IS NULL AND kind IN ('jti', 'grant') AND expires_at > $2",
    )
    .bind(generation)
    .bind(now)
    .execute(scope.connection())
    .await?;
    let Entries { hashes, mut expiries } = entries(&mut scope, now).await?;
    if hashes.len() <= usize::try_from(list / 2).unwrap_or(usize::MAX) {
        sqlx::query(
            "UPDATE revocations SET filter_generation = NULL WHERE filter_generation IS NOT NULL AND expires_at > $1",
        )
        .bind(now)
        .execute(scope.connection())
        .await?;
        publish(&mut scope, generation).await?;
        scope.commit().await?;
        return Ok(Built::List);
    }
    let middle = expiries.len() / 2;
    let (_, rebuild_at, _) = expiries.select_nth_unstable(middle);
    let rebuild_at = *rebuild_at;
    let valid = valid(&mut scope, now).await?;
    let filter = tokio::task::spawn_blocking(move || RevocationFilter::build(hashes, valid, MAX_EXCEPTIONS))
        .await
        .ok()
        .flatten()
        .ok_or_else(|| {
            DatabaseError::from(sqlx::Error::Protocol("the filter could not be built".to_owned()))
        })?;
    sqlx::query(
        "INSERT INTO revocation_filters (generation, sha256, content, entries, exceptions, rebuild_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(generation)
    .bind(filter.digest().as_slice())
    .bind(filter.bytes())
    .bind(i64::try_from(filter.entries()).unwrap_or(i64::MAX))
    .bind(i64::try_from(filter.exceptions()).unwrap_or(i64::MAX))
    .bind(rebuild_at)
    .bind(now)
    .execute(scope.connection())
    .await?;
    publish(&mut scope, generation).await?;
    scope.commit().await?;
    Ok(Built::Filter { entries: filter.entries(), exceptions: filter.exceptions() })
}

async fn publish(scope: &mut Scope, generation: i64) -> Result<(), DatabaseError> {
    sqlx::query("UPDATE revocation_filter_head SET generation = $1")
        .bind(generation)
        .execute(scope.connection())
        .await?;
    sqlx::query("DELETE FROM revocation_filters WHERE generation <= $1")
        .bind(generation - KEPT_FILTERS)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// What a filter is built of.
struct Entries {
    hashes: Vec<u64>,
    expiries: Vec<OffsetDateTime>,
}

/// Every marked row that has not expired. Between two pages nobody else marks one: the head is locked.
async fn entries(scope: &mut Scope, now: OffsetDateTime) -> Result<Entries, DatabaseError> {
    let mut entries = Entries { hashes: Vec::new(), expiries: Vec::new() };
    let mut after = (String::new(), String::new());
    loop {
        let page: Vec<(String, String, OffsetDateTime)> = sqlx::query_as(
            "SELECT kind, value, expires_at FROM revocations
             WHERE (kind, value) > ($1, $2) AND filter_generation IS NOT NULL AND expires_at > $3
             ORDER BY kind, value LIMIT $4",
        )
        .bind(&after.0)
        .bind(&after.1)
        .bind(now)
        .bind(PAGE)
        .fetch_all(scope.connection())
        .await?;
        for (kind, value, expires_at) in &page {
            entries.hashes.push(entry_hash(kind, value));
            entries.expiries.push(*expires_at);
        }
        match page.into_iter().next_back() {
            Some((kind, value, _)) => after = (kind, value),
            None => return Ok(entries),
        }
    }
}

/// The hashes of what was issued here, has not ended and is not revoked. What is revoked while this reads is listed, which counts before
/// any exception.
async fn valid(scope: &mut Scope, now: OffsetDateTime) -> Result<Vec<u64>, DatabaseError> {
    let mut hashes = Vec::new();
    for (kind, statement) in [
        (
            "jti",
            "SELECT jti FROM oauth_tokens WHERE jti > $1 AND expires_at > $2 AND revoked_at IS NULL ORDER BY jti LIMIT $3",
        ),
        (
            "grant",
            "SELECT id FROM oauth_grants WHERE id > $1 AND expires_at > $2 AND revoked_at IS NULL ORDER BY id LIMIT $3",
        ),
        (
            "jti",
            "SELECT jti FROM gateway_tokens WHERE jti > $1 AND expires_at > $2 AND revoked_at IS NULL ORDER BY jti LIMIT $3",
        ),
        (
            "jti",
            "SELECT id FROM security_service.api_keys
             WHERE id > $1 AND coalesce(expires_at > $2, true) AND status <> 'revoked' ORDER BY id LIMIT $3",
        ),
    ] {
        let mut after = Uuid::nil();
        loop {
            let page: Vec<Uuid> = sqlx::query_scalar(statement)
                .bind(after)
                .bind(now)
                .bind(PAGE)
                .fetch_all(scope.connection())
                .await?;
            hashes.extend(page.iter().map(|id| entry_hash(kind, &id.to_string())));
            match page.last() {
                Some(last) => after = *last,
                None => break,
            }
        }
    }
    // As many as projects name: few.
    let certificates: Vec<String> =
        sqlx::query_scalar(
            "SELECT p.slug || '/' || c.id FROM project_certificates AS c JOIN projects AS p ON p.id = c.project_id LIMIT $1",
        )
        .bind(PAGE)
        .fetch_all(scope.connection())
        .await?;
    hashes.extend(certificates.iter().map(|id| entry_hash("jti", id)));
    Ok(hashes)
}

//! What of the revocations stands in a policy one by one, and which filter has the rest. It may not read what the filter was built of.

use std::sync::Arc;

use shared::policy::{FilterName, RevocationFilter, Revocations};
use sqlx::FromRow;
use time::OffsetDateTime;

use super::PolicyError;
use crate::database::Scope;

/// How many times the list's bound may be listed while a filter is being built. Beyond that there is no policy until it is: one of
/// tens of megabytes would reach no edge.
const OVERDRAFT: u64 = 10;

/// The revocations of one compilation.
pub(super) struct Read {
    /// As the policy carries them.
    pub(super) revocations: Revocations,
    /// The filter that they name.
    pub(super) filter: Option<Arc<RevocationFilter>>,
    /// Whether it is time to build a filter.
    pub(super) is_due: bool,
}

#[derive(FromRow)]
struct Row {
    generation: i64,
    sha256: Option<Vec<u8>>,
    rebuild_at: Option<OffsetDateTime>,
    kind: Option<String>,
    value: Option<String>,
    not_before: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
}

/// Reads them. `held` is the filter that is in memory here; `list` is how many tokens and grants may stand one by one.
pub(super) async fn read(
    scope: &mut Scope,
    held: Option<&Arc<RevocationFilter>>,
    list: u32,
) -> Result<Read, PolicyError> {
    let now = scope.clock().now();
    let most = u64::from(list) * OVERDRAFT;
    // One statement, and so one snapshot: a filter that is published beside it has come either with its marks or without them. Cut-offs
    // are never in a filter.
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT head.generation, filter.sha256, filter.rebuild_at, listed.kind, listed.value, listed.not_before, listed.expires_at
         -- One row, which the planner is told: it would expect thousands, and compile itself a program for them.
         FROM (SELECT generation FROM revocation_filter_head LIMIT 1) AS head
         LEFT JOIN revocation_filters AS filter ON filter.generation = head.generation
         LEFT JOIN (
             (SELECT kind, value, not_before, expires_at FROM revocations
              WHERE filter_generation IS NULL AND kind IN ('jti', 'grant') AND expires_at > $1 LIMIT $2)
             UNION ALL
             (SELECT kind, value, not_before, expires_at FROM revocations
              WHERE filter_generation IS NULL AND kind IN ('subject', 'client') AND expires_at > $1)
         ) AS listed ON true",
    )
    .bind(now)
    .bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1))
    .fetch_all(scope.connection())
    .await?;
    let newest = rows.first().ok_or(PolicyError::NoFilterHead)?;
    let (generation, sha256, rebuild_at) = (newest.generation, newest.sha256.clone(), newest.rebuild_at);
    let mut revocations = Revocations::default();
    for row in rows {
        // None where nothing is listed.
        let (Some(kind), Some(value), Some(not_before), Some(expires_at)) =
            (row.kind, row.value, row.not_before, row.expires_at)
        else {
            continue;
        };
        let _ = match kind.as_str() {
            "jti" => revocations.tokens.insert(value, next_second(expires_at)),
            "grant" => revocations.grants.insert(value, next_second(expires_at)),
            // `iat` has whole seconds: rounded up, so that what was issued earlier in that second is refused too.
            "subject" => revocations.subjects.insert(value, next_second(not_before)),
            _ => revocations.clients.insert(value, next_second(not_before)),
        };
    }
    let listed = u64::try_from(revocations.tokens.len() + revocations.grants.len()).unwrap_or(u64::MAX);
    if listed > most {
        return Err(PolicyError::FilterPending);
    }
    let filter = match sha256 {
        Some(sha256) => Some(load(scope, generation, &sha256, held).await?),
        None => None,
    };
    revocations.filter = filter.as_deref().map(FilterName::from);
    let is_due = listed > u64::from(list) || rebuild_at.is_some_and(|rebuild_at| rebuild_at <= now);
    Ok(Read { revocations, filter, is_due })
}

/// The filter of this generation, from memory where that has it: every origin gives out the bytes that were stored.
async fn load(
    scope: &mut Scope,
    generation: i64,
    sha256: &[u8],
    held: Option<&Arc<RevocationFilter>>,
) -> Result<Arc<RevocationFilter>, PolicyError> {
    let name = shared::base64url::encode(sha256);
    if let Some(held) = held.filter(|held| held.sha256() == name) {
        return Ok(Arc::clone(held));
    }
    let content: Vec<u8> = sqlx::query_scalar("SELECT content FROM revocation_filters WHERE generation = $1")
        .bind(generation)
        .fetch_optional(scope.connection())
        .await?
        .ok_or(PolicyError::BadFilter { generation })?;
    let filter = RevocationFilter::parse(content).filter(|filter| filter.sha256() == name);
    filter.map(Arc::new).ok_or(PolicyError::BadFilter { generation })
}

/// The first whole second that is not before `at`.
fn next_second(at: OffsetDateTime) -> u64 {
    let second = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    if at.nanosecond() == 0 { second } else { second.saturating_add(1) }
}

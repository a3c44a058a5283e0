//! Reads the stored tree: its frontier, and the hashes that proofs are made of. A proof of a log of a hundred million events reads a
//! few thousand hashes at most, in one statement.

use std::ops::Range;

use shared::tlog::{
    Frontier, Hash, consistency_ranges, fold, inclusion_ranges, perfect_subtrees, verify_consistency,
};

use super::leaf::hash_of_column;
use crate::database::{DatabaseError, Scope};

/// Every eighth level of the tree is stored.
pub(super) const LEVEL_HEIGHT: u32 = 8;

/// What is wrong with the stored log. None of it happens by itself: somebody changed it.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Size and frontier do not go together.
    #[error("the audit log's state (audit_log_state) is damaged: size and frontier do not go together")]
    State,
    /// Leaves or nodes are not there.
    #[error(
        "the audit log has no hashes for leaves {from} to {to}: rows of event_log or audit_log_nodes are missing"
    )]
    Missing {
        /// The first leaf below the missing hash.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// The log does not begin with what was signed before.
    #[error(
        "the audit log of {size} events does not begin with the {old} events of an earlier checkpoint ({place}): it was changed"
    )]
    Forked {
        /// How many events it has.
        size: u64,
        /// How many the earlier checkpoint has.
        old: u64,
        /// Where the earlier checkpoint is.
        place: String,
    },
    /// The log is shorter than what was signed before.
    #[error(
        "the audit log has {size} events, and an earlier checkpoint ({place}) has {old}: events were removed, or the database \
         was set back"
    )]
    Shrunk {
        /// How many events it has.
        size: u64,
        /// How many the earlier checkpoint has.
        old: u64,
        /// Where the earlier checkpoint is.
        place: String,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for TreeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// The frontier, with its row locked until the scope ends.
pub(super) async fn frontier_for_update(scope: &mut Scope) -> Result<Frontier, TreeError> {
    let state = sqlx::query_as("SELECT size, frontier FROM audit_log_state FOR UPDATE")
        .fetch_optional(scope.connection())
        .await?;
    read_frontier(state)
}

/// The frontier as it is now.
pub(super) async fn frontier(scope: &mut Scope) -> Result<Frontier, TreeError> {
    let state = sqlx::query_as("SELECT size, frontier FROM audit_log_state")
        .fetch_optional(scope.connection())
        .await?;
    read_frontier(state)
}

fn read_frontier(state: Option<(i64, Vec<u8>)>) -> Result<Frontier, TreeError> {
    let (size, bytes) = state.ok_or(TreeError::State)?;
    let hashes: Option<Vec<Hash>> = bytes.chunks(32).map(hash_of_column).collect();
    u64::try_from(size)
        .ok()
        .zip(hashes)
        .and_then(|(size, hashes)| Frontier::of(size, hashes))
        .ok_or(TreeError::State)
}

/// The frontier of the first `size` leaves, from what is stored.
pub(super) async fn frontier_at(scope: &mut Scope, size: u64) -> Result<Frontier, TreeError> {
    let hashes = perfect_hashes(scope, &(0..size)).await?;
    Frontier::of(size, hashes).ok_or(TreeError::State)
}

/// The path that proves that the leaf at `index` is among the first `size`.
pub(super) async fn inclusion(scope: &mut Scope, index: u64, size: u64) -> Result<Vec<Hash>, TreeError> {
    roots(scope, &inclusion_ranges(index, size)).await
}

/// The proof that the first `size` leaves begin with the first `old`.
pub(super) async fn consistency(scope: &mut Scope, old: u64, size: u64) -> Result<Vec<Hash>, TreeError> {
    roots(scope, &consistency_ranges(old, size)).await
}

/// Fails unless the log with this size and root begins with an earlier checkpoint, which is found at `place`. The proof, where not.
pub(super) async fn extends(
    scope: &mut Scope,
    old: (u64, &Hash),
    new: (u64, &Hash),
    place: &str,
) -> Result<Vec<Hash>, TreeError> {
    let ((old, old_root), (size, root)) = (old, new);
    if old > size {
        return Err(TreeError::Shrunk { size, old, place: place.to_owned() });
    }
    let proof = consistency(scope, old, size).await?;
    match verify_consistency(old, old_root, size, root, &proof) {
        Ok(()) => Ok(proof),
        Err(_) => Err(TreeError::Forked { size, old, place: place.to_owned() }),
    }
}

async fn roots(scope: &mut Scope, ranges: &[Range<u64>]) -> Result<Vec<Hash>, TreeError> {
    let mut roots = Vec::with_capacity(ranges.len());
    for range in ranges {
        roots.push(fold(&perfect_hashes(scope, range).await?));
    }
    Ok(roots)
}

/// The roots of the perfect subtrees of a range, largest first.
async fn perfect_hashes(scope: &mut Scope, range: &Range<u64>) -> Result<Vec<Hash>, TreeError> {
    let subtrees = perfect_subtrees(range);
    let mut columns: (Vec<i16>, Vec<i64>, Vec<i64>) = Default::default();
    let mut spans = Vec::with_capacity(subtrees.len());
    for subtree in &subtrees {
        let level = subtree.height / LEVEL_HEIGHT;
        let width = 1_u64 << (subtree.height % LEVEL_HEIGHT);
        let first = subtree.index * width;
        columns.0.push(i16::try_from(level).map_err(|_| TreeError::State)?);
        columns.1.push(i64::try_from(first).map_err(|_| TreeError::State)?);
        columns.2.push(i64::try_from(first + width).map_err(|_| TreeError::State)?);
        spans.push((subtree, width));
    }
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT span.place, found.hash
         FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS span (level, first, after, place)
         CROSS JOIN LATERAL (
             SELECT position AS index, leaf_hash AS hash FROM event_log
             WHERE span.level = 0 AND position >= span.first AND position < span.after
             UNION ALL
             SELECT index, hash FROM audit_log_nodes
             WHERE audit_log_nodes.level = span.level AND index >= span.first AND index < span.after) AS found
         ORDER BY span.place, found.index",
    )
    .bind(&columns.0)
    .bind(&columns.1)
    .bind(&columns.2)
    .fetch_all(scope.connection())
    .await?;
    let mut rows = rows.into_iter().peekable();
    let mut hashes = Vec::with_capacity(subtrees.len());
    for (place, (subtree, width)) in (1_i64..).zip(spans) {
        let mut part = Frontier::new();
        while let Some((_, hash)) = rows.next_if(|(at, _)| *at == place) {
            part.push_hash(hash_of_column(&hash).ok_or(TreeError::State)?, |_, _| {});
        }
        if part.size() != width {
            let from = subtree.index << subtree.height;
            return Err(TreeError::Missing { from, to: from + (1 << subtree.height) - 1 });
        }
        hashes.push(part.root());
    }
    Ok(hashes)
}

//! The sealer: one more destination of the outbox. It gives each event that has none a position, from 0 and without gaps, and extends
//! the tree, in one transaction that holds the log's only state. What comes again has its position already.

use shared::tlog::{Frontier, Hash, PerfectSubtree};
use uuid::Uuid;

use super::growth::Growth;
use super::leaf::{Leaf, leaf_of_row};
use super::tree::{self, LEVEL_HEIGHT, TreeError};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::outbox::Delivery;
use crate::outbox::destination::{DeliveryFault, Destination, Undelivered};

/// Seals events.
#[derive(Clone, Debug)]
pub struct Sealer {
    command: Database,
    growth: Growth,
}

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("event {0} has a version or hash that no event can have")]
    Event(Uuid),
}

impl From<sqlx::Error> for SealError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Sealer {
    /// Seals by way of `command`, whose login may act as the sealer.
    pub fn new(command: Database) -> Self {
        Self { command, growth: Growth::default() }
    }

    /// What tells that the log grew.
    pub(super) fn growth(&self) -> &Growth {
        &self.growth
    }

    /// Gives positions to those of these events that have none, and to what precedes them in their aggregates. How many got one.
    async fn seal(&self, event_ids: &[Uuid]) -> Result<u64, SealError> {
        let mut scope = self.command.scope(Actor::System(Component::Sealer)).await?;
        // The lock makes positions gapless: sealers take turns, and what the one before sealed is seen by the statements below.
        let mut frontier = tree::frontier_for_update(&mut scope).await?;
        let leaves = unsealed(&mut scope, event_ids).await?;
        if leaves.is_empty() {
            return Ok(0);
        }
        let mut rows = LogRows::default();
        let mut nodes = NodeRows::default();
        for (event_id, leaf) in leaves {
            let position = column(frontier.size())?;
            let hash = leaf.hash();
            rows.push(position, event_id, hash);
            frontier.push_hash(hash, |subtree, root| nodes.completed(subtree, root));
        }
        rows.insert(&mut scope).await?;
        nodes.insert(&mut scope).await?;
        store(&mut scope, &frontier).await?;
        let sealed = u64::try_from(rows.positions.len()).unwrap_or(u64::MAX);
        scope.commit().await?;
        self.growth.by(sealed);
        Ok(sealed)
    }
}

impl Destination for Sealer {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        let event_ids: Vec<Uuid> = batch.iter().map(|row| row.event_id).collect();
        // Nothing is ever refused: a log records what there is, and the verifier judges it.
        match self.seal(&event_ids).await {
            Ok(_) => Ok(()),
            Err(error) => Err(DeliveryFault::outage(error.to_string()).into()),
        }
    }
}

/// An event and what its leaf is made of.
type UnsealedRow = (Uuid, i64, Option<Vec<u8>>, Vec<u8>, Vec<u8>);

/// Those of these events that have no position, each after everything that precedes it in its aggregate: what an operator discarded
/// from the queue comes in with its successor.
async fn unsealed(scope: &mut Scope, event_ids: &[Uuid]) -> Result<Vec<(Uuid, Leaf)>, SealError> {
    let rows: Vec<UnsealedRow> = sqlx::query_as(
        "WITH RECURSIVE unsealed AS (
             SELECT events.event_id, events.workspace_id, events.aggregate_type, events.aggregate_id, events.version
             FROM unnest($1::uuid[]) AS batch (event_id) JOIN events ON events.event_id = batch.event_id
             WHERE NOT EXISTS (SELECT FROM event_log WHERE event_log.event_id = events.event_id)
           UNION
             SELECT before.event_id, before.workspace_id, before.aggregate_type, before.aggregate_id, before.version
             FROM unsealed JOIN events AS before
               ON before.workspace_id = unsealed.workspace_id AND before.aggregate_type = unsealed.aggregate_type
              AND before.aggregate_id = unsealed.aggregate_id AND before.version = unsealed.version - 1
             WHERE NOT EXISTS (SELECT FROM event_log WHERE event_log.event_id = before.event_id))
         SELECT events.event_id, events.version, events.prev_hash, events.event_hash, events.body
         FROM unsealed JOIN events ON events.event_id = unsealed.event_id
         ORDER BY max(events.occurred_at) OVER (
                      PARTITION BY events.workspace_id, events.aggregate_type, events.aggregate_id ORDER BY events.version),
                  events.version",
    )
    .bind(event_ids)
    .fetch_all(scope.connection())
    .await?;
    let leaf = |(event_id, version, prev_hash, event_hash, body)| {
        let leaf = leaf_of_row((version, prev_hash, event_hash, body));
        leaf.map(|leaf| (event_id, leaf)).ok_or(SealError::Event(event_id))
    };
    rows.into_iter().map(leaf).collect()
}

/// New rows of `event_log`, by column.
#[derive(Default)]
struct LogRows {
    positions: Vec<i64>,
    event_ids: Vec<Uuid>,
    hashes: Vec<Vec<u8>>,
}

impl LogRows {
    fn push(&mut self, position: i64, event_id: Uuid, hash: Hash) {
        self.positions.push(position);
        self.event_ids.push(event_id);
        self.hashes.push(hash.to_vec());
    }

    async fn insert(&self, scope: &mut Scope) -> Result<(), DatabaseError> {
        sqlx::query(
            "INSERT INTO event_log (position, event_id, leaf_hash)
             SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bytea[])",
        )
        .bind(&self.positions)
        .bind(&self.event_ids)
        .bind(&self.hashes)
        .execute(scope.connection())
        .await?;
        Ok(())
    }
}

/// New rows of `audit_log_nodes`, by column.
#[derive(Default)]
struct NodeRows {
    levels: Vec<i16>,
    indexes: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl NodeRows {
    fn completed(&mut self, subtree: PerfectSubtree, root: &Hash) {
        if subtree.height == 0 || !subtree.height.is_multiple_of(LEVEL_HEIGHT) {
            return;
        }
        let level = i16::try_from(subtree.height / LEVEL_HEIGHT);
        if let (Ok(level), Ok(index)) = (level, i64::try_from(subtree.index)) {
            self.levels.push(level);
            self.indexes.push(index);
            self.hashes.push(root.to_vec());
        }
    }

    async fn insert(&self, scope: &mut Scope) -> Result<(), DatabaseError> {
        if self.levels.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO audit_log_nodes (level, index, hash)
             SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])",
        )
        .bind(&self.levels)
        .bind(&self.indexes)
        .bind(&self.hashes)
        .execute(scope.connection())
        .await?;
        Ok(())
    }
}

async fn store(scope: &mut Scope, frontier: &Frontier) -> Result<(), SealError> {
    sqlx::query("UPDATE audit_log_state SET size = $1, frontier = $2")
        .bind(column(frontier.size())?)
        .bind(frontier.hashes().concat())
        .execute(scope.connection())
        .await?;
    Ok(())
}

fn column(number: u64) -> Result<i64, TreeError> {
    i64::try_from(number).map_err(|_| TreeError::State)
}

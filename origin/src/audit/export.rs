//! Writes the log as lines of JSON that an offline verifier reads: a header, the checkpoints, the events (docs/reference/audit.md). It
//! ends where the latest checkpoint ends, and holds no more than a page of events in memory. It writes what there is, faulty or not:
//! judging is the verifier's part.

use std::borrow::Cow;
use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::tlog::Checkpoint;
use time::OffsetDateTime;
use uuid::Uuid;

use super::checkpoints::{self, latest_checkpoint};
use super::leaf::{Base64Hash, hash_of_column, leaf_of_row};
use super::tree::{self, TreeError};
use crate::database::{Actor, Component, Database, Scope};
use crate::events::field::Moment;

/// Events, or checkpoints, that are read at once.
const PAGE: i64 = 1_000;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine {
    /// The number of the format: 1.
    pub(super) gateward_audit_log: u64,
    /// Which log.
    pub(super) origin: String,
    /// The position of the first event in the file.
    pub(super) from: u64,
    /// The position after the last one: the size of the latest checkpoint.
    pub(super) size: u64,
    /// The roots of the perfect subtrees of what comes before `from`, largest first.
    pub(super) frontier: Vec<Base64Hash>,
}

/// A line of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointLine<'a> {
    /// The signed note.
    #[serde(borrow)]
    pub(super) checkpoint: Cow<'a, str>,
}

/// A line of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine<'a> {
    /// Its position in the log.
    pub(super) position: u64,
    /// The hash of its leaf, as it was stored when it was sealed.
    pub(super) leaf_hash: Base64Hash,
    /// Its place in its aggregate.
    pub(super) version: u64,
    /// The hash of the event before it in its aggregate.
    pub(super) prev_hash: Option<Base64Hash>,
    /// Its own.
    pub(super) event_hash: Base64Hash,
    /// Its canonical bytes.
    #[serde(borrow)]
    pub(super) body: Cow<'a, str>,
    /// What the other columns of its row say, where that is not what the body says. Only there when somebody changed one.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) row: Option<Cow<'a, str>>,
}

/// A line that stands where an event is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissingLine {
    /// Its position in the log.
    pub(super) position: u64,
    /// The hash of its leaf.
    pub(super) leaf_hash: Base64Hash,
    /// Its id.
    pub(super) missing_event: Uuid,
}

/// Why the log was not written, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is nothing that anybody could check.
    #[error(
        "there is no checkpoint yet: nothing is sealed, or `gateward forward` does not run (`gateward audit status`)"
    )]
    NoCheckpoint,
    /// The first position asked for is not in the log.
    #[error("the latest checkpoint is of {size} events: there is no position {from}")]
    From {
        /// What was asked for.
        from: u64,
        /// How many there are.
        size: u64,
    },
    /// The log is damaged or cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It cannot be written.
    #[error("it cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

impl From<crate::database::DatabaseError> for ExportError {
    fn from(error: crate::database::DatabaseError) -> Self {
        Self::Tree(error.into())
    }
}

impl From<sqlx::Error> for ExportError {
    fn from(error: sqlx::Error) -> Self {
        Self::Tree(error.into())
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Which log.
    pub origin: String,
    /// The position of the first event.
    pub from: u64,
    /// The position after the last one.
    pub size: u64,
}

/// Writes the log from a position on, up to its latest checkpoint. The login of `database` may act as the auditor. Each page is a
/// transaction of its own: what has a position never changes, so a slow reader holds up nothing.
pub async fn export(
    database: &Database,
    from: u64,
    out: &mut (impl Write + Send),
) -> Result<Exported, ExportError> {
    let mut scope = scope(database).await?;
    let latest = latest_checkpoint(&mut scope).await?.ok_or(ExportError::NoCheckpoint)?;
    let (Checkpoint { origin, size, .. }, _) =
        Checkpoint::unverified(&latest.note).map_err(|_| TreeError::State)?;
    if from > 0 && from >= size {
        return Err(ExportError::From { from, size });
    }
    let frontier = tree::frontier_at(&mut scope, from).await?;
    let frontier = frontier.hashes().iter().copied().map(Base64Hash).collect();
    drop(scope);
    let exported = Exported { origin: origin.clone(), from, size };
    line(out, &HeaderLine { gateward_audit_log: 1, origin, from, size, frontier })?;
    write_checkpoints(database, from, size, out).await?;
    write_events(database, from, size, out).await?;
    out.flush()?;
    Ok(exported)
}

async fn write_checkpoints(
    database: &Database,
    from: u64,
    size: u64,
    out: &mut (impl Write + Send),
) -> Result<(), ExportError> {
    let mut after = from;
    loop {
        let page = checkpoints::notes(&mut scope(database).await?, after, size, PAGE).await?;
        for (_, note) in &page {
            line(out, &CheckpointLine { checkpoint: note.as_str().into() })?;
        }
        match page.last() {
            Some((last, _)) => after = u64::try_from(*last).map_err(|_| TreeError::State)?,
            None => return Ok(()),
        }
    }
}

async fn write_events(
    database: &Database,
    from: u64,
    size: u64,
    out: &mut (impl Write + Send),
) -> Result<(), ExportError> {
    let column = |number: u64| i64::try_from(number).map_err(|_| TreeError::State);
    let (mut next, end) = (column(from)?, column(size)?);
    loop {
        let page: Vec<Row> = sqlx::query_as(
            "SELECT log.position, log.event_id AS sealed_event_id, log.leaf_hash, events.*
             FROM event_log AS log LEFT JOIN events ON events.event_id = log.event_id
             WHERE log.position >= $1 AND log.position < $2 ORDER BY log.position LIMIT $3",
        )
        .bind(next)
        .bind(end)
        .bind(PAGE)
        .fetch_all(scope(database).await?.connection())
        .await?;
        let Some(last) = page.last() else { return Ok(()) };
        next = last.position.saturating_add(1);
        for row in page {
            row.write(out)?;
        }
    }
}

async fn scope(database: &Database) -> Result<Scope, TreeError> {
    Ok(database.scope(Actor::System(Component::Auditor)).await?)
}

fn line(out: &mut impl Write, line: &impl Serialize) -> Result<(), std::io::Error> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// A position with its event, where that is still there.
#[derive(sqlx::FromRow)]
struct Row {
    position: i64,
    sealed_event_id: Uuid,
    leaf_hash: Vec<u8>,
    event_id: Option<Uuid>,
    workspace_id: Option<Uuid>,
    aggregate_type: Option<String>,
    aggregate_id: Option<Uuid>,
    version: Option<i64>,
    event_type: Option<String>,
    schema_version: Option<i16>,
    payload: Option<Value>,
    metadata: Option<Value>,
    occurred_at: Option<OffsetDateTime>,
    body: Option<Vec<u8>>,
    prev_hash: Option<Vec<u8>>,
    event_hash: Option<Vec<u8>>,
}

impl Row {
    fn write(self, out: &mut impl Write) -> Result<(), ExportError> {
        let position = u64::try_from(self.position).map_err(|_| TreeError::State)?;
        let leaf_hash = Base64Hash(hash_of_column(&self.leaf_hash).ok_or(TreeError::State)?);
        let row = self.columns();
        let leaf = match (self.version, self.event_hash, self.body) {
            (Some(version), Some(event_hash), Some(body)) => {
                leaf_of_row((version, self.prev_hash, event_hash, body))
            }
            _ => None,
        };
        let Some(leaf) = leaf else {
            line(out, &MissingLine { position, leaf_hash, missing_event: self.sealed_event_id })?;
            return Ok(());
        };
        let says_the_same = serde_json::from_slice::<Value>(&leaf.body).is_ok_and(|body| body == row);
        let line_of_event = EventLine {
            position,
            leaf_hash,
            version: leaf.version,
            prev_hash: leaf.prev_hash.map(Base64Hash),
            event_hash: Base64Hash(leaf.event_hash),
            // Bytes that are no text were never an event: what stands for them has another hash.
            body: String::from_utf8_lossy(&leaf.body),
            row: (!says_the_same).then(|| row.to_string().into()),
        };
        line(out, &line_of_event)?;
        Ok(())
    }

    /// What the columns beside the body say, as the body would say it.
    fn columns(&self) -> Value {
        json!({
            "event_id": self.event_id,
            "workspace_id": self.workspace_id,
            "aggregate_type": self.aggregate_type,
            "aggregate_id": self.aggregate_id,
            "event_type": self.event_type,
            "schema_version": self.schema_version,
            "occurred_at": self.occurred_at.map(Moment),
            "payload": self.payload,
            "metadata": self.metadata,
        })
    }
}

//! A proof that one event is in the log: its leaf, the path to the root, and the latest checkpoint, in one text that stands by itself
//! (c2sp.org/tlog-proof).

use shared::tlog::{ProofFile, VerifierKey};
use uuid::Uuid;

use super::checkpoints::latest_checkpoint;
use super::leaf::leaf_of_row;
use super::tree::{self, TreeError};
use crate::database::{Actor, Component, Database};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The log has no such event.
    #[error(
        "event {0} is not in the audit log: there is none, or it is not sealed yet (`gateward audit status`)"
    )]
    Unknown(Uuid),
    /// It has a position, but no checkpoint has it yet.
    #[error("event {0} is sealed at position {1}, and no checkpoint has it yet; try again in a moment")]
    Unsigned(Uuid, i64),
    /// Its row is gone or changed.
    #[error(
        "event {0} is at position {1} of the log, but what is stored of it is not what was sealed: it was changed. \
         `gateward audit verify` says more"
    )]
    Changed(Uuid, i64),
    /// The log is damaged or cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl From<sqlx::Error> for ProveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Tree(error.into())
    }
}

/// Proves that an event is in the log, by a login that may act as the auditor.
pub async fn prove(database: &Database, event_id: Uuid) -> Result<ProofFile, ProveError> {
    let mut scope = database.scope(Actor::System(Component::Auditor)).await.map_err(TreeError::from)?;
    let position: Option<i64> = sqlx::query_scalar("SELECT position FROM event_log WHERE event_id = $1")
        .bind(event_id)
        .fetch_optional(scope.connection())
        .await?;
    let position = position.ok_or(ProveError::Unknown(event_id))?;
    let index = u64::try_from(position).map_err(|_| TreeError::State)?;
    let checkpoint = latest_checkpoint(&mut scope).await?;
    let checkpoint = checkpoint
        .filter(|checkpoint| checkpoint.size > index)
        .ok_or(ProveError::Unsigned(event_id, position))?;
    let row = sqlx::query_as("SELECT version, prev_hash, event_hash, body FROM events WHERE event_id = $1")
        .bind(event_id)
        .fetch_optional(scope.connection())
        .await?;
    let changed = ProveError::Changed(event_id, position);
    let Some(leaf) = row.and_then(leaf_of_row) else { return Err(changed) };
    let proof = ProofFile {
        leaf: leaf.to_bytes(),
        index,
        path: tree::inclusion(&mut scope, index, checkpoint.size).await?,
        checkpoint: checkpoint.cosigned(),
    };
    // The path leads somewhere in any case; that it leads to what was signed is what counts.
    let leads_there =
        shared::tlog::verify_inclusion(&leaf.hash(), index, checkpoint.size, &proof.path, &checkpoint.root);
    if leads_there.is_err() { Err(changed) } else { Ok(proof) }
}

/// What a proof says, once it is checked.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Proved {
    /// The log.
    pub origin: String,
    /// The event's position.
    pub position: u64,
    /// How many events the checkpoint is of.
    pub size: u64,
    /// The event's place in its aggregate.
    pub version: u64,
    /// The event, as it was sealed.
    pub event: serde_json::Value,
    /// When the witness cosigned, in seconds since the Unix epoch, where its key was given.
    pub cosigned_at: Option<u64>,
}

/// Why a proof is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ProofFault {
    /// The proof itself.
    #[error("it proves nothing: {0}")]
    Proof(#[from] shared::tlog::ProofFileError),
    /// What it is about.
    #[error("what it proves to be in the log is no event")]
    Leaf,
    /// The witness.
    #[error("its checkpoint is not cosigned by {0}: {1}")]
    Witness(String, shared::tlog::NoteError),
}

/// Checks a proof with the keys of the log, and of a witness where one is asked for. Needs nothing else.
pub fn verify_proof(
    text: &str,
    keys: &[VerifierKey],
    witness: Option<&VerifierKey>,
) -> Result<Proved, ProofFault> {
    let proof = ProofFile::parse(text)?;
    let (checkpoint, note) = proof.verify(keys)?;
    let leaf =
        super::Leaf::from_bytes(&proof.leaf).filter(super::Leaf::is_chained).ok_or(ProofFault::Leaf)?;
    let event = serde_json::from_slice(&leaf.body).map_err(|_| ProofFault::Leaf)?;
    let cosigned = witness.map(|key| {
        shared::tlog::verify_cosignature(&note, key)
            .map_err(|error| ProofFault::Witness(key.name().to_owned(), error))
    });
    Ok(Proved {
        origin: checkpoint.origin,
        position: proof.index,
        size: checkpoint.size,
        version: leaf.version,
        event,
        cosigned_at: cosigned.transpose()?,
    })
}

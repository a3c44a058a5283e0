//! A proof that stands by itself (c2sp.org/tlog-proof): index, path, checkpoint, and as extra data the leaf it is about.

use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::fmt;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::merkle::{Hash, leaf_hash};
use super::note::{Note, VerifierKey};
use super::proof::{ProofError, verify_inclusion};
use super::{base64, decimal, from_base64, hash_from_base64};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A path has one hash a level.
const LONGEST_PATH: usize = 64;

/// A proof, not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofFile {
    /// The leaf's data.
    pub leaf: Vec<u8>,
    /// Its position.
    pub index: u64,
    /// From the leaf's sibling upwards.
    pub path: Vec<Hash>,
    /// The signed checkpoint, as it is.
    pub checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofFileError {
    /// It is no proof, or one without its leaf.
    Form,
    /// Its checkpoint cannot be believed.
    Checkpoint(CheckpointError),
    /// Its path does not lead from its leaf to that checkpoint's root.
    Path(ProofError),
}

impl fmt::Display for ProofFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("it is not a c2sp.org/tlog-proof@v1 with its leaf as extra data"),
            Self::Checkpoint(error) => write!(f, "its checkpoint: {error}"),
            Self::Path(error) => write!(f, "its path: {error}"),
        }
    }
}

impl core::error::Error for ProofFileError {}

impl ProofFile {
    /// Reads a proof.
    pub fn parse(text: &str) -> Result<Self, ProofFileError> {
        Self::read(text).ok_or(ProofFileError::Form)
    }

    fn read(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let leaf = from_base64(lines.next()?.strip_prefix("extra ")?)?;
        let index = decimal(lines.next()?.strip_prefix("index ")?)?;
        let path: Option<Vec<Hash>> = lines.map(hash_from_base64).collect();
        let path = path.filter(|path| path.len() <= LONGEST_PATH)?;
        Some(Self { leaf, index, path, checkpoint: checkpoint.to_string() })
    }

    /// Checks it against keys of the log, and says which state of the log the leaf is in, with the note.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<(Checkpoint, Note), ProofFileError> {
        let (checkpoint, note) =
            Checkpoint::verified(&self.checkpoint, keys).map_err(ProofFileError::Checkpoint)?;
        let leaf = leaf_hash(&self.leaf);
        verify_inclusion(&leaf, self.index, checkpoint.size, &self.path, &checkpoint.root)
            .map_err(ProofFileError::Path)?;
        Ok((checkpoint, note))
    }
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nextra {}\nindex {}", base64(&self.leaf), self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{}", base64(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

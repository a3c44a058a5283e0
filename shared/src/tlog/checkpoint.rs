//! Checkpoints (c2sp.org/tlog-checkpoint): the text of a note that says which log, how many leaves, which root.

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::fmt;

use super::merkle::Hash;
use super::note::{Note, NoteError, NoteSigner, VerifierKey};
use super::{base64, decimal, hash_from_base64};

/// Why something is no checkpoint, or none to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// The note cannot be read or believed.
    Note(NoteError),
    /// Its text is not origin, size and root, a line each.
    Text,
    /// It is of another log.
    Origin,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => error.fmt(f),
            Self::Text => f.write_str("its text is not origin, tree size and root hash, a line each"),
            Self::Origin => f.write_str("it is of another log"),
        }
    }
}

impl core::error::Error for CheckpointError {}

impl From<NoteError> for CheckpointError {
    fn from(error: NoteError) -> Self {
        Self::Note(error)
    }
}

/// The state of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// Reads the text of a checkpoint. Extension lines are what this log never writes, and nobody could audit: they are refused.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Text)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError::Text);
        };
        let size = decimal(size).ok_or(CheckpointError::Text)?;
        let root = hash_from_base64(root).ok_or(CheckpointError::Text)?;
        if origin.is_empty() {
            return Err(CheckpointError::Text);
        }
        Ok(Self { origin: origin.to_string(), size, root })
    }

    /// What is signed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root))
    }

    /// The signed note.
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.text())
    }

    /// Reads a signed checkpoint without believing it.
    pub fn unverified(note: &str) -> Result<(Self, Note), CheckpointError> {
        let note = Note::parse(note)?;
        Ok((Self::parse(note.text())?, note))
    }

    /// Reads a checkpoint that one of these keys signed, for the log of that key's name.
    pub fn verified(note: &str, keys: &[VerifierKey]) -> Result<(Self, Note), CheckpointError> {
        let (checkpoint, note) = Self::unverified(note)?;
        let mut own = keys.iter().filter(|key| key.name() == checkpoint.origin).peekable();
        if own.peek().is_none() {
            return Err(CheckpointError::Origin);
        }
        note.verify(own)?;
        Ok((checkpoint, note))
    }
}

//! A transparency log's arithmetic and formats: the Merkle tree of RFC 6962 (RFC 9162, 2.1), and C2SP's signed notes, checkpoints,
//! cosignatures and proofs. It may not know what a leaf says, where anything is stored, or which key to trust.
//!
//! A log is a list that only grows. Its root is one hash for all of it; a checkpoint is that hash, signed. From two checkpoints and
//! a short proof anyone can tell that the second list begins with the first, and from one checkpoint that a leaf is in it.

mod checkpoint;
mod cosignature;
mod frontier;
mod merkle;
mod note;
mod proof;
mod proof_file;
#[cfg(test)]
mod tests;

pub use self::checkpoint::{Checkpoint, CheckpointError};
pub use self::cosignature::{cosign, verify_cosignature};
pub use self::frontier::{Frontier, PerfectSubtree};
pub use self::merkle::{Hash, empty_root, leaf_hash, node_hash};
pub use self::note::{Algorithm, KeyError, Note, NoteError, NoteSignature, NoteSigner, VerifierKey};
pub use self::proof::{
    ProofError, consistency_ranges, fold, inclusion_ranges, perfect_subtrees, verify_consistency,
    verify_inclusion,
};
pub use self::proof_file::{ProofFile, ProofFileError};

use alloc::string::String;

use base64ct::{Base64, Encoding as _};

/// Standard base64 with padding (RFC 4648, 4), which is what all of these formats use.
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Reads what [`base64`] writes, and nothing else: of two texts for the same bytes one is refused.
pub fn from_base64(text: &str) -> Option<alloc::vec::Vec<u8>> {
    let bytes = Base64::decode_vec(text).ok()?;
    (base64(&bytes) == text).then_some(bytes)
}

/// A hash in base64.
pub fn hash_from_base64(text: &str) -> Option<Hash> {
    from_base64(text)?.try_into().ok()
}

/// A decimal number without sign or leading zeroes.
pub fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

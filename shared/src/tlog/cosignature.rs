//! Cosignatures (c2sp.org/tlog-cosignature, Ed25519): a witness says that at a time it had seen no larger tree of this log than
//! this one, and that it follows from all it had seen before.

use alloc::format;

use super::note::{Algorithm, Note, NoteError, NoteSignature, NoteSigner, VerifierKey};

fn message(time: u64, text: &str) -> alloc::string::String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Cosigns the text of a checkpoint, at a time in seconds since the Unix epoch.
pub fn cosign(signer: &NoteSigner, time: u64, text: &str) -> NoteSignature {
    let signature = signer.raw(message(time, text).as_bytes());
    signer.line(&[time.to_be_bytes().as_slice(), &signature].concat())
}

/// The latest time at which the witness of this key cosigned the note, in seconds since the Unix epoch. A line that names the key
/// and is not by it spoils the note.
pub fn verify_cosignature(note: &Note, key: &VerifierKey) -> Result<u64, NoteError> {
    let mut latest = None;
    for line in note.signatures().iter().filter(|line| key.made(line)) {
        let (time, signature) = line.signature.split_first_chunk::<8>().ok_or(NoteError::Signature)?;
        let time = u64::from_be_bytes(*time);
        let is_by_it = key.algorithm() == Algorithm::CosignatureV1
            && time <= i64::MAX.cast_unsigned()
            && key.check(message(time, note.text()).as_bytes(), signature);
        if !is_by_it {
            return Err(NoteError::Signature);
        }
        latest = latest.max(Some(time));
    }
    latest.ok_or(NoteError::Unknown)
}

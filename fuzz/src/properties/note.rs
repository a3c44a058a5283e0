//! Signed notes, checkpoints, proofs and verifier keys, which come from wherever they were published. An input is one of them.

use std::sync::LazyLock;

use shared::tlog::{Checkpoint, Note, ProofFile, VerifierKey, verify_cosignature};

/// The key of the documentation of Go's `sumdb/note`; nobody here has its other half.
pub const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
/// The only note that it has signed, as far as is known here.
pub const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

static SIGNER: LazyLock<VerifierKey> = LazyLock::new(|| VerifierKey::parse(KEY).expect("a key"));

/// What is read is written again byte by byte as it was, and nothing is believed that the key has not signed.
pub fn hold(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.text(), text);
    }
    if let Ok(note) = Note::parse(text) {
        assert_eq!(note.to_string(), text);
        assert!(!note.signatures().is_empty());
        let (signed, _) = NOTE.split_once("\n\n").expect("a note");
        assert!(note.verify([&*SIGNER]).is_err() || note.text() == format!("{signed}\n"));
        assert!(verify_cosignature(&note, &SIGNER).is_err(), "the key is none of a witness");
    }
    if let Ok(proof) = ProofFile::parse(text) {
        assert_eq!(proof.to_string(), text);
        assert!(proof.path.len() <= 64);
        assert!(proof.verify(&[SIGNER.clone()]).is_err(), "the key is none of a log");
    }
}

//! Verifier keys as arguments: the key itself, or a file that has it.

use std::path::Path;

use shared::tlog::{Algorithm, VerifierKey};

use crate::cli::Failure;

/// The keys of the log.
pub(super) fn of_log(texts: &[String]) -> Result<Vec<VerifierKey>, Failure> {
    texts.iter().map(|text| read("--key", text, Algorithm::Ed25519)).collect()
}

/// The key of a witness.
pub(super) fn of_witness(text: Option<&String>) -> Result<Option<VerifierKey>, Failure> {
    text.map(|text| read("--witness-key", text, Algorithm::CosignatureV1)).transpose()
}

fn read(option: &str, text: &str, algorithm: Algorithm) -> Result<VerifierKey, Failure> {
    let of_file = if Path::new(text).is_file() {
        let read = std::fs::read_to_string(text);
        Some(read.map_err(|error| Failure::Usage(format!("{option}: {text}: {error}")))?)
    } else {
        None
    };
    let key = VerifierKey::parse(of_file.as_deref().unwrap_or(text).trim())
        .map_err(|error| Failure::Usage(format!("{option} is no verifier key: {error}")))?;
    if key.algorithm() == algorithm {
        return Ok(key);
    }
    let whose = match algorithm {
        Algorithm::Ed25519 => "a log's",
        Algorithm::CosignatureV1 => "a witness's",
    };
    Err(Failure::Usage(format!("{option} must be {whose} key, and this is one of the other kind")))
}

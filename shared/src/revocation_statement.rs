//! The origin's word on what a filter hit: which of the entries are revoked indeed. It may not be believed without the signature of the
//! key that signs policies, nor for another filter than the one it names.
//!
//! It stays true: what a filter was built of does not change, and what is revoked later stands in the policy one by one.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    jwt::{SigningKey, TokenFault, VerificationKey, verify_own},
    time::UnixMillis,
};

/// Its `typ`.
pub const TOKEN_TYPE: &str = "revocation-statement+jwt";
/// Where an edge asks.
pub const TARGET: &str = "/internal/revocations/confirm";
/// How many entries one question may have.
pub const MAX_ENTRIES: usize = 16;

/// "Of these entries, those are revoked."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationStatement {
    /// The issuer it is for.
    pub iss: String,
    /// When it was looked up, in milliseconds.
    pub made_at: UnixMillis,
    /// The filter that hit them, by its hash.
    pub filter: String,
    /// What was asked, `jti:…` or `grant:…`.
    pub entries: Vec<String>,
    /// Those of `entries` that are revoked.
    pub revoked: Vec<String>,
}

/// What an edge asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The filter, by its hash.
    pub filter: String,
    /// The entries it hit.
    pub entries: Vec<String>,
}

/// What the origin answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The statement, signed.
    pub statement: String,
}

impl RevocationStatement {
    /// The compact JWS.
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        key.sign(TOKEN_TYPE, self)
    }

    /// Reads a statement and checks its signature.
    pub fn verify(token: &str, key: &VerificationKey) -> Result<Self, TokenFault> {
        verify_own(token, TOKEN_TYPE, key)
    }

    /// Whether the entry is revoked; `None` when the statement is not about it.
    pub fn says(&self, entry: &str) -> Option<bool> {
        let is_among = |entries: &[String]| entries.iter().any(|one| one == entry);
        is_among(&self.entries).then(|| is_among(&self.revoked))
    }
}

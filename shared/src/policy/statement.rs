//! The signed envelope: which content is the policy of which version, and when that was last true. It may not be
//! believed without the policy key's signature.

use alloc::string::String;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    base64url,
    jwt::{SigningKey, TokenFault, VerificationKey, verify_own},
    time::UnixMillis,
};

/// Where an edge asks for the policy.
pub const TARGET: &str = "/internal/policy";
/// Where an isolate says that it decides by another version now; its assertion names both.
pub const ACKNOWLEDGEMENT_TARGET: &str = "/internal/policy/acknowledgement";
/// The response header that carries the statement, with the content (200) and without it (304).
pub const STATEMENT_HEADER: &str = "x-gateway-policy-statement";
/// Its `typ`.
pub const TOKEN_TYPE: &str = "policy-statement+jwt";

/// "Content of this hash is version `version`, confirmed at `made_at`."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatement {
    /// The issuer the policy is for.
    pub iss: String,
    /// Only grows.
    pub version: u64,
    /// When the content was read from the database, in milliseconds: age counts from here.
    pub made_at: UnixMillis,
    /// base64url of SHA-256 of the content.
    pub sha256: String,
}

impl PolicyStatement {
    /// A statement about `content`.
    pub fn new(issuer: &str, version: u64, made_at: UnixMillis, content: &[u8]) -> Self {
        Self { iss: issuer.into(), version, made_at, sha256: base64url::encode(&Sha256::digest(content)) }
    }

    /// The compact JWS.
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        key.sign(TOKEN_TYPE, self)
    }

    /// Reads a statement and checks its signature.
    pub fn verify(token: &str, key: &VerificationKey) -> Result<Self, TokenFault> {
        verify_own(token, TOKEN_TYPE, key)
    }

    /// Whether the statement is about `content`.
    pub fn is_about(&self, content: &[u8]) -> bool {
        self.sha256 == base64url::encode(&Sha256::digest(content))
    }
}

//! Signing with Ed25519. It may not choose claims: the caller's type says what is in the token.

use alloc::string::String;
use core::fmt;

use jwt_compact::{AlgorithmExt as _, Claims, Header, alg::Ed25519};
use serde::Serialize;

use super::{Jwk, VerificationKey};
use crate::base64url;

/// An Ed25519 private key with its `kid`. A secret: it has no `Debug` of its bytes and is wiped when dropped.
#[derive(Clone)]
pub struct SigningKey {
    kid: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Makes a key of its 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(kid: impl Into<String>, seed: &[u8; 32]) -> Self {
        Self { kid: kid.into(), key: ed25519_dalek::SigningKey::from_bytes(seed) }
    }

    /// The key's `kid`.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as a JWK.
    pub fn public_jwk(&self) -> Jwk {
        Jwk::Okp { crv: "Ed25519".into(), x: base64url::encode(self.key.verifying_key().as_bytes()) }
    }

    /// The public half, ready to verify.
    pub fn verification_key(&self) -> VerificationKey {
        VerificationKey::Ed25519(self.key.verifying_key())
    }

    /// The signature of bytes that the caller laid out.
    pub fn sign_bytes(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.key.sign(message).to_bytes()
    }

    /// The compact JWS of `claims`; `None` when they do not serialise to a JSON object.
    pub fn sign(&self, token_type: &str, claims: &impl Serialize) -> Option<String> {
        let header = Header::empty().with_key_id(self.kid.clone()).with_token_type(token_type);
        Ed25519.token(&header, &Claims::new(claims), &self.key).ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.kid)
    }
}

//! Taking a compact JWS apart, strictly. It may not verify: what comes out is untrusted until a key has spoken.

use alloc::{string::String, vec::Vec};

use jwt_compact::UntrustedToken;
use serde::de::DeserializeOwned;

use super::{Claims, PreparedKeys, SignatureCheck, TokenFault, VerificationKey};
use crate::{base64url, json};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// Header members that would let a token bring its own key or change how it is read (RFC 8725 §3.1, §3.5; RFC 7797).
const FORBIDDEN_HEADERS: [&str; 8] = ["b64", "crit", "jku", "jwk", "x5c", "x5t", "x5u", "zip"];

/// A well-formed token whose signature nobody has checked.
pub struct Unverified<'a> {
    token: UntrustedToken<'a>,
    signing_input: &'a str,
    payload: Vec<u8>,
    embedded_key: Option<serde_json::Value>,
}

impl<'a> Unverified<'a> {
    /// Takes `token` apart.
    pub fn parse(token: &'a str) -> Result<Self, TokenFault> {
        Self::parse_allowing(token, None)
    }

    /// Takes apart a token that brings its own public key (RFC 9449 §4.2): that the key may sign is for the caller to find out.
    pub fn parse_with_key(token: &'a str) -> Result<Self, TokenFault> {
        Self::parse_allowing(token, Some("jwk"))
    }

    fn parse_allowing(token: &'a str, allowed: Option<&str>) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenFault::Malformed);
        };
        let header = base64url::decode(header).ok_or(TokenFault::Malformed)?;
        let payload = base64url::decode(payload).ok_or(TokenFault::Malformed)?;
        let members = json::object_members(&header).ok_or(TokenFault::Malformed)?;
        if FORBIDDEN_HEADERS.iter().any(|name| allowed != Some(*name) && members.contains(*name)) {
            return Err(TokenFault::ForbiddenHeader);
        }
        let embedded_key = allowed.and_then(|name| {
            let mut header: serde_json::Value = serde_json::from_slice(&header).ok()?;
            header.get_mut(name).map(serde_json::Value::take)
        });
        json::object_members(&payload).ok_or(TokenFault::Malformed)?;
        let signing_input = token
            .strip_suffix(signature)
            .and_then(|rest| rest.strip_suffix('.'))
            .ok_or(TokenFault::Malformed)?;
        let token = UntrustedToken::new(token).map_err(|_| TokenFault::Malformed)?;
        Ok(Self { token, signing_input, payload, embedded_key })
    }

    /// The header's `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.token.header().key_id.as_deref()
    }

    /// The header's `alg`, as text: only to be compared with the key's.
    pub fn algorithm(&self) -> &str {
        self.token.algorithm()
    }

    /// The header's `typ`, folded to lower case and without `application/` (RFC 7515 §4.1.9).
    pub fn token_type(&self) -> Option<String> {
        let folded = self.token.header().token_type.as_ref()?.to_ascii_lowercase();
        Some(folded.strip_prefix("application/").map_or_else(|| folded.clone(), Into::into))
    }

    /// The key that the header brings, if [`Self::parse_with_key`] let it.
    pub fn embedded_key(&self) -> Option<&serde_json::Value> {
        self.embedded_key.as_ref()
    }

    /// What the signature covers.
    pub fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        self.token.signature_bytes()
    }

    /// Asks `key` about the signature. The key's algorithm must be the header's.
    pub fn check_signature(&self, key: &VerificationKey) -> Result<SignatureCheck, TokenFault> {
        if self.algorithm() != key.algorithm().name() {
            return Err(TokenFault::WrongAlgorithm);
        }
        Ok(key.check(self.signing_input.as_bytes(), self.signature()))
    }

    /// As [`Self::check_signature`], sooner where `key` is among those that verify often.
    pub fn check_signature_with(
        &self,
        key: &VerificationKey,
        prepared: &mut PreparedKeys,
    ) -> Result<SignatureCheck, TokenFault> {
        match key {
            VerificationKey::Ed25519(point) if self.algorithm() == key.algorithm().name() => {
                let valid = prepared.verify(point, self.signing_input.as_bytes(), self.signature());
                Ok(if valid { SignatureCheck::Valid } else { SignatureCheck::Invalid })
            }
            _ => self.check_signature(key),
        }
    }

    /// The claims, of whatever shape the caller expects. Only to be believed once the signature is.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, TokenFault> {
        serde_json::from_slice(&self.payload).map_err(|_| TokenFault::MissingClaim)
    }

    /// The claims of an access or service token.
    pub fn token_claims(&self) -> Result<Claims, TokenFault> {
        self.claims()
    }
}

/// Verifies one of our own statements: the type must be `token_type`, the signature must be `key`'s, there and then.
pub fn verify_own<T: DeserializeOwned>(
    token: &str,
    token_type: &str,
    key: &VerificationKey,
) -> Result<T, TokenFault> {
    let token = Unverified::parse(token)?;
    if token.token_type().as_deref() != Some(token_type) {
        return Err(TokenFault::WrongType);
    }
    match token.check_signature(key)? {
        SignatureCheck::Valid => token.claims(),
        SignatureCheck::Invalid | SignatureCheck::AskPlatform => Err(TokenFault::BadSignature),
    }
}

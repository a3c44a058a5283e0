//! Verification keys and their phases. It may not hold a private key.

use alloc::{string::String, vec::Vec};
use core::fmt;

use jwt_compact::{
    Algorithm as _, AlgorithmSignature as _,
    alg::{Ed25519, Hs256, Hs256Key, Hs256Signature},
};
use serde::{Deserialize, Serialize};

use crate::{base64url, time::UnixMillis};

/// Signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519; what we sign with.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256; verified by the platform.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256; verified by the platform.
    #[serde(rename = "RS256")]
    Rs256,
    /// HMAC with SHA-256; service tokens only.
    #[serde(rename = "HS256")]
    Hs256,
}

impl Algorithm {
    /// The `alg` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }
}

/// A public JSON Web Key (RFC 7517; RFC 8037 §2 for `OKP`). Symmetric keys have no form here, so none can be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum Jwk {
    /// Ed25519.
    #[serde(rename = "OKP")]
    Okp {
        /// `Ed25519`.
        crv: String,
        /// The public key.
        x: String,
    },
    /// P-256.
    #[serde(rename = "EC")]
    Ec {
        /// `P-256`.
        crv: String,
        /// The point's x.
        x: String,
        /// The point's y.
        y: String,
    },
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
}

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    /// RFC 9068 access tokens, `typ: at+jwt`.
    Access,
    /// Service tokens `{jti, project, service, iat, exp}`, `typ: service+jwt`.
    Service,
    /// What an edge tells an upstream about a request, `typ: gateway-assertion+jwt`: never a credential.
    UpstreamAssertion,
}

impl TokenType {
    /// The `typ` value.
    pub const fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Service => "service+jwt",
            Self::UpstreamAssertion => "gateway-assertion+jwt",
        }
    }

    /// The kind of credential that a folded `typ` names.
    pub fn from_typ(typ: &str) -> Option<Self> {
        [Self::Access, Self::Service].into_iter().find(|kind| kind.typ() == typ)
    }
}

/// Where a signing key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyPhase {
    /// Known to the edges, not yet signing.
    Published,
    /// Signing.
    Active,
    /// No longer signing; what it signed is still believed until `not_after`.
    Retiring,
}

/// A key as the policy carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyKey {
    /// `kid`.
    pub kid: String,
    /// The one algorithm this key verifies.
    pub alg: Algorithm,
    /// Where it stands.
    pub phase: KeyPhase,
    /// What it signs.
    pub signs: Vec<TokenType>,
    /// The second from which nothing it signed is believed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// The public key.
    pub jwk: Jwk,
}

impl PolicyKey {
    /// Whether what this key signed may be believed at `now`.
    pub fn is_believed(&self, now: UnixMillis) -> bool {
        self.not_after.is_none_or(|second| now.seconds() < second)
    }
}

/// What a key says of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureCheck {
    /// It is this key's.
    Valid,
    /// It is not.
    Invalid,
    /// Only the platform's cryptography can tell (`crypto.subtle`).
    AskPlatform,
}

/// A key ready to verify.
#[derive(Clone)]
pub enum VerificationKey {
    /// Verified here.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// Verified here, in constant time.
    Hs256(Hs256Key),
    /// Verified by the platform: ES256 and RS256.
    Platform(Algorithm, Jwk),
}

impl VerificationKey {
    /// Makes a key of a JWK; `None` when the JWK is not one of `algorithm`.
    pub fn from_jwk(algorithm: Algorithm, jwk: &Jwk) -> Option<Self> {
        match (algorithm, jwk) {
            (Algorithm::EdDsa, Jwk::Okp { crv, x }) if crv == "Ed25519" => {
                Self::ed25519(&base64url::decode_array(x)?)
            }
            (Algorithm::Es256, Jwk::Ec { crv, .. }) if crv == "P-256" => {
                Some(Self::Platform(algorithm, jwk.clone()))
            }
            (Algorithm::Rs256, Jwk::Rsa { .. }) => Some(Self::Platform(algorithm, jwk.clone())),
            _ => None,
        }
    }

    /// An Ed25519 key of its 32 bytes; `None` when they are no point, or one of small order.
    pub fn ed25519(bytes: &[u8; 32]) -> Option<Self> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).ok()?;
        (!key.is_weak()).then_some(Self::Ed25519(key))
    }

    /// A shared secret; `None` when it is shorter than its hash (RFC 7518 §3.2).
    pub fn hs256(secret: &[u8]) -> Option<Self> {
        (secret.len() >= 32).then(|| Self::Hs256(Hs256Key::new(secret)))
    }

    /// The one algorithm of this key.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Hs256(_) => Algorithm::Hs256,
            Self::Platform(algorithm, _) => *algorithm,
        }
    }

    /// Judges a signature over `message`.
    pub fn check(&self, message: &[u8], signature: &[u8]) -> SignatureCheck {
        let valid = match self {
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| Ed25519.verify_signature(&signature, key, message)),
            // The length is checked first: the library takes it for granted.
            Self::Hs256(key) => {
                signature.len() == 32
                    && Hs256Signature::try_from_slice(signature)
                        .is_ok_and(|signature| Hs256.verify_signature(&signature, key, message))
            }
            Self::Platform(..) => return SignatureCheck::AskPlatform,
        };
        if valid { SignatureCheck::Valid } else { SignatureCheck::Invalid }
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerificationKey({})", self.algorithm().name())
    }
}

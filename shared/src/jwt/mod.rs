//! JWS and JWT (RFC 7515, RFC 7519) with the rules of RFC 8725. It may not let a token choose how it is verified: the key
//! decides the algorithm, a key in the header is refused, and so is everything a second parser could read differently.

pub mod claims;
pub mod key;
mod parse;
mod prepared;
mod sign;
#[cfg(test)]
mod tests;

pub use claims::{Audience, Claims, Confirmation};
pub use key::{Algorithm, Jwk, KeyPhase, PolicyKey, SignatureCheck, TokenType, VerificationKey};
pub use parse::{MAX_TOKEN_BYTES, Unverified, verify_own};
pub use prepared::PreparedKeys;
pub use sign::SigningKey;

/// Why a token is refused; the first rule that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// Longer than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// Not three base64url parts of unambiguous JSON.
    Malformed,
    /// The header names a key, a certificate or an extension (`jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64`, `zip`).
    ForbiddenHeader,
    /// The header's `alg` is not the key's.
    WrongAlgorithm,
    /// The header's `typ` is not one that the key signs, or not the one expected here.
    WrongType,
    /// No key of that `kid` is in use.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// A claim that must be there is not, or has the wrong form.
    MissingClaim,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies in the future.
    NotYetValid,
    /// `iss` is not this issuer.
    WrongIssuer,
    /// `aud` does not name what was called.
    WrongAudience,
}

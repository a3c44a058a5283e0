//! Proof Key for Code Exchange (RFC 7636), S256 alone. It may not know `plain`: a request that names it, or names no
//! method (which means `plain`, §4.3), is refused.

use alloc::string::String;
use core::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::base64url;

/// The one method we know (RFC 7636 §4.2).
pub const S256: &str = "S256";

/// `code_challenge`: BASE64URL(SHA-256(ASCII(`code_verifier`))), 43 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeChallenge([u8; 32]);

impl CodeChallenge {
    /// Reads a `code_challenge`; `None` unless it is exactly the base64url of 32 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        base64url::decode_array(text).map(Self)
    }

    /// The challenge as it travels.
    pub fn to_text(&self) -> String {
        base64url::encode(&self.0)
    }

    /// Whether `verifier` hashes to this challenge, in constant time (RFC 7636 §4.6).
    pub fn is_met_by(&self, verifier: &CodeVerifier<'_>) -> bool {
        self.0.ct_eq(&verifier.challenge().0).into()
    }
}

/// `code_verifier`: 43 to 128 unreserved characters (RFC 7636 §4.1). A secret: it has no `Debug` of its text.
#[derive(Clone, Copy)]
pub struct CodeVerifier<'a>(&'a str);

impl<'a> CodeVerifier<'a> {
    /// Reads a `code_verifier`; `None` when its length or alphabet is not §4.1's.
    pub fn parse(text: &'a str) -> Option<Self> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        ((43..=128).contains(&text.len()) && text.bytes().all(unreserved)).then_some(Self(text))
    }

    /// The S256 challenge of this verifier.
    pub fn challenge(&self) -> CodeChallenge {
        CodeChallenge(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for CodeVerifier<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CodeVerifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_7636_appendix_b() {
        let verifier = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert_eq!(verifier.challenge(), challenge);
        assert!(challenge.is_met_by(&verifier));
        assert_eq!(challenge.to_text(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn length_and_alphabet_are_checked() {
        assert!(CodeVerifier::parse(&"a".repeat(42)).is_none());
        assert!(CodeVerifier::parse(&"a".repeat(43)).is_some());
        assert!(CodeVerifier::parse(&"a".repeat(128)).is_some());
        assert!(CodeVerifier::parse(&"a".repeat(129)).is_none());
        for stray in ['+', '/', '=', ' ', 'é', '\0'] {
            assert!(CodeVerifier::parse(&("a".repeat(43) + &stray.to_string())).is_none(), "{stray:?}");
        }
        assert!(CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=").is_none());
        assert!(CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c").is_none());
    }

    proptest! {
        #[test]
        fn only_the_same_verifier_meets_the_challenge(left in "[A-Za-z0-9._~-]{43,128}", right in "[A-Za-z0-9._~-]{43,128}") {
            let challenge = CodeVerifier::parse(&left).unwrap().challenge();
            prop_assert_eq!(challenge.is_met_by(&CodeVerifier::parse(&right).unwrap()), left == right);
        }
    }
}

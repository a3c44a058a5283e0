//! What a scrape of the metrics must present. It may not be compared in a time that tells how much of a guess was right.

use core::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The bearer token of `/metrics`; only its hash is kept.
#[derive(Clone)]
pub struct MetricsToken([u8; 32]);

impl MetricsToken {
    /// The token that `text` spells.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether this `Authorization` presents the token (RFC 6750 §2.1).
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        let presented = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Self::new(token.trim_matches(' ')));
        presented.is_some_and(|presented| bool::from(presented.0.ct_eq(&self.0)))
    }
}

impl fmt::Debug for MetricsToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MetricsToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_is_admitted() {
        let token = MetricsToken::new("scrape-me");
        assert!(token.admits(Some("Bearer scrape-me")) && token.admits(Some("bearer  scrape-me")));
        for other in [
            None,
            Some(""),
            Some("scrape-me"),
            Some("Basic scrape-me"),
            Some("Bearer scrape-m"),
            Some("Bearer"),
        ] {
            assert!(!token.admits(other), "{other:?}");
        }
    }
}

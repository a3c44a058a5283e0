//! The form of refresh tokens: `gw_rt_<grant>_<generation>_<secret><checksum>`. It may not say whether one is valid: only the
//! origin knows; the form lets the edge refuse what was never issued without a look-up.

use alloc::{format, string::String};
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::base64url;

/// What secret scanners look for.
pub const PREFIX: &str = "gw_rt_";

/// A refresh token taken apart. A secret: no `Debug` of its text.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// The grant (family) it belongs to: a UUID's bytes.
    pub grant_id: [u8; 16],
    /// Counts the rotations of a family: one more for each.
    pub generation: u32,
    secret: [u8; 32],
}

impl RefreshToken {
    /// Issues a token. `secret` must be fresh randomness.
    pub const fn issue(grant_id: [u8; 16], generation: u32, secret: [u8; 32]) -> Self {
        Self { grant_id, generation, secret }
    }

    /// Reads a token; `None` when it is not of this form or its checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, checksum) = text.split_at_checked(text.len().checked_sub(6)?)?;
        let mut parts = body.strip_prefix(PREFIX)?.splitn(3, '.');
        let (grant_id, generation, secret) = (parts.next()?, parts.next()?, parts.next()?);
        let token = Self {
            grant_id: base64url::decode_array(grant_id)?,
            generation: generation.parse().ok()?,
            secret: base64url::decode_array(secret)?,
        };
        (checksum == checksum_of(body) && token.to_text() == text).then_some(token)
    }

    /// The token as it travels.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{PREFIX}{}.{}.{}",
            base64url::encode(&self.grant_id),
            self.generation,
            base64url::encode(&self.secret)
        );
        let checksum = checksum_of(&text);
        text.push_str(&checksum);
        text
    }

    /// The secret, for the origin to recognise its own making. Never stored, never shown.
    pub const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// What the origin stores of it: SHA-256 of the secret.
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RefreshToken(…)")
    }
}

/// Six characters of the hash: enough to tell a typing slip or a truncation, no secret.
fn checksum_of(body: &str) -> String {
    let hash = Sha256::digest(body.as_bytes());
    base64url::encode(&hash).chars().take(6).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips_and_every_truncation_is_refused(grant in any::<[u8; 16]>(), generation in any::<u32>(), secret in any::<[u8; 32]>()) {
            let token = RefreshToken::issue(grant, generation, secret);
            let text = token.to_text();
            prop_assert_eq!(RefreshToken::parse(&text), Some(token));
            for length in 0..text.len() {
                prop_assert!(RefreshToken::parse(&text[..length]).is_none());
            }
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = RefreshToken::parse(&text);
        }
    }
}

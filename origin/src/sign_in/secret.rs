//! The secrets of signing in: the one-time code, the binding to the browser that asked, and the token of a link. None has a `Debug`,
//! and only hashes of them are stored.

use axum::http::{HeaderMap, HeaderValue};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use shared::base64url;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::Randomness;
use crate::configuration::KeyBytes;
use crate::sessions::{cookie, only_cookie};

/// Digits of a one-time code: with five tries a challenge and ten guesses an hour, one in ten million an hour.
pub const CODE_DIGITS: usize = 8;

/// The key under which codes are hashed: ten million candidates would not hide a plain hash from who reads the table.
#[derive(Clone)]
pub struct CodeHashKey(Zeroizing<[u8; 32]>);

impl CodeHashKey {
    /// Derives the key from the one that seals keys at rest.
    pub fn derive(key_encryption_key: &KeyBytes) -> Self {
        Self(Zeroizing::new(keyed(key_encryption_key.expose(), &[b"gateward one-time code"])))
    }
}

/// A one-time code.
pub(super) struct OneTimeCode(Zeroizing<String>);

impl OneTimeCode {
    /// A new code, every one equally likely.
    pub(super) fn generate(randomness: &Randomness) -> Self {
        // 128 random bits: what the remainder favours is less than one in 10^30.
        let number = u128::from_be_bytes(randomness.bytes()) % 10_u128.pow(8);
        Self(Zeroizing::new(format!("{number:08}")))
    }

    /// Reads what a person typed: digits, with any spaces or hyphens between them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let digits: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|char| !char.is_whitespace() && *char != '-').collect());
        let fits = digits.len() == CODE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then_some(Self(digits))
    }

    /// The digits, for the mail and nothing else.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored: worth nothing without the key, nor for another challenge.
    pub(super) fn hash(&self, key: &CodeHashKey, challenge_id: Uuid) -> [u8; 32] {
        keyed(&key.0, &[challenge_id.as_bytes(), self.0.as_bytes()])
    }
}

fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length; there is no error to have.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What a browser holds of a challenge: its id, and a secret that no other browser has.
pub(super) struct BrowserBinding {
    /// The challenge.
    pub(super) challenge_id: Uuid,
    secret: Zeroizing<[u8; 32]>,
}

impl BrowserBinding {
    const COOKIE: &str = "__Host-gateward_challenge";

    /// Binds a new challenge.
    pub(super) fn generate(challenge_id: Uuid, randomness: &Randomness) -> Self {
        Self { challenge_id, secret: Zeroizing::new(randomness.bytes()) }
    }

    /// The binding of the request's cookie.
    pub(super) fn from_cookies(headers: &HeaderMap) -> Option<Self> {
        let (id, secret) = only_cookie(headers, Self::COOKIE)?.split_once('.')?;
        let challenge_id = Uuid::from_bytes(base64url::decode_array(id)?);
        Some(Self { challenge_id, secret: Zeroizing::new(base64url::decode_array(secret)?) })
    }

    /// What is stored.
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.secret[..]).into()
    }

    /// `Set-Cookie`, for as long as the challenge is good and a little longer, so that its end can be said.
    pub(super) fn set_cookie(&self, lifetime: std::time::Duration) -> HeaderValue {
        let (id, secret) =
            (base64url::encode(self.challenge_id.as_bytes()), base64url::encode(&self.secret[..]));
        let value = Zeroizing::new(format!("{id}.{secret}"));
        cookie(Self::COOKIE, &value, lifetime.as_secs().saturating_add(3_600))
    }

    /// `Set-Cookie` that makes the browser forget it.
    pub(super) fn clear_cookie() -> HeaderValue {
        cookie(Self::COOKIE, "", 0)
    }
}

/// The token of a one-time link: the challenge's id and a secret, with a prefix that a scanner can find.
pub(super) struct LinkToken {
    /// The challenge.
    pub(super) challenge_id: Uuid,
    secret: Zeroizing<[u8; 32]>,
}

impl LinkToken {
    const PREFIX: &str = "gw_link_";

    /// A token for a new challenge.
    pub(super) fn generate(challenge_id: Uuid, randomness: &Randomness) -> Self {
        Self { challenge_id, secret: Zeroizing::new(randomness.bytes()) }
    }

    /// Reads a token.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes: Zeroizing<[u8; 48]> =
            Zeroizing::new(base64url::decode_array(text.strip_prefix(Self::PREFIX)?)?);
        let (id, secret) = bytes.split_at_checked(16)?;
        Some(Self {
            challenge_id: Uuid::from_slice(id).ok()?,
            secret: Zeroizing::new(secret.try_into().ok()?),
        })
    }

    /// The token as it stands in the link.
    pub(super) fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(48));
        bytes.extend_from_slice(self.challenge_id.as_bytes());
        bytes.extend_from_slice(&self.secret[..]);
        Zeroizing::new(format!("{}{}", Self::PREFIX, base64url::encode(&bytes)))
    }

    /// What is stored.
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.secret[..]).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_eight_digits_however_it_is_typed() {
        let code = OneTimeCode::generate(&Randomness::seeded(1));
        assert_eq!(code.expose().len(), CODE_DIGITS);
        for text in ["01234567", " 0123 4567\n", "0123-4567", "0123\u{a0}4567"] {
            assert_eq!(OneTimeCode::parse(text).unwrap().expose(), "01234567", "{text:?}");
        }
        for text in ["", "0123456", "012345678", "0123456a", "\u{0660}1234567", &"0".repeat(100)] {
            assert!(OneTimeCode::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_hash_is_of_one_code_for_one_challenge_under_one_key() {
        let key = |byte| CodeHashKey::derive(&KeyBytes::new([byte; 32]));
        let code = |text| OneTimeCode::parse(text).unwrap();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let hash = code("01234567").hash(&key(1), one);
        assert_eq!(hash, code("0123 4567").hash(&key(1), one));
        assert_ne!(hash, code("01234568").hash(&key(1), one));
        assert_ne!(hash, code("01234567").hash(&key(1), other));
        assert_ne!(hash, code("01234567").hash(&key(2), one));
    }

    #[test]
    fn a_link_token_is_read_whole_or_not_at_all() {
        let token = LinkToken::generate(Uuid::from_u128(7), &Randomness::seeded(3));
        let text = token.expose();
        let read = LinkToken::parse(&text).unwrap();
        assert_eq!((read.challenge_id, read.hash()), (token.challenge_id, token.hash()));
        for length in 0..text.len() {
            assert!(LinkToken::parse(text.get(..length).unwrap()).is_none());
        }
    }
}

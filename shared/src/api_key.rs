//! The form of API keys: `gw_<env>_<id>_<secret><checksum>`. It may not say whether one is valid: only the origin knows; the form
//! lets the edge refuse a truncated or mistyped one without a look-up, and lets a secret scanner find one that leaked.
//!
//! All parts but `gw` and the environment are base62 and of a fixed length. The checksum is the CRC-32 of everything before it
//! (ISO/IEC 13239), so that every single wrong character is caught, not only nearly every one. It is no secret and keeps none.

use alloc::{format, string::String};

use sha2::{Digest as _, Sha256};

use crate::base64url;

/// What every API key begins with, whatever its environment.
pub const PREFIX: &str = "gw_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 128 bits.
const ID_LENGTH: usize = 22;
/// 256 bits.
const SECRET_LENGTH: usize = 43;
/// 32 bits.
const CHECKSUM_LENGTH: usize = 6;

/// Where a key is meant to be used. A mark for people and scanners: what a key may do is the origin's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// In production.
    Live,
    /// Elsewhere.
    Test,
}

impl Environment {
    /// The part of the key that says so.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The environment of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|environment| environment.name() == name)
    }
}

/// A well-formed API key, without its secret: its public parts, and the hash that the origin knows it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    environment: Environment,
    id: [u8; 16],
    sha256: [u8; 32],
}

impl ApiKey {
    /// Reads a key; `None` when it is not of this form or its checksum is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, checksum) = text.split_at_checked(text.len().checked_sub(CHECKSUM_LENGTH)?)?;
        let (environment, rest) = body.strip_prefix(PREFIX)?.split_once('_')?;
        let (id, secret) = rest.split_once('_')?;
        let key = Self {
            environment: Environment::of_name(environment)?,
            id: read_id(id)?,
            sha256: Sha256::digest(text.as_bytes()).into(),
        };
        let is_secret =
            secret.len() == SECRET_LENGTH && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_secret && checksum == checksum_of(body)).then_some(key)
    }

    /// Where it is meant to be used.
    pub const fn environment(&self) -> Environment {
        self.environment
    }

    /// Its id: a UUID's bytes. No secret.
    pub const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// What the origin stores of it: SHA-256 of the whole text.
    pub const fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// [`Self::sha256`] in base64url: what the origin is asked by.
    pub fn sha256_base64url(&self) -> String {
        base64url::encode(&self.sha256)
    }
}

/// The text of a new key: 80 characters. `secret` must be fresh randomness; the text is as secret as it.
pub fn issue(environment: Environment, id: [u8; 16], secret: [u8; 32]) -> String {
    let mut text = format!("{}{}", display_prefix(environment, id), base62::<SECRET_LENGTH>(&secret));
    let checksum = checksum_of(&text);
    text.push_str(&checksum);
    text
}

/// The part of a key that may be shown and logged: `gw_<env>_<id>_`.
pub fn display_prefix(environment: Environment, id: [u8; 16]) -> String {
    format!("{PREFIX}{}_{}_", environment.name(), base62::<ID_LENGTH>(&id))
}

/// The digits of a big-endian number in base 62, padded to `LENGTH` characters.
fn base62<const LENGTH: usize>(bytes: &[u8]) -> String {
    let mut number: alloc::vec::Vec<u8> = bytes.into();
    let mut digits = [0u8; LENGTH];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u16;
        for byte in &mut number {
            let value = remainder << 8 | u16::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or_default();
            remainder = value % 62;
        }
        *digit = ALPHABET.get(usize::from(remainder)).copied().unwrap_or_default();
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// The id of exactly [`ID_LENGTH`] digits; `None` also when they are no number of 128 bits.
fn read_id(text: &str) -> Option<[u8; 16]> {
    let mut number = 0u128;
    for byte in text.bytes() {
        let digit = ALPHABET.iter().position(|letter| *letter == byte)?;
        number = number.checked_mul(62)?.checked_add(u128::try_from(digit).ok()?)?;
    }
    (text.len() == ID_LENGTH).then(|| number.to_be_bytes())
}

fn checksum_of(body: &str) -> String {
    base62::<CHECKSUM_LENGTH>(&crc32(body.as_bytes()).to_be_bytes())
}

/// CRC-32 with the reflected polynomial 0xEDB88320: detects every error burst of up to 32 bits.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_fixed() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let text = issue(Environment::Live, [0; 16], [0; 32]);
        assert_eq!(text.len(), 80);
        assert!(text.starts_with("gw_live_0000000000000000000000_0000"), "{text}");
        let text = issue(Environment::Test, [0xff; 16], [0xff; 32]);
        assert_eq!(text.len(), 80);
        let key = ApiKey::parse(&text).unwrap();
        assert_eq!((key.environment(), key.id()), (Environment::Test, [0xff; 16]));
        assert_eq!(key.sha256_base64url(), base64url::encode(&Sha256::digest(text.as_bytes())));
        assert!(text.starts_with(&display_prefix(Environment::Test, [0xff; 16])));
    }

    /// A text with a right checksum, whatever its body.
    fn with_checksum(body: &str) -> String {
        format!("{body}{}", checksum_of(body))
    }

    #[test]
    fn a_right_checksum_does_not_excuse_a_wrong_form() {
        let (id, secret) = (base62::<22>(&[7; 16]), base62::<43>(&[9; 32]));
        assert!(ApiKey::parse(&with_checksum(&format!("gw_live_{id}_{secret}"))).is_some());
        for body in [
            format!("gw_prod_{id}_{secret}"),
            format!("gw_LIVE_{id}_{secret}"),
            format!("gw__{id}_{secret}"),
            format!("gx_live_{id}_{secret}"),
            format!("gw_live_{id}{secret}"),
            format!("gw_live__{id}_{secret}"),
            format!("gw_live_{id}_{secret}0"),
            format!("gw_live_{id}_{}", &secret[1..]),
            format!("gw_live_{}_{secret}", &id[1..]),
            format!("gw_live_0{id}_{secret}"),
            // More than 128 bits.
            format!("gw_live_{}_{secret}", "z".repeat(22)),
            format!("gw_live_{id}_{}-", &secret[1..]),
            format!("gw_live_{id}_{}_", &secret[1..]),
            format!("gw_live_{id}_{}é", &secret[2..]),
            format!(" gw_live_{id}_{secret}"),
            String::new(),
        ] {
            assert_eq!(ApiKey::parse(&with_checksum(&body)), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(id in any::<[u8; 16]>(), secret in any::<[u8; 32]>(), live in any::<bool>()) {
            let environment = if live { Environment::Live } else { Environment::Test };
            let key = ApiKey::parse(&issue(environment, id, secret)).unwrap();
            prop_assert_eq!((key.environment(), key.id()), (environment, id));
        }

    }

    proptest! {
        // Each tries 10,000.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn attack_11_every_truncation_and_every_other_character_is_refused(id in any::<[u8; 16]>(), secret in any::<[u8; 32]>()) {
            let text = issue(Environment::Live, id, secret);
            for length in 0..text.len() {
                prop_assert!(ApiKey::parse(&text[..length]).is_none());
                prop_assert!(ApiKey::parse(&text[length + 1..]).is_none());
                for other in 0u8..128 {
                    let mut bytes = text.clone().into_bytes();
                    if bytes[length] != other {
                        bytes[length] = other;
                        prop_assert!(ApiKey::parse(core::str::from_utf8(&bytes).unwrap()).is_none());
                    }
                }
            }
        }

    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = ApiKey::parse(&text);
        }
    }
}

//! What opens a NATS server: a user and password, a token, or a credentials file with a JWT and the seed that signs the server's
//! nonce (NATS decentralised authentication). None of it can be printed.

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// One of the ways in.
pub enum Credentials {
    /// The server asks for none.
    None,
    /// User and password.
    User {
        /// The user.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A token.
    Token(Zeroizing<String>),
    /// A JWT, and the key it was given to.
    File {
        /// The JWT. It alone opens nothing.
        jwt: String,
        /// Signs the nonce.
        key: Box<SigningKey>,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Reads a credentials file, as `nsc` and `nats` write it, or says why it is none. Never repeats what is in it.
    pub fn parse_file(text: &str) -> Result<Self, &'static str> {
        let jwt = section(text, "NATS USER JWT").ok_or("holds no NATS USER JWT")?;
        let seed = section(text, "USER NKEY SEED").ok_or("holds no USER NKEY SEED")?;
        let key = user_key(seed).ok_or("holds a seed that is not one of a user")?;
        Ok(Self::File { jwt: jwt.to_owned(), key: Box::new(key) })
    }

    /// Whether a text repeats one of the secrets.
    pub(super) fn stands_in(&self, text: &str) -> bool {
        match self {
            Self::None => false,
            Self::User { password: secret, .. } | Self::Token(secret) => {
                !secret.is_empty() && text.contains(secret.as_str())
            }
            // The seed never leaves; the JWT opens nothing without it, but is nobody's business.
            Self::File { jwt, .. } => text.contains(jwt),
        }
    }

    /// The members of CONNECT that open the server.
    pub(super) fn members(&self, nonce: Option<&str>) -> Map<String, Value> {
        let mut members = Map::new();
        let mut set = |name: &str, value: &str| members.insert(name.to_owned(), value.into());
        match self {
            Self::None => {}
            Self::User { user, password } => {
                set("user", user);
                set("pass", password);
            }
            Self::Token(token) => drop(set("auth_token", token)),
            Self::File { jwt, key } => {
                set("jwt", jwt);
                let signature = key.sign(nonce.unwrap_or_default().as_bytes());
                set("sig", &Base64UrlUnpadded::encode_string(&signature.to_bytes()));
            }
        }
        members
    }
}

/// The line between `-----BEGIN {name}-----` and the next `------END`.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {name}-");
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.contains(&begin));
    lines.next()?;
    lines.find(|line| !line.is_empty()).filter(|line| !line.starts_with('-'))
}

/// The key of a user's seed: base32 of two bytes that say so, 32 of the seed and a CRC-16 (the nkeys format).
fn user_key(text: &str) -> Option<SigningKey> {
    const SEED: u8 = 18 << 3;
    const USER: u8 = 20 << 3;
    let bytes = base32(text)?;
    let (raw, checksum) = bytes.split_last_chunk::<2>()?;
    let [first, second, seed @ ..] = raw else { return None };
    let is_seed = first & 0xf8 == SEED;
    let is_user = ((first & 7) << 5) | ((second & 0xf8) >> 3) == USER;
    let seed: Zeroizing<[u8; 32]> = Zeroizing::new(seed.try_into().ok()?);
    (is_seed && is_user && crc16(raw) == u16::from_le_bytes(*checksum)).then(|| SigningKey::from_bytes(&seed))
}

/// RFC 4648, 6, without padding.
fn base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut held) = (0_u32, 0_u32);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'2'..=b'7' => character - b'2' + 26,
            _ => return None,
        };
        bits = (bits << 5) | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// RFC 4648, 6, without padding.
    pub(in super::super) fn base32(bytes: &[u8]) -> String {
        let digit = |value: u32| {
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::try_from(value & 31).unwrap()])
        };
        let (mut text, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
        for byte in bytes {
            bits = (bits << 8) | u32::from(*byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                text.push(digit(bits >> held));
            }
        }
        if held > 0 {
            text.push(digit(bits << (5 - held)));
        }
        text
    }

    pub(in super::super) fn with_checksum(raw: &mut Vec<u8>) {
        let checksum = crc16(raw);
        raw.extend(checksum.to_le_bytes());
    }

    /// A seed in the nkeys format.
    pub(in super::super) fn seed_text(seed: &[u8; 32], kind: u8) -> String {
        let mut raw = vec![(18 << 3) | (kind >> 5), (kind & 31) << 3];
        raw.extend_from_slice(seed);
        with_checksum(&mut raw);
        super::tests::base32(&raw)
    }

    #[test]
    fn a_users_seed_is_read_and_nothing_else() {
        // Made here, in that project's format; that a real server takes what it signs is shown beside the destination.
        let text = seed_text(&[7; 32], 20 << 3);
        assert!(text.starts_with("SU"), "{text}");
        assert_eq!(user_key(&text).unwrap().to_bytes(), [7; 32]);
        // Another kind, another byte, something missing.
        assert!(user_key(&seed_text(&[7; 32], 0)).is_none());
        let other = if text.ends_with('A') { "Q" } else { "A" };
        let mut shorter = text.clone();
        shorter.pop();
        assert!(user_key(&format!("{shorter}{other}")).is_none());
        assert!(user_key(&shorter).is_none());
        assert!(user_key("").is_none() && user_key("su").is_none());
    }

    #[test]
    fn a_credentials_file_signs_the_nonce() {
        let seed = seed_text(&[7; 32], 20 << 3);
        let file = format!(
            "-----BEGIN NATS USER JWT-----\nheader.claims.signature\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let credentials = Credentials::parse_file(&file).unwrap();
        let members = credentials.members(Some("nonce"));
        assert_eq!(members["jwt"], "header.claims.signature");
        let signature = Base64UrlUnpadded::decode_vec(members["sig"].as_str().unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
        assert!(key.verify_strict(b"nonce", &signature).is_ok());
        assert_eq!(format!("{credentials:?}"), "Credentials(…)");
        for broken in
            ["", "hello", &file.replace("BEGIN USER", "BEGIN OTHER"), &file.replace(&seed, "SUHUNTER2")]
        {
            let why = Credentials::parse_file(broken).unwrap_err();
            assert!(why.starts_with("holds") && !why.contains("HUNTER2"), "{why}");
        }
    }
}

//! Signatures of Standard Webhooks 1.0.0: over `id.timestamp.body`, HMAC-SHA256 with a `whsec_` secret (`v1`) and Ed25519 with a
//! `whsk_` key (`v1a`). With several secrets there are as many signatures, so that a receiver can change over.

use base64ct::{Base64, Base64Unpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// As many secrets as one destination signs with.
pub(super) const MOST: usize = 4;

/// What signs. Cannot be printed.
pub enum Secret {
    /// `whsec_`: known to both sides.
    Symmetric(Zeroizing<Vec<u8>>),
    /// `whsk_`: known to us; receivers hold the `whpk_` of it.
    Ed25519(Box<SigningKey>),
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Symmetric(_) => "Secret::Symmetric(…)",
            Self::Ed25519(_) => "Secret::Ed25519(…)",
        })
    }
}

impl Secret {
    /// Reads one, or says why it is none. Never repeats it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(encoded) = text.strip_prefix("whsec_") {
            let bytes = decode(encoded).ok_or("has a whsec_ secret that is not base64")?;
            if !(24..=64).contains(&bytes.len()) {
                return Err("has a whsec_ secret that is not of 24 to 64 bytes");
            }
            return Ok(Self::Symmetric(bytes));
        }
        let Some(encoded) = text.strip_prefix("whsk_") else {
            return Err("has an entry that starts with neither whsec_ nor whsk_");
        };
        let bytes = decode(encoded).ok_or("has a whsk_ key that is not base64")?;
        let key = match (bytes.first_chunk::<32>(), bytes.get(32..)) {
            (Some(seed), Some(public)) => {
                let key = SigningKey::from_bytes(seed);
                // The key alone, or followed by its public half.
                let fits = public.is_empty() || public == key.verifying_key().as_bytes();
                fits.then_some(key)
            }
            _ => None,
        };
        key.map(|key| Self::Ed25519(Box::new(key)))
            .ok_or("has a whsk_ key that is neither 32 bytes nor 64 with their public half")
    }

    /// What a receiver needs to verify: the public half of a `whsk_` key. Of a `whsec_` secret there is none.
    pub fn public(&self) -> Option<String> {
        match self {
            Self::Symmetric(_) => None,
            Self::Ed25519(key) => {
                Some(format!("whpk_{}", Base64::encode_string(key.verifying_key().as_bytes())))
            }
        }
    }

    fn sign(&self, content: &[u8]) -> String {
        match self {
            Self::Symmetric(secret) => {
                // HMAC takes a key of any length: the error of the type cannot happen, and an empty signature fits nothing.
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return "v1,".to_owned() };
                mac.update(content);
                format!("v1,{}", Base64::encode_string(&mac.finalize().into_bytes()))
            }
            Self::Ed25519(key) => format!("v1a,{}", Base64::encode_string(&key.sign(content).to_bytes())),
        }
    }
}

/// The value of `webhook-signature`: one signature of each secret.
pub(super) fn signatures(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let mut content = format!("{id}.{timestamp}.").into_bytes();
    content.extend_from_slice(body);
    secrets.iter().map(|secret| secret.sign(&content)).collect::<Vec<_>>().join(" ")
}

fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    Base64Unpadded::decode_vec(text.trim_end_matches('=')).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signature;

    use super::*;

    #[test]
    fn the_symmetric_signature_is_the_one_of_the_reference_libraries() {
        // The vector that every reference library of Standard Webhooks tests itself with.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_and_the_first_one_first() {
        let seed = [7_u8; 32];
        let key = SigningKey::from_bytes(&seed);
        let mut pair = seed.to_vec();
        pair.extend(key.verifying_key().as_bytes());
        for encoded in [Base64::encode_string(&seed), Base64::encode_string(&pair)] {
            let asymmetric = Secret::parse(&format!("whsk_{encoded}")).unwrap();
            let public = asymmetric.public().unwrap();
            assert_eq!(public, format!("whpk_{}", Base64::encode_string(key.verifying_key().as_bytes())));
            let symmetric = Secret::parse(&format!("whsec_{}", Base64::encode_string(&[1; 24]))).unwrap();
            let signed = signatures(&[asymmetric, symmetric], "id", 1, b"body");
            let (first, second) = signed.split_once(' ').unwrap();
            let signature = Base64::decode_vec(first.strip_prefix("v1a,").unwrap()).unwrap();
            let signature = Signature::from_slice(&signature).unwrap();
            assert!(key.verifying_key().verify_strict(b"id.1.body", &signature).is_ok());
            assert!(second.starts_with("v1,"));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_and_never_repeated() {
        let of = |prefix: &str, bytes: usize| format!("{prefix}{}", Base64::encode_string(&vec![9; bytes]));
        for text in [
            String::new(),
            "hunter2".to_owned(),
            "whsec_hunter2".to_owned(),
            of("whsec_", 23),
            of("whsec_", 65),
            of("whsk_", 31),
            of("whsk_", 64),
            of("whpk_", 32),
            "whsk_****".to_owned(),
        ] {
            let why = Secret::parse(&text).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(Secret::parse(&of("whsec_", 24)).is_ok() && Secret::parse(&of("whsec_", 64)).is_ok());
        let printed = format!("{:?}", Secret::parse(&of("whsec_", 24)).unwrap());
        assert_eq!(printed, "Secret::Symmetric(…)");
    }
}

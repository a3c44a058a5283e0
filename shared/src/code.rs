//! Authorization codes bound to their PKCE challenge: `id.mac`. It may not replace the atomic consumption at the origin:
//! it only lets both doors refuse a wrong verifier, client or redirect URI without a look-up.
//!
//! The id is 16 random bytes and the second of expiry; the MAC is HMAC-SHA-256 over a length-framed list of the id, the
//! client, the redirect URI and the challenge. Whoever holds a code and a verifier can be checked by whoever holds the key.

use alloc::{format, string::String};
use core::fmt;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{base64url, pkce::CodeChallenge, time::UnixMillis};

/// Separates this MAC from every other use of the same key.
const CONTEXT: &[u8] = b"gateward authorization code v1";

/// The key that both doors hold. A secret: no `Debug` of its bytes.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct CodeKey([u8; 32]);

impl CodeKey {
    /// A key of 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CodeKey(…)")
    }
}

/// A code as it travels, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorizationCode {
    id: [u8; 24],
    mac: [u8; 32],
}

/// Why a code is refused without asking the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFault {
    /// Its second of expiry has passed.
    Expired,
    /// It was not issued for this client, redirect URI and challenge.
    Mismatch,
}

impl AuthorizationCode {
    /// Issues a code. `random` must be fresh; `expires_at` is the second from which the code is refused.
    pub fn issue(
        key: &CodeKey,
        random: [u8; 16],
        expires_at: u64,
        client_id: &str,
        redirect_uri: &str,
        challenge: &CodeChallenge,
    ) -> Self {
        let mut id = [0; 24];
        for (slot, byte) in id.iter_mut().zip(random.iter().copied().chain(expires_at.to_be_bytes())) {
            *slot = byte;
        }
        let mac = mac(key, &id, client_id, redirect_uri, challenge).finalize().into_bytes().into();
        Self { id, mac }
    }

    /// Reads a code; `None` when it is not of this form.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, mac) = text.split_once('.')?;
        Some(Self { id: base64url::decode_array(id)?, mac: base64url::decode_array(mac)? })
    }

    /// The code as it travels: 76 characters.
    pub fn to_text(&self) -> String {
        format!("{}.{}", base64url::encode(&self.id), base64url::encode(&self.mac))
    }

    /// The second from which the code is refused.
    pub fn expires_at(&self) -> u64 {
        let mut seconds = [0; 8];
        for (slot, byte) in seconds.iter_mut().zip(self.id.iter().skip(16)) {
            *slot = *byte;
        }
        u64::from_be_bytes(seconds)
    }

    /// What the origin stores of it: SHA-256 of the id. The MAC need not be stored, it can be computed.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.id).into()
    }

    /// Whether this code was issued for these three and has not expired; the MAC is compared in constant time.
    pub fn check(
        &self,
        key: &CodeKey,
        client_id: &str,
        redirect_uri: &str,
        challenge: &CodeChallenge,
        now: UnixMillis,
    ) -> Result<(), CodeFault> {
        mac(key, &self.id, client_id, redirect_uri, challenge)
            .verify_slice(&self.mac)
            .map_err(|_| CodeFault::Mismatch)?;
        if now.seconds() >= self.expires_at() { Err(CodeFault::Expired) } else { Ok(()) }
    }
}

impl fmt::Debug for AuthorizationCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AuthorizationCode(…)")
    }
}

fn mac(
    key: &CodeKey,
    id: &[u8],
    client_id: &str,
    redirect_uri: &str,
    challenge: &CodeChallenge,
) -> Hmac<Sha256> {
    // A key of one block: `Hmac` cannot fail on it.
    let mut block = [0u8; 64];
    for (slot, byte) in block.iter_mut().zip(key.0) {
        *slot = byte;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    let challenge = challenge.to_text();
    for part in [CONTEXT, id, client_id.as_bytes(), redirect_uri.as_bytes(), challenge.as_bytes()] {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pkce::CodeVerifier;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const NOW: UnixMillis = UnixMillis(1_000_000);

    fn challenge(verifier: &str) -> CodeChallenge {
        CodeVerifier::parse(verifier).unwrap().challenge()
    }

    fn code() -> (CodeKey, AuthorizationCode) {
        let key = CodeKey::new([7; 32]);
        let code = AuthorizationCode::issue(
            &key,
            [1; 16],
            1_060,
            "app",
            "https://app.test/cb",
            &challenge(VERIFIER),
        );
        (key, code)
    }

    #[test]
    fn holds_for_what_it_was_issued_for_and_nothing_else() {
        let (key, code) = code();
        let code = AuthorizationCode::parse(&code.to_text()).unwrap();
        let (uri, right) = ("https://app.test/cb", challenge(VERIFIER));
        let wrong = challenge(&"a".repeat(43));
        assert_eq!(code.to_text().len(), 76);
        assert_eq!(code.check(&key, "app", uri, &right, NOW), Ok(()));
        assert_eq!(code.check(&key, "app", uri, &wrong, NOW), Err(CodeFault::Mismatch));
        assert_eq!(code.check(&key, "other", uri, &right, NOW), Err(CodeFault::Mismatch));
        assert_eq!(code.check(&key, "app", "https://app.test/cb2", &right, NOW), Err(CodeFault::Mismatch));
        assert_eq!(code.check(&key, "apph", "ttps://app.test/cb", &right, NOW), Err(CodeFault::Mismatch));
        assert_eq!(code.check(&CodeKey::new([8; 32]), "app", uri, &right, NOW), Err(CodeFault::Mismatch));
        assert_eq!(code.check(&key, "app", uri, &right, UnixMillis(1_060_000)), Err(CodeFault::Expired));
        assert_eq!(code.check(&key, "app", uri, &right, UnixMillis(1_059_999)), Ok(()));
    }

    #[test]
    fn every_bit_counts() {
        let (key, code) = code();
        let text = code.to_text();
        for index in 0..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                let flipped = std::string::String::from_utf8(bytes).unwrap();
                let accepted = AuthorizationCode::parse(&flipped).is_some_and(|code| {
                    code.check(&key, "app", "https://app.test/cb", &challenge(VERIFIER), NOW).is_ok()
                });
                assert!(!accepted, "{flipped}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = AuthorizationCode::parse(&text);
        }
    }
}

//! The secrets of refresh tokens. Half of one is random, half is a MAC of grant, generation and that random half: so the origin can
//! tell that a token of any earlier generation was once issued, without keeping a row for each. It may not replace the stored hash:
//! whether a token is the one in use is the hash's word alone.
//!
//! Without the MAC, whoever knows a grant's id (it is the `sid` of access tokens) could make up "old" tokens and have the family revoked.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use shared::refresh_token::RefreshToken;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{clock::Randomness, configuration::KeyBytes};

/// Separates these MACs from every other use of the key, and their versions from each other.
const CONTEXT: &[u8] = b"gateward refresh token v1";
/// Bytes of each half.
const HALF: usize = 16;

/// Makes and recognises secrets, under a key that only the origins have.
pub struct RefreshSecrets(Zeroizing<[u8; 32]>);

impl RefreshSecrets {
    /// Derives the key of `KEY_ENCRYPTION_KEY`, so that it is not the same key for two purposes.
    pub fn new(key: &KeyBytes) -> Self {
        Self(Zeroizing::new(mac(key.expose(), &[CONTEXT])))
    }

    /// A token of this generation.
    pub(super) fn issue(&self, grant_id: Uuid, generation: u32, randomness: &Randomness) -> RefreshToken {
        let random = Zeroizing::new(randomness.bytes());
        let secret = self.secret(grant_id, generation, &random);
        RefreshToken::issue(*grant_id.as_bytes(), generation, *secret)
    }

    /// Whether this token was once issued here, whatever became of it.
    pub(super) fn recognises(&self, token: &RefreshToken) -> bool {
        let mut random = Zeroizing::new([0; HALF]);
        for (slot, byte) in random.iter_mut().zip(token.secret()) {
            *slot = *byte;
        }
        let made = self.secret(Uuid::from_bytes(token.grant_id), token.generation, &random);
        made[..].ct_eq(&token.secret()[..]).into()
    }

    fn secret(&self, grant_id: Uuid, generation: u32, random: &[u8; HALF]) -> Zeroizing<[u8; 32]> {
        let mac = Zeroizing::new(mac(&self.0, &[grant_id.as_bytes(), &generation.to_be_bytes(), random]));
        let mut secret = Zeroizing::new([0; 32]);
        for (slot, byte) in secret.iter_mut().zip(random.iter().chain(mac.iter())) {
            *slot = *byte;
        }
        secret
    }
}

/// HMAC-SHA-256 of parts of fixed length.
fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A key of one block, which no HMAC refuses.
    let mut block = [0; 64];
    for (slot, byte) in block.iter_mut().zip(key) {
        *slot = *byte;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_with_its_grant_and_generation_and_no_other() {
        let secrets = RefreshSecrets::new(&KeyBytes::new([7; 32]));
        let grant = Uuid::from_u128(1);
        let token = secrets.issue(grant, 3, &Randomness::System);
        assert!(secrets.recognises(&token));
        assert!(!RefreshSecrets::new(&KeyBytes::new([8; 32])).recognises(&token));
        let moved =
            |grant: Uuid, generation| RefreshToken::issue(*grant.as_bytes(), generation, *token.secret());
        assert!(secrets.recognises(&moved(grant, 3)));
        assert!(!secrets.recognises(&moved(grant, 2)));
        assert!(!secrets.recognises(&moved(Uuid::from_u128(2), 3)));
        for bit in 0..256 {
            let mut secret = *token.secret();
            secret[bit / 8] ^= 1 << (bit % 8);
            assert!(!secrets.recognises(&RefreshToken::issue(*grant.as_bytes(), 3, secret)), "bit {bit}");
        }
        assert_ne!(secrets.issue(grant, 3, &Randomness::System), token);
    }
}

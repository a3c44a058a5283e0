//! Sealing of private keys: XChaCha20-Poly1305 with the key's `kid` as associated data, so that one key's seed cannot be passed off
//! as another's. The form is `version || nonce || ciphertext`.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::clock::Randomness;
use crate::configuration::KeyBytes;

/// The only version of the form.
const VERSION: u8 = 1;
/// A nonce of this length may be drawn at random for as many keys as anyone will have.
const NONCE: usize = 24;

/// A sealed seed, fit to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// Seals and opens under `KEY_ENCRYPTION_KEY`.
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// A sealer under this key.
    pub fn new(key: &KeyBytes) -> Self {
        Self(XChaCha20Poly1305::new(key.expose().into()))
    }

    /// Seals a seed; nothing where the cipher refuses, which it does not for 32 bytes.
    pub fn seal(&self, kid: &str, seed: &[u8; 32], randomness: &Randomness) -> Option<Sealed> {
        let nonce = randomness.bytes::<NONCE>();
        let payload = Payload { msg: seed, aad: kid.as_bytes() };
        let ciphertext = self.0.encrypt(XNonce::from_slice(&nonce), payload).ok()?;
        Some(Sealed([[VERSION].as_slice(), &nonce, &ciphertext].concat()))
    }

    /// Opens a seed; nothing where the key, the `kid` or a single bit is another.
    pub fn open(&self, kid: &str, sealed: &Sealed) -> Option<Zeroizing<[u8; 32]>> {
        let (version, rest) = sealed.0.split_first()?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE)?;
        if *version != VERSION {
            return None;
        }
        let payload = Payload { msg: ciphertext, aad: kid.as_bytes() };
        let seed = Zeroizing::new(self.0.decrypt(XNonce::from_slice(nonce), payload).ok()?);
        seed.as_slice().try_into().ok().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_for_the_same_key_and_kid_only_and_not_when_touched() {
        let sealer = Sealer::new(&KeyBytes::new([7; 32]));
        let stored = sealer.seal("kid-1", &[9; 32], &Randomness::System).unwrap();
        assert_eq!(*sealer.open("kid-1", &stored).unwrap(), [9; 32]);
        assert!(sealer.open("kid-2", &stored).is_none());
        assert!(Sealer::new(&KeyBytes::new([8; 32])).open("kid-1", &stored).is_none());
        for bit in 0..stored.0.len() * 8 {
            let mut touched = stored.clone();
            touched.0[bit / 8] ^= 1 << (bit % 8);
            assert!(sealer.open("kid-1", &touched).is_none(), "bit {bit}");
        }
        for length in 0..stored.0.len() {
            assert!(sealer.open("kid-1", &Sealed(stored.0[..length].to_vec())).is_none(), "length {length}");
        }
        assert_ne!(
            sealer.seal("kid-1", &[9; 32], &Randomness::System).unwrap(),
            stored,
            "a nonce was used twice"
        );
    }
}

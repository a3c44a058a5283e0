//! Secrets of the configuration: wiped when dropped, and without any way to be printed.

use zeroize::Zeroizing;

/// 32 bytes of key: an Ed25519 seed, a MAC key or an encryption key.
#[derive(Clone)]
pub struct KeyBytes(Zeroizing<[u8; 32]>);

impl KeyBytes {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be given to a cipher or MAC and to nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A secret that another party holds too, of at least 32 bytes, used as it is.
#[derive(Clone)]
pub struct SharedSecret(Zeroizing<Vec<u8>>);

impl SharedSecret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to be given to a MAC and to nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

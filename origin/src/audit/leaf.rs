//! What a leaf of the log says: an event's stored bytes, with its place in the chain of its aggregate.

use sha2::{Digest, Sha256};
use shared::tlog::{Hash, base64, decimal, from_base64, hash_from_base64, leaf_hash};

const FIRST_LINE: &[u8] = b"gateward-event/v1";

/// A leaf. Its bytes are five parts, a line each: `gateward-event/v1`, `version N`, `prev HASH` (`prev none` where there is none),
/// `hash HASH`, and the event's body, which ends the leaf. Hashes are base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The event's place in its aggregate, from 1.
    pub version: u64,
    /// The hash of the event before it in its aggregate.
    pub prev_hash: Option<Hash>,
    /// SHA-256 of the hash before it and its body.
    pub event_hash: Hash,
    /// The event's canonical bytes, as they are stored.
    pub body: Vec<u8>,
}

impl Leaf {
    /// The data of the leaf.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 160);
        bytes.extend_from_slice(FIRST_LINE);
        bytes.extend_from_slice(format!("\nversion {}\nprev ", self.version).as_bytes());
        match &self.prev_hash {
            Some(hash) => bytes.extend_from_slice(base64(hash).as_bytes()),
            None => bytes.extend_from_slice(b"none"),
        }
        bytes.extend_from_slice(b"\nhash ");
        bytes.extend_from_slice(base64(&self.event_hash).as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads the data of a leaf.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut lines = bytes.splitn(5, |byte| *byte == b'\n');
        let is_known = lines.next()? == FIRST_LINE;
        let mut field = |name: &str| {
            let line = std::str::from_utf8(lines.next()?).ok()?;
            line.strip_prefix(name)?.strip_prefix(' ')
        };
        let version = decimal(field("version")?)?;
        let prev_hash = match field("prev")? {
            "none" => None,
            hash => Some(hash_from_base64(hash)?),
        };
        let event_hash = hash_from_base64(field("hash")?)?;
        let body = lines.next()?.to_vec();
        is_known.then_some(Self { version, prev_hash, event_hash, body })
    }

    /// Its hash in the tree.
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.to_bytes())
    }

    /// Whether its hash is the one that its body and the hash before it give.
    pub fn is_chained(&self) -> bool {
        let mut hash = Sha256::new();
        if let Some(before) = &self.prev_hash {
            hash.update(before);
        }
        hash.update(&self.body);
        let hash: Hash = hash.finalize().into();
        hash == self.event_hash
    }
}

/// 32 bytes of a column, or nothing where there are not as many.
pub(super) fn hash_of_column(bytes: &[u8]) -> Option<Hash> {
    bytes.try_into().ok()
}

/// The parts of an event's row that its leaf is made of.
pub(super) type LeafRow = (i64, Option<Vec<u8>>, Vec<u8>, Vec<u8>);

/// The leaf of a row; nothing where no row of ours could be like that.
pub(super) fn leaf_of_row((version, prev_hash, event_hash, body): LeafRow) -> Option<Leaf> {
    let prev_hash = match prev_hash {
        Some(hash) => Some(hash_of_column(&hash)?),
        None => None,
    };
    Some(Leaf {
        version: u64::try_from(version).ok()?,
        prev_hash,
        event_hash: hash_of_column(&event_hash)?,
        body,
    })
}

/// A hash in base64, for serde.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base64Hash(pub(super) Hash);

impl serde::Serialize for Base64Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64(&self.0))
    }
}

impl<'de> serde::Deserialize<'de> for Base64Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = from_base64(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("a hash is 32 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_as_documented() {
        let leaf = Leaf { version: 1, prev_hash: None, event_hash: [0; 32], body: b"{}".to_vec() };
        let zeroes = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(
            leaf.to_bytes(),
            format!("gateward-event/v1\nversion 1\nprev none\nhash {zeroes}\n{{}}").into_bytes()
        );
    }

    proptest! {
        #[test]
        fn a_leaf_is_read_as_it_was_written_and_in_no_other_way(
            version in 1_u64.., prev in proptest::option::of(any::<[u8; 32]>()), event_hash in any::<[u8; 32]>(),
            body in proptest::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let leaf = Leaf { version, prev_hash: prev, event_hash, body };
            let mut bytes = leaf.to_bytes();
            let read = Leaf::from_bytes(&bytes);
            prop_assert_eq!(read.as_ref(), Some(&leaf));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Some(other) = Leaf::from_bytes(&bytes) {
                prop_assert_ne!(&other, &leaf);
                prop_assert_eq!(other.to_bytes(), bytes);
            }
        }
    }
}

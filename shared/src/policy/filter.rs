//! Many revocations in little space: a binary fuse filter over the hashes of the entries, and the hashes of what it is known to hit
//! falsely. It may not be the last word: a hit is either excepted here, or asked about.
//!
//! The bytes are named by their SHA-256, which the signed policy carries. Integers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `gwrevoc1` |
//! | 8 | number of entries |
//! | 4 | number of exceptions |
//! | 20 | the filter's seed (8), segment length (4), its mask (4), length of all segments but the last two (4) |
//! | 8 each | exceptions, ascending |
//! | the rest | fingerprints of 8 bits |

use alloc::{string::String, vec::Vec};
use core::fmt;

use sha2::{Digest as _, Sha256};
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable as _, Filter as _, FilterRef as _};

use crate::base64url;

const MAGIC: &[u8; 8] = b"gwrevoc1";
const DESCRIPTOR_BYTES: usize = 20;
const HEAD_BYTES: usize = 8 + 8 + 4 + DESCRIPTOR_BYTES;

/// Where an entry of this kind and value lies in a filter: the first 8 bytes of SHA-256 of `kind:value`. A kind has no colon, so that no
/// two kinds can mean the same entry.
pub fn entry_hash(kind: &str, value: &str) -> u64 {
    let hash = Sha256::new().chain_update(kind).chain_update(b":").chain_update(value).finalize();
    hash.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// A filter, ready to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationFilter {
    bytes: Vec<u8>,
    digest: [u8; 32],
    sha256: String,
    entries: u64,
    exceptions: Vec<u64>,
}

impl fmt::Debug for RevocationFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (entries, exceptions) = (self.entries, self.exceptions.len());
        write!(formatter, "RevocationFilter({}, {entries} entries, {exceptions} exceptions)", self.sha256)
    }
}

impl RevocationFilter {
    /// The filter of these hashes; the same sets give the same bytes. `candidates` are hashes of what is valid: those among them that
    /// would be hit become exceptions, as far as `most_exceptions` allows. `None` when there is nothing to filter.
    pub fn build(
        mut entries: Vec<u64>,
        candidates: impl IntoIterator<Item = u64>,
        most_exceptions: usize,
    ) -> Option<Self> {
        entries.sort_unstable();
        entries.dedup();
        if entries.is_empty() {
            return None;
        }
        let filter = BinaryFuse8::try_from(&entries).ok()?;
        let mut exceptions: Vec<u64> = candidates
            .into_iter()
            // What is revoked is no exception, though it were among the candidates: an exception is believed.
            .filter(|hash| filter.contains(hash) && entries.binary_search(hash).is_err())
            .collect();
        exceptions.sort_unstable();
        exceptions.dedup();
        exceptions.truncate(most_exceptions);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&u64::try_from(entries.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(exceptions.len()).ok()?.to_le_bytes());
        let mut descriptor = [0; DESCRIPTOR_BYTES];
        filter.dma_copy_descriptor_to(&mut descriptor);
        bytes.extend_from_slice(&descriptor);
        bytes.extend(exceptions.iter().flat_map(|hash| hash.to_le_bytes()));
        bytes.extend_from_slice(filter.dma_fingerprints());
        Self::parse(bytes)
    }

    /// Reads a filter; `None` when the bytes are not one that can be asked.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (entries, rest) = rest.split_first_chunk()?;
        let (exceptions, rest) = rest.split_first_chunk()?;
        let (descriptor, rest) = rest.split_first_chunk()?;
        let listed = usize::try_from(u32::from_le_bytes(*exceptions)).ok()?.checked_mul(8)?;
        let (listed, fingerprints) = rest.split_at_checked(listed)?;
        if !is_sound(descriptor, fingerprints.len()) {
            return None;
        }
        let (exceptions, _) = listed.as_chunks();
        let exceptions: Vec<u64> = exceptions.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
        let entries = u64::from_le_bytes(*entries);
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        exceptions.is_sorted().then(|| Self {
            sha256: base64url::encode(&digest),
            digest,
            bytes,
            entries,
            exceptions,
        })
    }

    /// Its name: base64url of SHA-256 of its bytes.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The SHA-256 itself.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many entries it was made of.
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// How many false hits it knows.
    pub fn exceptions(&self) -> usize {
        self.exceptions.len()
    }

    /// Whether the entry may be among those it was made of. Of one that is, always; of another, once in 256, unless it is an exception.
    pub fn hits(&self, hash: u64) -> bool {
        let (Some(descriptor), Some(fingerprints)) = (self.descriptor(), self.fingerprints()) else {
            // `parse` has seen both. If not: what cannot be looked up is asked about.
            return true;
        };
        BinaryFuse8Ref::from_dma(descriptor, fingerprints).contains(&hash)
            && self.exceptions.binary_search(&hash).is_err()
    }

    fn descriptor(&self) -> Option<&[u8]> {
        self.bytes.get(HEAD_BYTES.checked_sub(DESCRIPTOR_BYTES)?..HEAD_BYTES)
    }

    fn fingerprints(&self) -> Option<&[u8]> {
        self.bytes.get(self.exceptions.len().checked_mul(8)?.checked_add(HEAD_BYTES)?..)
    }
}

/// Whether every hash finds its three fingerprints.
fn is_sound(descriptor: &[u8; DESCRIPTOR_BYTES], fingerprints: usize) -> bool {
    let Some((_, lengths)) = descriptor.split_first_chunk::<8>() else { return false };
    let (lengths, _) = lengths.as_chunks();
    let &[segment, mask, all_but_two] = lengths else { return false };
    let (segment, mask) = (u32::from_le_bytes(segment), u32::from_le_bytes(mask));
    let all_but_two = u32::from_le_bytes(all_but_two);
    let expected = segment.checked_mul(2).and_then(|two| two.checked_add(all_but_two));
    segment.is_power_of_two()
        && segment.checked_sub(1) == Some(mask)
        && all_but_two > 0
        && all_but_two.checked_rem(segment) == Some(0)
        && expected.and_then(|expected| usize::try_from(expected).ok()) == Some(fingerprints)
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    fn entries(from: u64, to: u64) -> Vec<u64> {
        (from..to).map(|number| entry_hash("jti", &number.to_string())).collect()
    }

    #[test]
    fn kinds_are_apart() {
        assert_ne!(entry_hash("jti", "a"), entry_hash("grant", "a"));
        assert_eq!(entry_hash("jti", "abc").to_be_bytes()[..], Sha256::digest(b"jti:abc")[..8]);
    }

    #[test]
    fn every_entry_is_hit_and_what_was_known_to_be_valid_is_not() {
        for count in [1, 2, 3, 5, 100, 20_000] {
            let filter =
                RevocationFilter::build(entries(0, count), entries(count, count + 20_000), usize::MAX)
                    .unwrap();
            assert_eq!(filter.entries(), count);
            assert!(entries(0, count).into_iter().all(|hash| filter.hits(hash)), "{count}");
            assert!(!entries(count, count + 20_000).into_iter().any(|hash| filter.hits(hash)), "{count}");
            let unknown = entries(100_000, 140_000).into_iter().filter(|hash| filter.hits(*hash)).count();
            assert!(unknown < 40_000 / 128, "{count}: {unknown} of 40000 hit falsely");
            let read = RevocationFilter::parse(filter.bytes().to_vec()).unwrap();
            assert_eq!(read, filter);
        }
        assert_eq!(RevocationFilter::build(Vec::new(), [], 0), None);
    }

    #[test]
    fn the_same_set_gives_the_same_bytes_and_no_exception_hides_an_entry() {
        let mut backwards = entries(0, 5_000);
        backwards.reverse();
        backwards.extend(entries(0, 10));
        let one = RevocationFilter::build(entries(0, 5_000), entries(0, 20_000), usize::MAX).unwrap();
        assert_eq!(one, RevocationFilter::build(backwards, entries(0, 20_000), usize::MAX).unwrap());
        assert!(entries(0, 5_000).into_iter().all(|hash| one.hits(hash)));
        assert!(one.exceptions() > 2);
        assert_eq!(
            RevocationFilter::build(entries(0, 5_000), entries(0, 20_000), 2).unwrap().exceptions(),
            2
        );
    }

    #[test]
    fn damaged_bytes_are_no_filter() {
        let good = RevocationFilter::build(entries(0, 1_000), entries(1_000, 3_000), usize::MAX).unwrap();
        let bytes = good.bytes();
        assert_eq!(RevocationFilter::parse(bytes[..bytes.len() - 1].to_vec()), None);
        for length in 0..HEAD_BYTES {
            assert_eq!(RevocationFilter::parse(bytes[..length].to_vec()), None);
        }
        // Magic, number of exceptions, and each of the lengths. Seed and number of entries may be anything.
        for at in [0, 7, 16, 17, 28, 29, 32, 35, 36, 39] {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(RevocationFilter::parse(changed), None, "byte {at}");
        }
        let mut unordered = bytes.to_vec();
        unordered[HEAD_BYTES..HEAD_BYTES + 8].fill(0xff);
        assert_eq!(RevocationFilter::parse(unordered), None);
    }
}

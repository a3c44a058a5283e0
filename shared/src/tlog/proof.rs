//! Proofs of inclusion and of consistency (RFC 9162, 2.1.3 and 2.1.4): which subtrees one is made of, and its verification, which
//! needs the proof and the two hashes alone.

use alloc::vec::Vec;
use core::ops::Range;

use super::frontier::{PerfectSubtree, root_of};
use super::merkle::{Hash, empty_root, node_hash};

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofError {
    /// The leaf, or the smaller tree, is not within the tree.
    OutOfRange,
    /// It has too many or too few hashes.
    Length,
    /// What it leads to is not the root.
    Root,
}

impl core::fmt::Display for ProofError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "it is for something outside the tree",
            Self::Length => "it has too many or too few hashes",
            Self::Root => "it leads to another root",
        })
    }
}

impl core::error::Error for ProofError {}

/// The subtrees whose roots prove that the leaf at `index` is in a tree of `size` leaves, from the leaf's sibling upwards. Empty
/// where the leaf is not in the tree.
pub fn inclusion_ranges(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut tree = 0..size;
    while index < size && length(&tree) > 1 {
        let (left, right) = halves(&tree);
        if left.contains(&index) {
            ranges.push(right);
            tree = left;
        } else {
            ranges.push(left);
            tree = right;
        }
    }
    ranges.reverse();
    ranges
}

/// The subtrees whose roots prove that a tree of `size` leaves begins with the one of its first `old` leaves. Empty where there is
/// nothing to prove: `old` is 0 or `size`, or larger.
pub fn consistency_ranges(old: u64, size: u64) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    if old == 0 || old >= size {
        return ranges;
    }
    let mut tree = 0..size;
    while tree.end != old {
        let (left, right) = halves(&tree);
        if old <= left.end {
            ranges.push(right);
            tree = left;
        } else {
            ranges.push(left);
            tree = right;
        }
    }
    // The old tree itself is known to whoever checks; a part of it is not.
    if tree.start != 0 {
        ranges.push(tree);
    }
    ranges.reverse();
    ranges
}

/// The perfect subtrees that a subtree of a proof is made of, largest first; their roots, folded by a
/// [`Frontier`](super::Frontier), are its root. Correct for `0..n` and for every range of a proof.
pub fn perfect_subtrees(range: &Range<u64>) -> Vec<PerfectSubtree> {
    let mut subtrees = Vec::new();
    let mut start = range.start;
    for height in (0..u64::BITS).rev() {
        let Some(leaves) = 1_u64.checked_shl(height) else { continue };
        if length(range) & leaves != 0 {
            subtrees.push(PerfectSubtree { height, index: start.wrapping_shr(height) });
            start = start.saturating_add(leaves);
        }
    }
    subtrees
}

/// Whether `path` proves that the leaf of this hash is at `index` of the tree of `size` leaves with this root (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange);
    }
    let (mut node, mut last) = (index, size.saturating_sub(1));
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Whether `path` proves that the tree of `size` leaves begins with the one of `old` leaves (RFC 9162, 2.1.4.2).
pub fn verify_consistency(
    old: u64,
    old_root: &Hash,
    size: u64,
    root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old > size {
        return Err(ProofError::OutOfRange);
    }
    if old == 0 || old == size {
        if !path.is_empty() {
            return Err(ProofError::Length);
        }
        let known = if old == size { root } else { &empty_root() };
        return if old_root == known { Ok(()) } else { Err(ProofError::Root) };
    }
    // Where the old tree is a perfect subtree of the new one, its root is not in the proof.
    let (first, rest) = if old.is_power_of_two() {
        (old_root, path)
    } else {
        path.split_first().ok_or(ProofError::Length)?
    };
    if rest.is_empty() {
        return Err(ProofError::Length);
    }
    let (mut node, mut last) = (old.saturating_sub(1), size.saturating_sub(1));
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old_hash == *old_root && hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// The root of a subtree from those of the perfect subtrees that it is made of.
pub fn fold(perfect: &[Hash]) -> Hash {
    root_of(perfect)
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// A tree of two leaves or more, split after the largest power of two that is smaller than it.
fn halves(tree: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let highest = length(tree).saturating_sub(1).max(1).ilog2();
    let middle = tree.start.saturating_add(1_u64.wrapping_shl(highest));
    (tree.start..middle, middle..tree.end)
}

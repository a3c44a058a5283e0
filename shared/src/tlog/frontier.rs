//! The right edge of a growing tree: the roots of the perfect subtrees that its leaves make up, largest first. It is all that is
//! needed to add a leaf and to know the root, and it has one hash for each bit that is set in the number of leaves.

use alloc::vec::Vec;

use super::merkle::{Hash, empty_root, leaf_hash, node_hash};

/// A subtree whose 2^height leaves are all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerfectSubtree {
    /// 0 is a leaf.
    pub height: u32,
    /// Which one of its height, from the left and from 0.
    pub index: u64,
}

/// The frontier of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier that was kept. `None` when the number of hashes is not the one that this many leaves have.
    pub fn of(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        let expected = usize::try_from(size.count_ones()).ok()?;
        (hashes.len() == expected).then_some(Self { size, hashes })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, largest first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Adds a leaf that holds `data`.
    pub fn push(&mut self, data: &[u8]) {
        self.push_hash(leaf_hash(data), |_, _| {});
    }

    /// Adds a leaf by its hash, and tells of every perfect subtree that it completes, the leaf itself first.
    pub fn push_hash(&mut self, leaf: Hash, mut completed: impl FnMut(PerfectSubtree, &Hash)) {
        let (mut hash, mut height, mut index) = (leaf, 0_u32, self.size);
        completed(PerfectSubtree { height, index }, &hash);
        // An odd index is a right child: its left sibling is the last of the frontier.
        while index & 1 == 1 {
            let Some(left) = self.hashes.pop() else { break };
            hash = node_hash(&left, &hash);
            height = height.saturating_add(1);
            index >>= 1;
            completed(PerfectSubtree { height, index }, &hash);
        }
        self.hashes.push(hash);
        self.size = self.size.saturating_add(1);
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        root_of(&self.hashes)
    }
}

/// The root of a tree made of perfect subtrees, largest first.
pub(super) fn root_of(hashes: &[Hash]) -> Hash {
    let mut smallest_first = hashes.iter().rev();
    let Some(first) = smallest_first.next() else { return empty_root() };
    smallest_first.fold(*first, |right, left| node_hash(left, &right))
}

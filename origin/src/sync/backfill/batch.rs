//! Rows that are stored together. No two of them are about the same key or bring the same hash: what comes later is stored later.

use std::collections::HashSet;

use uuid::Uuid;

use crate::sync::key_record::{KeyHash, KeyRecord};

/// How many rows are stored together.
const MOST_ROWS: usize = 500;

/// A batch that is being filled.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) records: Vec<KeyRecord>,
    /// Which row each of them was.
    pub(super) rows: Vec<u64>,
    ids: HashSet<Uuid>,
    hashes: HashSet<KeyHash>,
}

impl Batch {
    /// Whether this one must wait until those have been stored.
    pub(super) fn collides(&self, record: &KeyRecord) -> bool {
        self.ids.contains(&record.id) || self.hashes.contains(&record.key_hash)
    }

    pub(super) fn push(&mut self, row: u64, record: KeyRecord) {
        self.ids.insert(record.id);
        self.hashes.insert(record.key_hash);
        self.rows.push(row);
        self.records.push(record);
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= MOST_ROWS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

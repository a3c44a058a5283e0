//! Filters of revocations. An input is a filter's bytes; or the entries to make one of, eight bytes each.

use shared::policy::{RevocationFilter, entry_hash};

/// What is read can be asked anything, and every entry that a filter was made of is hit.
pub fn hold(input: &[u8]) {
    if let Some(filter) = RevocationFilter::parse(input.to_vec()) {
        assert_eq!(filter.bytes(), input);
        assert_eq!(RevocationFilter::parse(input.to_vec()).as_ref(), Some(&filter));
        for hash in hashes(input).chain([0, 1, u64::MAX, u64::MAX / 2, entry_hash("jti", filter.sha256())]) {
            let _ = filter.hits(hash);
        }
    }
    let (entries, candidates): (Vec<u64>, Vec<u64>) = {
        let all: Vec<u64> = hashes(input).collect();
        let (left, right) = all.split_at(all.len() / 2);
        (left.to_vec(), right.to_vec())
    };
    let Some(filter) = RevocationFilter::build(entries.clone(), candidates.iter().copied(), usize::MAX)
    else {
        return;
    };
    assert!(entries.iter().all(|hash| filter.hits(*hash)), "what is revoked is hit");
    assert!(
        !candidates.iter().any(|hash| filter.hits(*hash) && !entries.contains(hash)),
        "what is known to be valid is not"
    );
    assert_eq!(RevocationFilter::parse(filter.bytes().to_vec()).as_ref(), Some(&filter));
}

fn hashes(input: &[u8]) -> impl Iterator<Item = u64> {
    input.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

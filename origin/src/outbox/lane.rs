//! Lanes: an aggregate is always in the same one, and a lane is carried by one forwarder at a time. Order per aggregate follows.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How many lanes there are. The tables hold as many rows; changing it reorders what is queued.
pub const LANES: i16 = 64;

/// The lane of an aggregate, 0 to 63.
pub fn lane_of(workspace_id: Uuid, aggregate_type: &str, aggregate_id: Uuid) -> i16 {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(workspace_id.as_bytes())
        .chain_update(aggregate_id.as_bytes())
        .chain_update(aggregate_type.as_bytes())
        .finalize()
        .into();
    let [first, ..] = hash;
    i16::from(first) % LANES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_stable_and_all_in_use() {
        // Pinned: rows queued by one version are carried by the next.
        assert_eq!(
            lane_of(Uuid::nil(), "session", Uuid::from_u128(1)),
            lane_of(Uuid::nil(), "session", Uuid::from_u128(1))
        );
        let mut seen = std::collections::BTreeSet::new();
        for id in 0..2_000 {
            let lane = lane_of(Uuid::nil(), "session", Uuid::from_u128(id));
            assert!((0..LANES).contains(&lane));
            seen.insert(lane);
        }
        assert_eq!(seen.len(), 64);
    }
}

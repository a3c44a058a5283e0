//! The chain of each aggregate: versions without gaps from 1, each event naming the hash of the one before it.

use std::borrow::Cow;
use std::collections::HashMap;

use sha2::{Digest, Sha256};
use shared::tlog::Hash;
use uuid::Uuid;

use crate::audit::Leaf;

/// The parts of a body that say whose event it is.
#[derive(serde::Deserialize)]
struct Identity<'a> {
    workspace_id: Uuid,
    #[serde(borrow)]
    aggregate_type: Cow<'a, str>,
    aggregate_id: Uuid,
}

/// The last event of each aggregate. An aggregate is known by half a hash of its name: 16 bytes.
#[derive(Debug, Default)]
pub(super) struct Chains(HashMap<[u8; 16], (u64, Hash)>);

impl Chains {
    pub(super) fn aggregates(&self) -> usize {
        self.0.len()
    }

    /// Whether a leaf follows what was there of its aggregate. In a `part` of a log the first event of an aggregate may be any.
    /// After a fault the chain goes on from this event, so that one fault is told once.
    pub(super) fn follow(&mut self, leaf: &Leaf, part: bool) -> Result<(), String> {
        let identity: Identity<'_> =
            serde_json::from_slice(&leaf.body).map_err(|error| format!("the body is no event: {error}"))?;
        let before = self.0.insert(key_of(&identity), (leaf.version, leaf.event_hash));
        let Identity { aggregate_type, aggregate_id, .. } = &identity;
        let (version, prev_hash) = match before {
            Some((version, hash)) => (version.saturating_add(1), Some(hash)),
            None if part => return Ok(()),
            None => (1, None),
        };
        if leaf.version != version {
            return Err(format!(
                "{aggregate_type} {aggregate_id}: version {} where version {version} is next: events are missing, come twice \
                 or in another order",
                leaf.version
            ));
        }
        if leaf.prev_hash != prev_hash {
            return Err(format!(
                "{aggregate_type} {aggregate_id}: prev_hash of version {version} is not the hash of the event before it"
            ));
        }
        Ok(())
    }
}

fn key_of(identity: &Identity<'_>) -> [u8; 16] {
    let hash: Hash = Sha256::new()
        .chain_update(identity.workspace_id.as_bytes())
        .chain_update(identity.aggregate_id.as_bytes())
        .chain_update(identity.aggregate_type.as_bytes())
        .finalize()
        .into();
    let (half, _) = hash.split_at(16);
    half.try_into().unwrap_or_default()
}

//! A batch by what must stay in order.

use std::collections::{HashMap, VecDeque};

use crate::outbox::Delivery;

/// The rows of each aggregate, by their index, in the batch's order.
pub(super) fn by_aggregate(batch: &[Delivery]) -> VecDeque<VecDeque<usize>> {
    let mut places = HashMap::new();
    let mut groups: VecDeque<VecDeque<usize>> = VecDeque::new();
    for (index, row) in batch.iter().enumerate() {
        let aggregate = (row.workspace_id, row.aggregate_type.as_str(), row.aggregate_id);
        let place = *places.entry(aggregate).or_insert_with(|| {
            groups.push_back(VecDeque::new());
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.push_back(index);
        }
    }
    groups
}

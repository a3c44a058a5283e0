//! Rows for tests of destinations. Tests only.

use serde_json::json;
use time::macros::datetime;
use uuid::Uuid;

use crate::outbox::Delivery;

/// An event of each of these aggregates, versions counted per aggregate; event ids are counted from 1.
pub(super) fn rows(aggregates: &[u8]) -> Vec<Delivery> {
    let mut versions = [0_i64; 256];
    let row = |(&aggregate, id): (&u8, i64)| {
        versions[usize::from(aggregate)] += 1;
        Delivery {
            lane: 0,
            id,
            attempts: 0,
            parked: false,
            event_id: Uuid::from_u128(u128::try_from(id).unwrap()),
            workspace_id: Uuid::from_u128(0x77),
            aggregate_type: "session".to_owned(),
            aggregate_id: Uuid::from_u128(u128::from(aggregate)),
            version: versions[usize::from(aggregate)],
            event_type: "SessionStarted".to_owned(),
            schema_version: 1,
            payload: json!({"text": "ä\u{2028}\"\\"}),
            metadata: json!({"actor": {"kind": "system"}}),
            occurred_at: datetime!(2026-11-21 12:00:00.5 +2),
        }
    };
    aggregates.iter().zip(1..).map(row).collect()
}

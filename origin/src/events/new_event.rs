//! An event before it has a place in its aggregate.

use serde_json::Value;
use uuid::Uuid;

use super::payload::{Aggregate, EventPayload};
use crate::database::PLATFORM;

/// An event to append. Who, when and for which request come from the scope it is appended in.
#[derive(Debug)]
pub struct NewEvent {
    pub(super) workspace_id: Uuid,
    pub(super) aggregate: Aggregate,
    pub(super) aggregate_id: Uuid,
    pub(super) event_type: &'static str,
    pub(super) schema_version: i16,
    pub(super) payload: Result<Value, serde_json::Error>,
}

impl NewEvent {
    /// An event of something that a workspace owns.
    pub fn of<P: EventPayload>(workspace_id: Uuid, aggregate_id: Uuid, payload: &P) -> Self {
        Self {
            workspace_id,
            aggregate: P::AGGREGATE,
            aggregate_id,
            event_type: P::EVENT_TYPE,
            schema_version: P::SCHEMA_VERSION,
            payload: serde_json::to_value(payload),
        }
    }

    /// An event of something that belongs to a person or to the gateway itself.
    pub fn of_platform<P: EventPayload>(aggregate_id: Uuid, payload: &P) -> Self {
        Self::of(PLATFORM, aggregate_id, payload)
    }
}

//! One event on its way to one destination.

use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

/// An event with its place in the queue.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Delivery {
    /// The lane it is queued in.
    pub lane: i16,
    /// Its place in the lane.
    pub id: i64,
    /// How often the destination has refused it.
    pub attempts: i16,
    /// Whether its aggregate is parked: it is not to be delivered, but set aside.
    pub(crate) parked: bool,
    /// The event's id; a destination that sees it twice takes it once.
    pub event_id: Uuid,
    /// The workspace that owns the aggregate.
    pub workspace_id: Uuid,
    /// What it is about.
    pub aggregate_type: String,
    /// Which one it is about.
    pub aggregate_id: Uuid,
    /// Its place in the aggregate.
    pub version: i64,
    /// What happened.
    pub event_type: String,
    /// The number of the payload's shape.
    pub schema_version: i16,
    /// The facts.
    pub payload: Value,
    /// Who, for which request, following from what.
    pub metadata: Value,
    /// When.
    pub occurred_at: OffsetDateTime,
}

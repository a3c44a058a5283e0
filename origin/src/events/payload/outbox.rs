//! What an operator did to events that a destination had not taken.

use uuid::Uuid;

use super::payloads;
use crate::events::field::Identifier;

payloads! {
    /// Events that had been set aside were queued again, with their aggregates.
    OutboxDestination, 1: OutboxEventsReplayed {
        /// The destination.
        destination: Identifier,
        /// How many events.
        events: i64,
        /// Of how many aggregates.
        aggregates: i64,
        /// The smallest of their ids, which is the earliest.
        first_event_id: Option<Uuid>,
        /// The largest of their ids.
        last_event_id: Option<Uuid>,
    }
    /// Events that had been set aside will not be delivered any more.
    OutboxDestination, 1: OutboxEventsDiscarded {
        /// The destination.
        destination: Identifier,
        /// How many events.
        events: i64,
        /// Of how many aggregates.
        aggregates: i64,
        /// How many others stood behind them and were queued again.
        released: i64,
        /// The smallest of their ids, which is the earliest.
        first_event_id: Option<Uuid>,
        /// The largest of their ids.
        last_event_id: Option<Uuid>,
    }
}

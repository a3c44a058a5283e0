//! Where events go, as the operator has it.

use super::payloads;
use crate::events::field::{Identifier, RegisteredUri};

payloads! {
    /// Events go to another destination from now on.
    OutboxDestination, 1: OutboxDestinationAdded {
        /// Its name.
        destination: Identifier,
        /// How it is delivered to.
        kind: Identifier,
        /// Where it is, where its row says so.
        url: Option<RegisteredUri>,
        /// The aggregates whose events it gets; nothing: all.
        aggregate_types: Option<Vec<Identifier>>,
        /// Whether all past events are queued for it, too.
        backfill: bool,
    }
    /// Events go to it again.
    OutboxDestination, 1: OutboxDestinationEnabled {
        /// Its name.
        destination: Identifier,
        /// Whether all past events are queued for it, too.
        backfill: bool,
    }
    /// No further events are queued for it, and none delivered.
    OutboxDestination, 1: OutboxDestinationDisabled {
        /// Its name.
        destination: Identifier,
    }
    /// It is gone, with what was queued for it.
    OutboxDestination, 1: OutboxDestinationRemoved {
        /// Its name.
        destination: Identifier,
        /// How many events were dropped that it had not got.
        dropped: i64,
    }
}

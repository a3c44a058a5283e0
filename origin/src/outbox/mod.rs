//! Carries events out, at least once, in order per aggregate. Nothing is lost: a row leaves the outbox only in the statement that
//! acknowledges its delivery, or on its way to `outbox_failed`.
//!
//! An aggregate hashes to a lane ([`lane_of`]), and a lane is leased whole, with an epoch that fences the acknowledgement of whoever
//! held it before. An outage of the destination stops the destination and costs no row an attempt; a row that the destination
//! refuses is found by halving the batch, tried five times, and then parked together with its aggregate, and with nothing else.
//! No transaction is open while something is being delivered.

mod breaker;
mod delivery;
pub mod destination;
mod forwarder;
mod forwarders;
mod halving;
mod lane;
mod lease;
mod metrics;
mod queue;
mod set_aside;
mod settlement;
mod statistics;
#[cfg(test)]
mod tests;

pub use self::delivery::Delivery;
pub use self::forwarder::{Drained, Forwarder, ForwarderError, Settings};
pub use self::forwarders::{Emptied, Forwarders, Options, StartError};
pub use self::lane::{LANES, lane_of};
pub use self::metrics::{Metrics, serve as serve_metrics};
pub use self::set_aside::{
    Discarded, FailedEvent, FailedFilter, Replayed, SetAsideError, Which, discard, failed, replay,
};
pub use self::statistics::{DestinationStatistics, statistics};

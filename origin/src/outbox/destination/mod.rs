//! What a destination must do, and how it says what went wrong. One file per kind; which one a row of `outbox_destinations` asks for
//! is [`AnyDestination`]'s to say. A destination holds no transaction of the command database open while it delivers.

mod aggregates;
mod any;
mod message;
pub mod nats;
mod pace;
mod postgres;
pub mod postgrest;
mod registered;
mod registration;
mod retry_after;
#[cfg(test)]
mod test_rows;
pub mod webhook;

use std::future::Future;
use std::time::Duration;

pub use self::any::{AnyDestination, Surroundings};
pub use self::postgres::Postgres;
pub use self::registered::{Registered, aggregate_id, registered};
pub use self::registration::{
    Added, Addition, Enabled, Listed, RegistrationError, Removed, add, disable, enable, list, remove,
};
use super::delivery::Delivery;

/// Somewhere events go.
pub trait Destination: Send + Sync {
    /// Delivers a batch in its order per aggregate, or says how far it came and why not further. What is said to be delivered is in
    /// effect; more may be. An event that comes again, with the same `event_id`, must take effect once.
    fn deliver(&self, batch: &[Delivery]) -> impl Future<Output = Result<(), Undelivered>> + Send;

    /// The most rows one call may bring; at least one.
    fn most_rows(&self) -> usize {
        1_000
    }
}

/// What stopped a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// Indexes into the batch of what took effect.
    pub delivered: Vec<usize>,
    /// Why the rest did not.
    pub fault: DeliveryFault,
}

/// Why a batch, or the rest of one, was not delivered. The difference decides whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryFault {
    /// The destination is away, overloaded or misconfigured: no row is at fault, and none is charged an attempt.
    #[error("the destination cannot take anything now: {reason}")]
    Outage {
        /// What it said.
        reason: String,
        /// How long it asked to be left alone, where it did.
        retry_after: Option<Duration>,
    },
    /// The destination will not take at least one of the rest; of a rest of one, that one.
    #[error("the destination refuses a row: {0}")]
    Refused(String),
    /// The destination wants nothing any more (HTTP 410). It is disabled; its rows stay.
    #[error("the destination wants nothing any more: {0}")]
    Gone(String),
}

impl DeliveryFault {
    /// An outage of which nobody knows how long it will last.
    pub fn outage(reason: impl Into<String>) -> Self {
        Self::Outage { reason: reason.into(), retry_after: None }
    }
}

impl From<DeliveryFault> for Undelivered {
    /// Nothing took effect, as far as is known.
    fn from(fault: DeliveryFault) -> Self {
        Self { delivered: Vec::new(), fault }
    }
}

/// Whether Postgres' error is about the data of a row: data exceptions, integrity violations, limits of a row, and a trigger that says
/// no. Anything else (a missing table or right, a server that is down) would meet every row alike.
fn is_a_rows_fault(sqlstate: &str) -> bool {
    sqlstate.len() == 5
        && (sqlstate.starts_with("22")
            || sqlstate.starts_with("23")
            || sqlstate.starts_with("54")
            || sqlstate == "P0001")
}

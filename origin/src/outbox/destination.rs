//! What a destination must do, and how it says what went wrong.

use std::future::Future;

use super::delivery::Delivery;

/// Somewhere events go.
pub trait Destination: Send + Sync {
    /// Delivers all of a batch, in its order, or says why not. A batch may be partly in effect after an error: an event that comes
    /// again, with the same `event_id`, must take effect once.
    fn deliver(&self, batch: &[Delivery]) -> impl Future<Output = Result<(), DeliveryError>> + Send;
}

/// Why a batch was not delivered. The difference decides whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The destination is away, overloaded or misconfigured: no row is at fault, and none is charged an attempt.
    #[error("the destination cannot take anything now: {0}")]
    Outage(String),
    /// The destination will not take at least one of the rows.
    #[error("the destination refuses a row: {0}")]
    Refused(String),
}

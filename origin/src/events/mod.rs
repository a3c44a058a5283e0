//! What happened, as facts that are never changed. A change, its event and its outbox rows are one transaction: the only way to
//! record an event is [`Scope::append`](crate::database::Scope::append), or [`Scope::append_all`](crate::database::Scope::append_all) for
//! many, in the scope that makes the change.
//!
//! An event cannot hold a secret: its payload is a struct whose fields have types from [`field`], and none of those can be made of
//! a token, a code or an address. Add an event by adding a struct to [`payload`]; nothing else has to know.

mod append;
mod batch;
mod canonical;
pub mod field;
mod new_event;
pub mod payload;
#[cfg(test)]
mod tests;
mod upcast;

pub use self::append::{AppendError, Appended};
pub use self::new_event::NewEvent;
pub use self::payload::{Aggregate, EventPayload};
pub use self::upcast::{UpcastError, upcast};

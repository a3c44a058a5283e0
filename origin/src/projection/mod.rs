//! The stores that are made of events: the read side and the client registry. Compares them with the events down to the rows that differ
//! ([`drift`]), mends those ([`repair`]), or makes a whole store again beside the one in use and swaps it in ([`rebuild`]).
//!
//! All of it runs while appends and forwarders go on. No statement here names two stores: what one says is carried to the other by this
//! process, so that each can be on a server of its own.

pub mod drift;
mod read_side;
pub mod rebuild;
mod recorded;
pub mod repair;
#[cfg(test)]
mod tests;

use serde::Serialize;

/// A store that is made of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// `public.auth_events` of the read database.
    Read,
    /// `public.oauth_clients` and `public.projects` of the client registry.
    Registry,
}

impl Store {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Read, Self::Registry];

    /// Its destination in the outbox.
    pub(crate) fn destination_id(self) -> i16 {
        match self {
            Self::Read => 1,
            Self::Registry => 3,
        }
    }

    /// Its name on the command line and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Registry => "registry",
        }
    }
}

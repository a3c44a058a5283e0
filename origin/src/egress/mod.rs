//! Requests that leave for where somebody else said: the keys of external issuers, webhooks, read sides over HTTP. A host's name is
//! resolved once, every address it has is judged, and connections go to the addresses that were judged: a name that changes its
//! mind in between (DNS rebinding) changes nothing. No redirect, no proxy, no cookie, no compression; an answer is bounded in size
//! and time. What an answer means is its caller's business.

mod address;
mod client;
mod exchange;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

pub(crate) use self::address::is_on_loopback;
pub use self::client::{Bounds, Call, Client, EgressFault, Session, system_authorities};
pub use self::exchange::Answer;

/// An error as it is kept and shown: what a peer can put into one is not trusted to be short.
pub(crate) fn shortened(error: &impl ToString) -> String {
    error.to_string().chars().filter(|character| !character.is_control()).take(200).collect()
}

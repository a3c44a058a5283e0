//! What does not stay: rows that are long over go in bounded batches ([`sweep`]), and a person's data goes when they ask
//! ([`erase`]). It may not touch an event: the log holds no personal data but salted commitments, and what goes is the salt.

mod erase;
mod sweep;
#[cfg(test)]
mod tests;

pub use self::erase::{EraseError, Erased, Person, erase};
pub use self::sweep::{Swept, keep_swept, sweep};

//! The inner door: the only writer. It owns Postgres, the events and the outbox, and everything that changes them.
//!
//! Each module is one capability with its domain types, its SQL and its tests. Nothing here reads a clock or draws randomness
//! except [`clock`], and nothing reaches the database except through a [`database::Scope`].

pub mod account;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod configuration;
pub mod consent;
pub mod credentials;
pub mod database;
pub mod doctor;
pub mod egress;
pub mod events;
pub mod external_issuers;
mod failpoint;
pub mod http;
pub mod mail;
pub mod oauth;
pub mod operators;
pub mod outbox;
pub mod pages;
pub mod policy;
pub mod projection;
pub mod projects;
pub mod registry;
pub mod retention;
pub mod service_tokens;
pub mod sessions;
pub mod sign_in;
pub mod signing_keys;
pub mod sync;
#[cfg(test)]
pub(crate) mod test_database;

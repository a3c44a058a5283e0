//! Gateward's book of rules: every decision, pure.
//!
//! The edge (wasm) and the origin (native) read the same rules from here, so what the edge lets through is what the
//! origin would have said. Nothing in this crate may read a clock, draw randomness, do I/O or panic on input: time,
//! randomness and the answers of look-ups come in as arguments, and what needs a look-up is said in the type
//! ([`decide::Verdict`]).
#![no_std]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]
#![cfg_attr(test, allow(clippy::string_slice))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address_range;
pub mod api_key;
pub mod assertion;
pub mod authorization_request;
pub mod base64url;
pub mod bounded;
pub mod client;
pub mod code;
pub mod corpus;
pub mod credential;
pub mod decide;
pub mod dpop;
pub mod form;
pub mod gcra;
pub mod header;
pub mod json;
pub mod jwt;
pub mod metadata;
pub mod oauth_error;
pub mod path;
pub mod pkce;
pub mod policy;
pub mod problem;
pub mod redirect_uri;
pub mod refresh_token;
pub mod revocation_statement;
pub mod scope;
pub mod time;
pub mod tlog;
pub mod trace_context;
pub mod upstream_assertion;

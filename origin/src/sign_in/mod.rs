//! Signing in: by a one-time code that is mailed, or by a one-time link that an operator makes. It ends in a session
//! ([`crate::sessions`]) and may not say what the session may do.
//!
//! Attacks that end here: guessing (one counter a person over all challenges, CVE-2025-64102), a code used twice or from another
//! browser (one statement consumes it), links to other hosts in mail (CVE-2025-64101), probing for accounts (one answer for all).

mod challenge;
mod code;
mod email_address;
mod limits;
mod link;
mod link_challenge;
mod person;
mod secret;
mod start;
#[cfg(test)]
mod tests;

use axum::{Router, routing::get};

pub use self::email_address::{EmailAddress, EmailFault};
pub use self::link_challenge::{IssuedLink, issue_link};
pub use self::secret::{CODE_DIGITS, CodeHashKey};
use crate::http::Origin;

/// The routes of signing in.
pub fn routes() -> Router<Origin> {
    Router::new()
        .route("/sign-in", get(start::show).post(start::submit))
        .route("/sign-in/code", get(code::show).post(code::submit))
        .route("/sign-in/link", get(link::show).post(link::submit))
}

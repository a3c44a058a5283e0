//! The policy compiler: from the rows of every workspace to the one [`shared::policy::Policy`] that both doors decide by. It only
//! reads what other capabilities wrote; of its own it writes versions, nothing else.

mod book;
mod compile;
mod content;
mod endpoint;
#[cfg(test)]
mod tests;

use axum::{Router, routing::get};

pub use self::book::PolicyBook;
pub use self::compile::{Compiled, PolicyError};
use crate::http::Origin;

/// `GET /internal/policy`: for edges, never forwarded by one.
pub fn routes() -> Router<Origin> {
    Router::new().route("/internal/policy", get(endpoint::policy))
}

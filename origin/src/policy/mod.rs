//! The policy compiler: from the rows of every workspace to the one [`shared::policy::Policy`] that both doors decide by. It only
//! reads what other capabilities wrote; of its own it writes versions, nothing else.

mod book;
mod compile;
mod confirm;
mod content;
mod endpoint;
mod filter;
mod reports;
mod revocations;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    routing::{get, post},
};

pub use self::book::PolicyBook;
pub use self::compile::{Compiled, PolicyError};
pub use self::reports::{Isolate, Propagation, propagation};
use crate::http::Origin;

/// What edges ask for themselves; they never forward it.
pub fn routes() -> Router<Origin> {
    Router::new()
        .route(shared::policy::TARGET, get(endpoint::policy))
        .route(shared::policy::ACKNOWLEDGEMENT_TARGET, post(reports::acknowledge))
        .route(shared::revocation_statement::TARGET, post(confirm::confirm))
}

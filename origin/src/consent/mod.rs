//! Consent: a person sees who asks for what, and says yes or no. It answers an authorization request that [`crate::oauth`] has found
//! to be right; codes and redirects are made there. It may not widen what was asked for.

mod endpoint;
mod pending;
mod remembered;
#[cfg(test)]
mod tests;
mod words;

use axum::{Router, routing::get};

pub use self::pending::PendingRequest;
pub use self::words::in_words;
use crate::http::Origin;

/// The routes of consent.
pub fn routes() -> Router<Origin> {
    Router::new().route("/consent", get(endpoint::show).post(endpoint::submit))
}

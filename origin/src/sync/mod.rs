//! Webhooks that bring accounts and API keys from where they are made: `/v1/sync/user`, `/v1/sync/api-key` and
//! `/v1/sync/backfill-api-keys`. Each proves itself by the secret in `X-Webhook-Secret`. Of a key nothing comes here but its hash: what
//! looks like the key itself is refused, wherever it stands. What is refused leaves a count and nothing else; no value that was sent is
//! repeated or logged.
//!
//! What arrives again changes nothing, what arrives late does not undo what is newer, and a key that was revoked stays revoked.

mod api_key;
mod backfill;
mod change;
mod fields;
mod key_record;
mod organization;
mod raw_key;
mod refused;
mod store;
#[cfg(test)]
mod tests;
mod user;
mod webhook;
mod write;

use axum::{Router, routing::post};

use crate::http::Origin;

/// How many backfills an origin carries out at once: each holds a batch in memory, and they meet in the same tables.
pub const BACKFILLS_AT_ONCE: usize = 2;

/// The routes.
pub fn routes() -> Router<Origin> {
    Router::new()
        .route("/v1/sync/user", post(user::sync))
        .route("/v1/sync/api-key", post(api_key::sync))
        .route("/v1/sync/backfill-api-keys", post(backfill::sync))
}

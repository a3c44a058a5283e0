//! OAuth 2.1 with PKCE (RFC 6749, RFC 7636, RFC 9700): authorization requests, codes, refresh families, access tokens, revocation. One
//! endpoint is one file with its errors. It may not show a page or know a session's cookie: [`crate::consent`] and [`crate::sessions`] do.

mod access_token;
mod authorization;
mod authorize;
mod client;
mod error;
mod form;
mod grant;
mod redeem;
mod refresh;
mod refresh_secret;
mod revoke;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod token;

use axum::{
    Router,
    routing::{get, post},
};

pub use self::access_token::Signer;
pub use self::authorization::{AuthorizationError, SignedIn, allow, deny};
pub use self::client::ClientSecret;
pub use self::grant::{end as end_grant, end_of_session as end_grants_of_session};
pub use self::refresh_secret::RefreshSecrets;
use crate::http::Origin;

/// The OAuth endpoints.
pub fn routes() -> Router<Origin> {
    Router::new()
        .route("/oauth/authorize", get(authorize::authorize).post(authorize::authorize))
        .route("/oauth/token", post(token::token))
        .route("/oauth/revoke", post(revoke::revoke))
}

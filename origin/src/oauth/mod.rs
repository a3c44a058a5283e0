//! OAuth 2.1 with PKCE (RFC 6749, RFC 7636, RFC 9700): authorization requests, codes, refresh families, clients that act for
//! themselves, revocation. One endpoint is one file with its errors, and so is a grant type; all end in [`issue`]. It may not show a page or know a session's cookie: [`crate::consent`] and [`crate::sessions`] do.

mod assertion;
mod authorization;
mod authorize;
mod client;
mod client_credentials;
mod client_key;
mod error;
mod form;
mod grant;
mod introspect;
mod introspected;
mod issue;
mod redeem;
mod refresh;
mod refresh_secret;
mod revoke;
mod signer;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod user_info;

use axum::{
    Router,
    routing::{get, post},
};

pub use self::authorization::{AuthorizationError, Denial, SignedIn, allow, deny};
pub use self::client::ClientSecret;
pub use self::client_key::{ClientKey, ClientKeyFault};
pub use self::grant::{end as end_grant, end_of_session as end_grants_of_session};
pub use self::refresh_secret::RefreshSecrets;
pub use self::signer::Signer;
use crate::http::Origin;

/// The OAuth endpoints.
pub fn routes() -> Router<Origin> {
    Router::new()
        .route("/oauth/authorize", get(authorize::authorize).post(authorize::authorize))
        .route("/oauth/token", post(token::token))
        .route("/oauth/revoke", post(revoke::revoke))
        .route("/oauth/introspect", post(introspect::introspect))
        .route("/oauth/userinfo", get(user_info::user_info).post(user_info::user_info))
}

//! Credentials that only the origin can tell: API keys of our making, and opaque tokens that somebody else issued and gave us the hash
//! of. What is stored is SHA-256 of the whole; the key itself is shown once. Every change moves the project's `credential_epoch` in
//! the same transaction, which is how edges learn that what they looked up is out of date.

mod create;
mod import;
mod list;
mod project;
mod resolve;
mod revoke;
#[cfg(test)]
mod tests;

use axum::{Router, routing::post};

pub use self::create::{ApiKeyText, CreatedKey, KeyRequest, create};
pub use self::import::{ImportRequest, import, parse_sha256};
pub use self::list::{ListedCredential, list};
pub(crate) use self::resolve::in_force;
pub use self::revoke::{Revoked, revoke};

use crate::{database::DatabaseError, events::AppendError, http::Origin};

/// `POST /internal/credentials/resolve`: for edges, never forwarded by one.
pub fn routes() -> Router<Origin> {
    Router::new().route("/internal/credentials/resolve", post(resolve::resolve))
}

/// Why a credential could not be made, imported or revoked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// There is no such project.
    #[error("there is no enabled project {slug:?}; `gateward apply` creates projects")]
    NoProject {
        /// What was asked for.
        slug: String,
    },
    /// There is no such credential.
    #[error("there is no API key or opaque token {id}; `gateward api-key list` names them all")]
    NoCredential {
        /// What was asked for.
        id: uuid::Uuid,
    },
    /// The same token is known already.
    #[error("a credential with this hash is known already; `gateward api-key list` names them all")]
    Known,
    /// The request is faulty.
    #[error("{field} {why}")]
    Faulty {
        /// Which part of it.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for CredentialError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

//! Service tokens: credentials of machines, signed by the active key. The token itself is shown once and stored nowhere; what is
//! stored is its `jti`, and that is what a revocation names.

mod issue;
mod list;
mod revoke;
#[cfg(test)]
mod tests;

pub use self::issue::{Issued, ServiceToken, TokenRequest, issue};
pub use self::list::{ListedToken, list};
pub use self::revoke::{Revoked, revoke};

use crate::database::DatabaseError;
use crate::events::AppendError;
use crate::signing_keys::SigningKeyError;

/// Why a service token could not be issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceTokenError {
    /// There is no such project.
    #[error("there is no enabled project {slug:?}; `gateward apply` creates projects")]
    NoProject {
        /// What was asked for.
        slug: String,
    },
    /// There is no such token.
    #[error("there is no service token {jti}; `gateward token list` names them all")]
    NoToken {
        /// What was asked for.
        jti: uuid::Uuid,
    },
    /// The request is faulty.
    #[error("{field} {why}")]
    Faulty {
        /// Which part of it.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no key to sign with.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The claims could not be signed.
    #[error("the token could not be signed")]
    Unsigned,
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for ServiceTokenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

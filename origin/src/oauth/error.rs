//! Faults of our own in OAuth's words (RFC 6749 §5.2 leaves them to HTTP; the codes are §4.1.2.1's). The log says what it was.

use shared::{decide::Refusal, oauth_error::OAuthError};

use crate::{database::DatabaseError, events::AppendError};

/// The database's.
pub(super) fn database(error: &DatabaseError) -> Refusal {
    match error {
        DatabaseError::Unreachable(_) | DatabaseError::Contended(_) => {
            tracing::warn!(%error, "refused for now");
            unavailable()
        }
        _ => internal(error),
    }
}

/// The event log's.
pub(super) fn append(error: &AppendError) -> Refusal {
    match error {
        AppendError::Database(error) => database(error),
        AppendError::Conflict { .. } => {
            tracing::warn!(%error, "refused for now");
            unavailable()
        }
        AppendError::Payload { .. } => internal(error),
    }
}

/// Anything else.
pub(super) fn internal(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(error = %error, "a request failed");
    Refusal::oauth(
        OAuthError::ServerError,
        "The request was not carried out. The log has the fault under this request id.",
    )
}

fn unavailable() -> Refusal {
    Refusal {
        retry_after: Some(1),
        ..Refusal::oauth(OAuthError::TemporarilyUnavailable, "The request was not carried out. Try again.")
    }
}

//! API keys that are made elsewhere and synced by webhook, by the names that the source's intent has. Not re-exported with the others:
//! a key of our own has an event of the same name, of another aggregate. Shapes are numbered by name, so that the two rise together.

use shared::scope::Scopes;
use uuid::Uuid;

use super::payloads;
use crate::events::field::{Moment, Name};

payloads! {
    /// The source made a key.
    ApiKey, 1: ApiKeyCreated {
        /// Whose it is.
        user_id: Uuid,
        /// The project it is for, if it is for one of the gateway yet.
        project_id: Option<Uuid>,
        /// What people know it by.
        name: Name,
        /// What it may do.
        permissions: Scopes,
        /// When it ends, if it does.
        expires_at: Option<Moment>,
        /// The source's stamp.
        source_updated_at: Option<Moment>,
    }
    /// The source changed what it says of a key.
    ApiKey, 1: ApiKeyUpdated {
        /// Whose it is.
        user_id: Uuid,
        /// The project it is for, if it is for one of the gateway yet.
        project_id: Option<Uuid>,
        /// What people know it by.
        name: Name,
        /// What it may do.
        permissions: Scopes,
        /// When it ends, if it does.
        expires_at: Option<Moment>,
        /// The source's stamp.
        source_updated_at: Option<Moment>,
    }
    /// The source put another secret in a key's place: the one before is refused from now on.
    ApiKey, 1: ApiKeyRotated {
        /// Whose it is.
        user_id: Uuid,
        /// The project it is for, if it is for one of the gateway yet.
        project_id: Option<Uuid>,
        /// What people know it by.
        name: Name,
        /// What it may do.
        permissions: Scopes,
        /// When it ends, if it does.
        expires_at: Option<Moment>,
        /// The source's stamp.
        source_updated_at: Option<Moment>,
    }
    /// The source revoked a key: for good.
    ApiKey, 1: ApiKeyRevoked {
        /// Whose it was.
        user_id: Uuid,
        /// The project it was for, if it was for one of the gateway.
        project_id: Option<Uuid>,
        /// What people knew it by.
        name: Name,
        /// The source's stamp.
        source_updated_at: Option<Moment>,
    }
}

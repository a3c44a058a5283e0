//! API keys, opaque tokens of others, and the keys of external issuers.

use shared::scope::Scopes;
use uuid::Uuid;

use super::payloads;
use crate::events::field::{Identifier, Moment, Name, RegisteredUri};

payloads! {
    /// There is an API key; the aggregate's id is its own.
    Credential, 1: ApiKeyCreated {
        /// The project it is for.
        project_id: Uuid,
        /// What people know it by.
        name: Name,
        /// `live` or `test`.
        environment: Identifier,
        /// What it may do.
        scopes: Scopes,
        /// Who asked for it.
        created_by: Name,
        /// When it ends, if it does.
        expires_at: Option<Moment>,
    }
    /// A token that somebody else issued is known by its hash.
    Credential, 1: OpaqueTokenImported {
        /// The project it is for.
        project_id: Uuid,
        /// What people know it by.
        name: Name,
        /// What it may do.
        scopes: Scopes,
        /// Who asked for it.
        imported_by: Name,
        /// When it ends, if it does.
        expires_at: Option<Moment>,
    }
    /// Other keys of an external issuer are believed from now on.
    Project, 1: ExternalIssuerKeysChanged {
        /// `iss`.
        issuer: RegisteredUri,
        /// The `kid`s of all of them.
        keys: Vec<Identifier>,
    }
    /// An API key or opaque token is refused from now on.
    Credential, 1: CredentialRevoked {
        /// The project it was for, if that is enabled.
        project_id: Option<Uuid>,
        /// Who asked for it.
        revoked_by: Name,
        /// Why.
        reason: Name,
    }
}

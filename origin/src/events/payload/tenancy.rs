//! Workspaces, projects, clients, service tokens, and the keys that sign.

use serde::Serialize;
use shared::scope::Scopes;
use uuid::Uuid;

use super::{payloads, words};
use crate::events::field::{EventField, Identifier, Moment, Name, RegisteredUri, WebOrigin};

words! {
    /// Whether a client can keep a secret (RFC 6749, 2.1).
    ClientKind {
        /// It cannot.
        Public,
        /// It can.
        Confidential,
    }
    /// What a service accepts.
    CredentialKind {
        /// An access token (RFC 9068).
        AccessToken,
        /// A service token.
        ServiceToken,
        /// A JWT of an issuer that the project trusts.
        ExternalToken,
        /// An API key.
        ApiKey,
        /// Another token that is known by its hash.
        OpaqueToken,
        /// A client certificate.
        ClientCertificate,
    }
}

/// A service as an event tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceState {
    /// The second segment of its path.
    pub slug: Identifier,
    /// Where it is.
    pub upstreams: Vec<RegisteredUri>,
    /// What every request needs.
    pub scopes: Scopes,
    /// What it accepts.
    pub credentials: Vec<CredentialKind>,
    /// How many requests need no credential.
    pub public_routes: u32,
}

impl EventField for ServiceState {}

payloads! {
    /// There is a workspace.
    Workspace, 1: WorkspaceCreated {
        /// Its short name.
        slug: Identifier,
        /// Its name.
        name: Name,
    }
    /// A workspace has another name.
    Workspace, 1: WorkspaceUpdated {
        /// Its name.
        name: Name,
    }
    /// There is a project.
    Project, 2: ProjectCreated {
        /// The first segment of its path.
        slug: Identifier,
        /// Its name.
        name: Name,
        /// All of its services.
        services: Vec<ServiceState>,
        /// The revision that holds all that was declared.
        revision: i64,
    }
    /// A project or one of its services is different now.
    Project, 3: ProjectUpdated {
        /// The first segment of its path; since version 3.
        slug: Identifier,
        /// Its name.
        name: Name,
        /// All of its services, as they are now.
        services: Vec<ServiceState>,
        /// The revision that holds all that was declared.
        revision: i64,
        /// The earlier revision that it repeats.
        restored_from: Option<i64>,
    }
    /// There is a client.
    Client, 3: ClientRegistered {
        /// `client_id`.
        client_id: Identifier,
        /// The project it belongs to.
        project_id: Uuid,
        /// What people see on the consent page.
        name: Name,
        /// Public or confidential.
        kind: ClientKind,
        /// Where codes may go.
        redirect_uris: Vec<RegisteredUri>,
        /// Whose pages may call the token endpoint for it; since version 2.
        origins: Vec<WebOrigin>,
        /// What it may ask for.
        scopes: Scopes,
        /// How it authenticates, where only one way is open to it; since version 3.
        token_endpoint_auth_method: Option<Identifier>,
        /// How it may get tokens; since version 3, before which it was `authorization_code` and `refresh_token`.
        grant_types: Vec<Identifier>,
        /// Thumbprints of its public keys (RFC 7638); since version 3.
        keys: Vec<Identifier>,
    }
    /// A client is different now.
    Client, 3: ClientUpdated {
        /// `client_id`.
        client_id: Identifier,
        /// The project it belongs to.
        project_id: Uuid,
        /// What people see on the consent page.
        name: Name,
        /// Public or confidential.
        kind: ClientKind,
        /// Where codes may go.
        redirect_uris: Vec<RegisteredUri>,
        /// Whose pages may call the token endpoint for it; since version 2.
        origins: Vec<WebOrigin>,
        /// What it may ask for.
        scopes: Scopes,
        /// How it authenticates, where only one way is open to it; since version 3.
        token_endpoint_auth_method: Option<Identifier>,
        /// How it may get tokens; since version 3, before which it was `authorization_code` and `refresh_token`.
        grant_types: Vec<Identifier>,
        /// Thumbprints of its public keys (RFC 7638); since version 3.
        keys: Vec<Identifier>,
        /// Whether it may do anything at all.
        enabled: bool,
    }
    /// A service token was issued; the aggregate's id is its `jti`.
    ServiceToken, 1: ServiceTokenIssued {
        /// The project it is for.
        project_id: Uuid,
        /// The service that will present it.
        service: Identifier,
        /// What it may do.
        scopes: Scopes,
        /// Who asked for it.
        issued_by: Name,
        /// When it ends.
        expires_at: Moment,
    }
    /// A service token is refused from now on.
    ServiceToken, 1: ServiceTokenRevoked {
        /// The project it was for.
        project_id: Uuid,
        /// Who asked for it.
        revoked_by: Name,
        /// Why.
        reason: Name,
    }
    /// A key signs from now on.
    SigningKey, 1: SigningKeyActivated {
        /// `kid`.
        kid: Identifier,
        /// `alg`.
        algorithm: Identifier,
    }
}

//! Who asks the database. Every transaction runs for exactly one actor, and the actor decides what it can see.

use serde_json::{Value, json};
use uuid::Uuid;

/// The workspace that owns what belongs to a person and to no tenant (accounts, sessions) and the gateway's own keys.
pub const PLATFORM: Uuid = Uuid::nil();

/// On whose behalf a transaction runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody or something acting within one workspace. Sees that workspace only.
    Workspace {
        /// The workspace; not the platform's.
        workspace_id: Uuid,
        /// The person behind it, where there is one; what is theirs is visible too.
        user_id: Option<Uuid>,
        /// The service that asks, for the audit trail.
        service_name: String,
    },
    /// A person acting on what is theirs: account, sessions, consents, grants.
    Person {
        /// The person.
        user_id: Uuid,
    },
    /// A part of the gateway that belongs to no tenant.
    System(Component),
}

/// A part of the gateway that acts for no tenant, by the role it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Sign-in, sessions, the look-up of a credential: the person is not known yet.
    Authenticator,
    /// Authorization, token and revocation endpoints: the client is not a tenant's user.
    AuthorizationServer,
    /// Compiles the policy from every workspace.
    PolicyCompiler,
    /// A command given by whoever runs the gateway.
    Operator,
    /// Carries the outbox out.
    Forwarder,
    /// Takes over accounts, and finds or makes the workspaces, that webhooks bring.
    Synchronizer,
    /// Writes into the read database.
    Projector,
    /// Writes into the client registry.
    Registrar,
    /// Rebuilds a store that is made of events: owns its tables. Only an administrator's login may act as it.
    Rebuilder,
    /// Puts events into the audit log and signs its checkpoints.
    Sealer,
    /// Writes checkpoints into a database of somebody else's.
    CheckpointPublisher,
    /// Reads events and statistics.
    Auditor,
    /// Deletes what is long over.
    Retention,
}

impl Component {
    /// The name that stands in an event's metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authenticator => "authenticator",
            Self::AuthorizationServer => "authorization_server",
            Self::PolicyCompiler => "policy_compiler",
            Self::Operator => "operator",
            Self::Forwarder => "forwarder",
            Self::Synchronizer => "synchronizer",
            Self::Projector => "projector",
            Self::Registrar => "registrar",
            Self::Rebuilder => "rebuilder",
            Self::Sealer => "sealer",
            Self::CheckpointPublisher => "checkpoint_publisher",
            Self::Auditor => "auditor",
            Self::Retention => "retention",
        }
    }
}

impl Actor {
    /// The group role the transaction takes.
    pub(crate) fn role(&self) -> &'static str {
        match self {
            Self::Workspace { .. } | Self::Person { .. } => "gateward_app",
            Self::System(component) => match component {
                Component::Authenticator
                | Component::AuthorizationServer
                | Component::PolicyCompiler
                | Component::Synchronizer
                | Component::Operator => "gateward_system",
                Component::Forwarder => "gateward_forwarder",
                Component::Projector => "gateward_projector",
                Component::Registrar => "gateward_registrar",
                Component::Rebuilder => "gateward_owner",
                Component::Sealer => "gateward_sealer",
                Component::CheckpointPublisher => "gateward_checkpoint_publisher",
                Component::Auditor => "gateward_auditor",
                Component::Retention => "gateward_retention",
            },
        }
    }

    /// The value of `app.workspace_id`; empty means no workspace, and so no rows of one.
    pub(crate) fn workspace_setting(&self) -> String {
        match self {
            Self::Workspace { workspace_id, .. } => workspace_id.to_string(),
            Self::Person { .. } => PLATFORM.to_string(),
            Self::System(_) => String::new(),
        }
    }

    /// The value of `app.user_id`; empty means nobody.
    pub(crate) fn user_setting(&self) -> String {
        match self {
            Self::Workspace { user_id: Some(user_id), .. } | Self::Person { user_id } => user_id.to_string(),
            Self::Workspace { user_id: None, .. } | Self::System(_) => String::new(),
        }
    }

    /// The schemas that unqualified names are looked up in.
    pub(crate) fn search_path(&self) -> &'static str {
        match self {
            Self::System(
                Component::Projector
                | Component::Registrar
                | Component::Rebuilder
                | Component::CheckpointPublisher,
            ) => "public, pg_temp",
            _ => "auth_gateway, security_service, pg_temp",
        }
    }

    /// The actor as it stands in an event's metadata and in a revocation.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Workspace { workspace_id, user_id, .. } => {
                json!({"kind": "workspace", "workspace_id": workspace_id, "user_id": user_id})
            }
            Self::Person { user_id } => json!({"kind": "person", "user_id": user_id}),
            Self::System(component) => json!({"kind": "system", "component": component.name()}),
        }
    }

    /// The service's name as it stands in an event's metadata.
    pub fn service_name(&self) -> &str {
        match self {
            Self::Workspace { service_name, .. } => service_name,
            Self::Person { .. } | Self::System(_) => "gateward",
        }
    }
}

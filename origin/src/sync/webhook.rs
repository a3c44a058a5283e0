//! Who sends a webhook: an extractor that only the secret makes. It may not say more of a wrong secret than that it is wrong.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use shared::header::WEBHOOK_SECRET;
use uuid::Uuid;

use super::refused::SyncRefused;
use crate::{
    database::{Actor, Component, Database, DatabaseError, Scope},
    http::{EdgeCaller, Origin, Refused, ServiceName},
};

/// What whoever knows the secret is known as; what it calls itself stands beside it.
pub(super) const KNOWN_AS: &str = "sync";

/// Somebody who knows the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Webhook {
    service_name: Option<String>,
    request_id: Uuid,
}

impl Webhook {
    /// What it calls itself, or else what it is known as.
    pub(super) fn name(&self) -> &str {
        self.service_name.as_deref().unwrap_or(KNOWN_AS)
    }

    /// A transaction for it within one workspace, which sees nothing else.
    pub(super) async fn in_workspace(
        &self,
        database: &Database,
        workspace_id: Uuid,
    ) -> Result<Scope, DatabaseError> {
        let service_name = KNOWN_AS.to_owned();
        self.scope(database, Actor::Workspace { workspace_id, user_id: None, service_name }).await
    }

    /// A transaction for it where there is no workspace: accounts, and finding the workspace itself.
    pub(super) async fn on_platform(&self, database: &Database) -> Result<Scope, DatabaseError> {
        self.scope(database, Actor::System(Component::Synchronizer)).await
    }

    async fn scope(&self, database: &Database, actor: Actor) -> Result<Scope, DatabaseError> {
        let scope = database.scope(actor).await?.correlated(self.request_id);
        Ok(match &self.service_name {
            Some(name) => scope.named(name.clone()),
            None => scope,
        })
    }
}

impl FromRequestParts<Origin> for Webhook {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, origin: &Origin) -> Result<Self, Refused> {
        let caller = EdgeCaller::from_request_parts(parts, origin).await?;
        let judged = judge(&parts.headers, origin);
        // No handler needs it any more.
        parts.headers.remove(WEBHOOK_SECRET);
        judged.map_err(|refused| refused.counted(origin))?;
        let service_name = ServiceName::from_request_parts(parts, origin)
            .await
            .map_err(|refused| SyncRefused::ServiceName(refused).counted(origin))?;
        Ok(Self { service_name: service_name.into_inner(), request_id: caller.correlation_id() })
    }
}

fn judge(headers: &HeaderMap, origin: &Origin) -> Result<(), SyncRefused> {
    let mut secrets = headers.get_all(WEBHOOK_SECRET).iter();
    let (Some(secret), None) = (secrets.next(), secrets.next()) else {
        return Err(SyncRefused::SecretMissing);
    };
    let is_known = origin.configuration.webhook_secrets.admits(secret.as_bytes());
    if is_known { Ok(()) } else { Err(SyncRefused::SecretWrong) }
}

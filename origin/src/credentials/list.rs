//! Lists API keys and opaque tokens. The credentials themselves are not there to be listed, and neither are their hashes.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::CredentialError;
use crate::database::{Actor, Component, Database};

/// What is known of a credential.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct ListedCredential {
    /// Its id.
    pub id: Uuid,
    /// `api_key` or `opaque_token`.
    pub kind: String,
    /// The project's slug.
    pub project: String,
    /// What people know it by.
    pub name: String,
    /// How an API key begins.
    pub prefix: String,
    /// Who acts with it, where that was said.
    pub subject: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Where it may come from; anywhere when there is none.
    pub addresses: Vec<String>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it ends, if it does.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// Why.
    pub revoke_reason: Option<String>,
}

/// Every credential of a project, or of all of them, newest first.
pub async fn list(
    database: &Database,
    project: Option<&str>,
) -> Result<Vec<ListedCredential>, CredentialError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let credentials = sqlx::query_as(
        "SELECT k.id, k.kind, p.slug AS project, k.name, k.prefix, k.subject, k.scopes, k.addresses::text[] AS addresses,
                k.created_by, k.created_at, k.expires_at, k.revoked_at, k.revoke_reason
         FROM api_keys AS k
         JOIN security_service.projects AS s ON s.id = k.project_id
         JOIN auth_gateway.projects AS p ON p.id = s.gateway_project_id
         WHERE $1::text IS NULL OR p.slug = $1
         ORDER BY k.created_at DESC, k.id DESC",
    )
    .bind(project)
    .fetch_all(scope.connection())
    .await?;
    Ok(credentials)
}

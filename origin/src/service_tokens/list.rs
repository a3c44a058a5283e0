//! Lists service tokens. The tokens themselves are not there to be listed.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::ServiceTokenError;
use crate::database::{Actor, Component, Database};

/// What is known of a token.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct ListedToken {
    /// Its id.
    pub jti: Uuid,
    /// The project's slug.
    pub project: String,
    /// The service it was issued to.
    pub service: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Who asked for it.
    pub issued_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// Why.
    pub revoke_reason: Option<String>,
}

/// Every token of a project, or of all of them, newest first.
pub async fn list(database: &Database, project: Option<&str>) -> Result<Vec<ListedToken>, ServiceTokenError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let tokens = sqlx::query_as(
        "SELECT t.jti, p.slug AS project, t.service, t.scopes, t.issued_by, t.issued_at, t.expires_at, t.revoked_at,
                t.revoke_reason
         FROM gateway_tokens AS t JOIN projects AS p ON p.id = t.project_id
         WHERE $1::text IS NULL OR p.slug = $1
         ORDER BY t.issued_at DESC, t.jti DESC",
    )
    .bind(project)
    .fetch_all(scope.connection())
    .await?;
    Ok(tokens)
}

//! Revokes an API key or opaque token. The next policy refuses it by its id, and the moved epoch makes edges forget that they ever
//! looked it up.

use std::time::Duration;

use uuid::Uuid;

use super::{CredentialError, project};
use crate::{
    database::{Actor, Component, Database},
    events::{NewEvent, field::Name, payload::CredentialRevoked},
};

/// How long the policy names a revoked credential: longer than an edge may go by an answer it looked up before, so that none that
/// was in flight while the policy changed is believed. After that the look-up alone refuses it.
const NAMED_FOR: Duration = Duration::from_hours(1);

/// What revoking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked now.
    Now,
    /// It had been revoked before.
    Before,
}

/// Revokes a credential by its id.
pub async fn revoke(
    database: &Database,
    id: Uuid,
    revoked_by: &str,
    reason: &str,
) -> Result<Revoked, CredentialError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let known: Option<String> = sqlx::query_scalar(
        "SELECT p.slug FROM api_keys AS k
         JOIN security_service.projects AS s ON s.id = k.project_id
         JOIN auth_gateway.projects AS p ON p.id = s.gateway_project_id
         WHERE k.id = $1",
    )
    .bind(id)
    .fetch_optional(scope.connection())
    .await?;
    let slug = known.ok_or(CredentialError::NoCredential { id })?;
    // Of a disabled project too: its epoch does not matter then, but must not be what keeps a key alive.
    let project = match project::begin_change(&mut scope, &slug).await {
        Err(CredentialError::NoProject { .. }) => None,
        project => Some(project?),
    };
    let now = scope.clock().now();
    let revoked: Option<(Uuid,)> = sqlx::query_as(
        "UPDATE api_keys SET status = 'revoked', revoked_at = $2, revoked_by = $3, revoke_reason = $4
         WHERE id = $1 AND status <> 'revoked'
         RETURNING workspace_id",
    )
    .bind(id)
    .bind(now)
    .bind(revoked_by)
    .bind(reason)
    .fetch_optional(scope.connection())
    .await?;
    let Some((workspace_id,)) = revoked else {
        // Nothing changed, so the epoch stays as well.
        scope.rollback().await?;
        return Ok(Revoked::Before);
    };
    sqlx::query(
        "INSERT INTO revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
         VALUES ('jti', $1, $2, $3, $4, $5, $6, $3)
         ON CONFLICT (kind, value) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(workspace_id)
    .bind(now)
    .bind(now + NAMED_FOR)
    .bind(reason)
    .bind(scope.actor().to_json())
    .execute(scope.connection())
    .await?;
    let event = CredentialRevoked {
        project_id: project.map(|project| project.id),
        revoked_by: Name::of(revoked_by),
        reason: Name::of(reason),
    };
    scope.append(NewEvent::of(workspace_id, id, &event)).await?;
    scope.commit().await?;
    Ok(Revoked::Now)
}

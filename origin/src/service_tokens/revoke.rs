//! Revokes a service token: the row says so, the policy will name its `jti`, the event tells why. Revoking again changes nothing.

use time::OffsetDateTime;
use uuid::Uuid;

use super::ServiceTokenError;
use crate::database::{Actor, Component, Database};
use crate::events::NewEvent;
use crate::events::field::Name;
use crate::events::payload::ServiceTokenRevoked;

/// What revoking came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// It is revoked now.
    Now,
    /// It had been revoked before.
    Before,
}

/// Revokes a token by its id.
pub async fn revoke(
    database: &Database,
    jti: Uuid,
    revoked_by: &str,
    reason: &str,
) -> Result<Revoked, ServiceTokenError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let now = scope.clock().now();
    let revoked: Option<(Uuid, Uuid, OffsetDateTime)> = sqlx::query_as(
        "UPDATE gateway_tokens SET revoked_at = $2, revoked_by = $3, revoke_reason = $4
         WHERE jti = $1 AND revoked_at IS NULL
         RETURNING workspace_id, project_id, expires_at",
    )
    .bind(jti)
    .bind(now)
    .bind(revoked_by)
    .bind(reason)
    .fetch_optional(scope.connection())
    .await?;
    let Some((workspace_id, project_id, expires_at)) = revoked else {
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM gateway_tokens WHERE jti = $1)")
            .bind(jti)
            .fetch_one(scope.connection())
            .await?;
        return if known { Ok(Revoked::Before) } else { Err(ServiceTokenError::NoToken { jti }) };
    };
    sqlx::query(
        "INSERT INTO revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
         VALUES ('jti', $1, $2, $3, $4, $5, $6, $3)
         ON CONFLICT (kind, value) DO NOTHING",
    )
    .bind(jti.to_string())
    .bind(workspace_id)
    .bind(now)
    .bind(expires_at)
    .bind(reason)
    .bind(scope.actor().to_json())
    .execute(scope.connection())
    .await?;
    let event =
        ServiceTokenRevoked { project_id, revoked_by: Name::of(revoked_by), reason: Name::of(reason) };
    scope.append(NewEvent::of(workspace_id, jti, &event)).await?;
    scope.commit().await?;
    Ok(Revoked::Now)
}

//! The project that a credential belongs to, in both schemas. It may not outlive the transaction it was locked in.

use uuid::Uuid;

use super::CredentialError;
use crate::database::Scope;

/// A project whose credentials are about to change. Its row is locked.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct ChangingProject {
    pub(super) id: Uuid,
    pub(super) workspace_id: Uuid,
    name: String,
}

/// Locks a project and moves its epoch, once for this transaction.
pub(super) async fn begin_change(scope: &mut Scope, slug: &str) -> Result<ChangingProject, CredentialError> {
    sqlx::query_as(
        "UPDATE projects SET credential_epoch = credential_epoch + 1 WHERE slug = $1 AND enabled
         RETURNING id, workspace_id, name",
    )
    .bind(slug)
    .fetch_optional(scope.connection())
    .await?
    .ok_or_else(|| CredentialError::NoProject { slug: slug.to_owned() })
}

/// The project's row in the security service, which is made when it is the first credential's. The lock on the project keeps two from
/// making it at once.
pub(super) async fn security_project(
    scope: &mut Scope,
    project: &ChangingProject,
) -> Result<Uuid, CredentialError> {
    let known: Option<Uuid> = sqlx::query_scalar(
        "SELECT id FROM security_service.projects WHERE gateway_project_id = $1 ORDER BY created_at, id LIMIT 1",
    )
    .bind(project.id)
    .fetch_optional(scope.connection())
    .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    let (id, now) = (scope.new_id(), scope.clock().now());
    sqlx::query(
        "INSERT INTO security_service.projects (id, workspace_id, gateway_project_id, name, created_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id)
    .bind(project.workspace_id)
    .bind(project.id)
    .bind(&project.name)
    .bind(now)
    .execute(scope.connection())
    .await?;
    Ok(id)
}

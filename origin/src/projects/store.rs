//! Reads and writes of workspaces, projects, services and clients, within the scope they are given.

use shared::policy::{Credential, PublicRoute};
use shared::scope::Scopes;
use sqlx::types::Json;
use uuid::Uuid;

use super::declaration::{ClientDeclaration, ProjectDeclaration, ServiceDeclaration, WorkspaceDeclaration};
use crate::database::Scope;

/// A workspace as it was found or made. Its row is locked, so that two who apply at once take turns.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct WorkspaceRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) is_new: bool,
}

pub(super) async fn lock_workspace(
    scope: &mut Scope,
    workspace: &WorkspaceDeclaration,
) -> Result<WorkspaceRow, sqlx::Error> {
    let (id, now) = (scope.new_id(), scope.clock().now());
    sqlx::query_as(
        "INSERT INTO workspaces (id, slug, name, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (slug) DO UPDATE SET slug = excluded.slug
         RETURNING id, name, id = $1 AS is_new",
    )
    .bind(id)
    .bind(&workspace.slug)
    .bind(&workspace.name)
    .bind(now)
    .fetch_one(scope.connection())
    .await
}

pub(super) async fn rename_workspace(scope: &mut Scope, id: Uuid, name: &str) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    sqlx::query("UPDATE workspaces SET name = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(name)
        .bind(now)
        .execute(scope.connection())
        .await?;
    Ok(())
}

/// slug, upstreams, scopes, public, credentials
type ServiceRow = (String, Vec<String>, Vec<String>, Json<Vec<PublicRoute>>, Vec<String>);

/// A project's id, workspace and present state.
pub(super) async fn find_project(
    scope: &mut Scope,
    slug: &str,
) -> Result<Option<(Uuid, Uuid, ProjectDeclaration)>, sqlx::Error> {
    let found: Option<(Uuid, Uuid, String)> =
        sqlx::query_as("SELECT id, workspace_id, name FROM projects WHERE slug = $1")
            .bind(slug)
            .fetch_optional(scope.connection())
            .await?;
    let Some((id, workspace_id, name)) = found else { return Ok(None) };
    let rows: Vec<ServiceRow> = sqlx::query_as(
        "SELECT slug, upstreams, scopes, public, credentials FROM services
         WHERE project_id = $1 AND enabled ORDER BY slug COLLATE \"C\"",
    )
    .bind(id)
    .fetch_all(scope.connection())
    .await?;
    let services =
        rows.into_iter().map(|(slug, upstreams, scopes, public, credentials)| ServiceDeclaration {
            slug,
            upstreams,
            scopes: scopes.into_iter().collect(),
            public: public.0,
            credentials: credentials.iter().filter_map(|name| Credential::of_name(name)).collect(),
        });
    Ok(Some((
        id,
        workspace_id,
        ProjectDeclaration { slug: slug.to_owned(), name, services: services.collect() },
    )))
}

/// Writes a project and makes its services exactly the declared ones.
pub(super) async fn write_project(
    scope: &mut Scope,
    id: Uuid,
    workspace_id: Uuid,
    project: &ProjectDeclaration,
) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    sqlx::query(
        "INSERT INTO projects (id, workspace_id, slug, name, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, updated_at = excluded.updated_at",
    )
    .bind(id)
    .bind(workspace_id)
    .bind(&project.slug)
    .bind(&project.name)
    .bind(now)
    .execute(scope.connection())
    .await?;
    let slugs: Vec<&str> = project.services.iter().map(|service| service.slug.as_str()).collect();
    sqlx::query("DELETE FROM services WHERE project_id = $1 AND slug <> ALL ($2)")
        .bind(id)
        .bind(slugs)
        .execute(scope.connection())
        .await?;
    for service in &project.services {
        let credentials: Vec<&str> = service.credentials.iter().map(|kind| kind.name()).collect();
        let service_id = scope.new_id();
        sqlx::query(
            "INSERT INTO services
                 (id, workspace_id, project_id, slug, upstreams, scopes, public, credentials, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
             ON CONFLICT (project_id, slug) DO UPDATE
             SET upstreams = excluded.upstreams, scopes = excluded.scopes, public = excluded.public,
                 credentials = excluded.credentials, enabled = true, updated_at = excluded.updated_at",
        )
        .bind(service_id)
        .bind(workspace_id)
        .bind(id)
        .bind(&service.slug)
        .bind(&service.upstreams)
        .bind(scope_column(&service.scopes))
        .bind(Json(&service.public))
        .bind(credentials)
        .bind(now)
        .execute(scope.connection())
        .await?;
    }
    Ok(())
}

/// A client's id, workspace, present state, and whether it is enabled.
pub(super) async fn find_client(
    scope: &mut Scope,
    client_id: &str,
) -> Result<Option<(Uuid, Uuid, ClientDeclaration, bool)>, sqlx::Error> {
    type Row = (Uuid, Uuid, String, String, Vec<String>, Vec<String>, bool, bool);
    let found: Option<Row> = sqlx::query_as(
        "SELECT c.id, c.workspace_id, c.name, p.slug, c.redirect_uris, c.scopes, c.kind = 'confidential',
                c.enabled
         FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.client_id = $1",
    )
    .bind(client_id)
    .fetch_optional(scope.connection())
    .await?;
    Ok(found.map(|(id, workspace_id, name, project, redirect_uris, scopes, confidential, enabled)| {
        let scopes = scopes.into_iter().collect();
        let client_id = client_id.to_owned();
        let client = ClientDeclaration { client_id, name, project, redirect_uris, scopes, confidential };
        (id, workspace_id, client, enabled)
    }))
}

/// Writes a client; a new one is enabled, a known one stays as it is. `secret_hash` is of a new secret; without one a confidential client
/// keeps the secret it has.
pub(super) async fn write_client(
    scope: &mut Scope,
    id: Uuid,
    workspace_id: Uuid,
    project_id: Uuid,
    client: &ClientDeclaration,
    secret_hash: Option<[u8; 32]>,
) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    sqlx::query(
        "INSERT INTO oauth_clients
             (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, kind, secret_hash,
              created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8,
                 coalesce($9, (SELECT secret_hash FROM oauth_clients WHERE id = $1 AND $8 = 'confidential')), $10, $10)
         ON CONFLICT (id) DO UPDATE
         SET project_id = excluded.project_id, name = excluded.name, redirect_uris = excluded.redirect_uris,
             scopes = excluded.scopes, kind = excluded.kind, secret_hash = excluded.secret_hash,
             updated_at = excluded.updated_at",
    )
    .bind(id)
    .bind(&client.client_id)
    .bind(workspace_id)
    .bind(project_id)
    .bind(&client.name)
    .bind(&client.redirect_uris)
    .bind(scope_column(&client.scopes))
    .bind(if client.confidential { "confidential" } else { "public" })
    .bind(secret_hash.as_ref().map(|hash| &hash[..]))
    .bind(now)
    .execute(scope.connection())
    .await?;
    Ok(())
}

fn scope_column(scopes: &Scopes) -> Vec<&str> {
    scopes.iter().collect()
}

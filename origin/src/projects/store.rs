//! Reads and writes of workspaces, and of projects with all they have, within the scope they are given.

use serde_json::Value;
use shared::policy::{CertificateIdentity, Cors, Limit};
use shared::scope::Scopes;
use sqlx::types::Json;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

use super::declaration::{
    CertificateDeclaration, IssuerDeclaration, ProjectDeclaration, ServiceDeclaration, WorkspaceDeclaration,
};
use super::rows::{self, ServiceRow, read, read_scopes};
use crate::database::{Scope, sqlstate};

/// A workspace as it was found or made. Its row is locked, so that two who apply at once take turns.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct WorkspaceRow {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) is_new: bool,
}

/// A project as it was found.
#[derive(Debug, Clone)]
pub(super) struct ProjectRecord {
    pub(super) id: Uuid,
    pub(super) workspace_id: Uuid,
    /// The newest revision; 0 while there is none.
    pub(super) revision: i64,
    pub(super) declaration: ProjectDeclaration,
}

/// Why a project cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// A row holds what nothing here writes.
    #[error("a row of {table} of project {slug:?} cannot be read")]
    Row {
        /// The table.
        table: &'static str,
        /// The project.
        slug: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
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

/// A project, locked until the scope ends: whoever else would change it waits, and then sees what was changed here.
pub(super) async fn lock_project(scope: &mut Scope, slug: &str) -> Result<Option<ProjectRecord>, ReadError> {
    let locked: Option<Uuid> = sqlx::query_scalar("SELECT id FROM projects WHERE slug = $1 FOR UPDATE")
        .bind(slug)
        .fetch_optional(scope.connection())
        .await?;
    if locked.is_some() { find_project(scope, slug).await } else { Ok(None) }
}

/// A project, as far as the scope sees it.
pub(super) async fn find_project(scope: &mut Scope, slug: &str) -> Result<Option<ProjectRecord>, ReadError> {
    type Row = (Uuid, Uuid, String, i64, Option<Json<Value>>, Json<Value>);
    let found: Option<Row> =
        sqlx::query_as("SELECT id, workspace_id, name, revision, cors, limits FROM projects WHERE slug = $1")
            .bind(slug)
            .fetch_optional(scope.connection())
            .await?;
    let Some((id, workspace_id, name, revision, cors, limits)) = found else { return Ok(None) };
    let unreadable = |table| ReadError::Row { table, slug: slug.to_owned() };
    let cors: Option<Cors> =
        cors.as_ref().map(|cors| read(cors).ok_or_else(|| unreadable("projects"))).transpose()?;
    let limits: Vec<Limit> = read(&limits).ok_or_else(|| unreadable("projects"))?;
    let rows: Vec<ServiceRow> = sqlx::query_as(
        "SELECT project_id, slug, upstreams, upstream_settings, rewrites, methods, scopes, credentials, public, routes,
                max_body_bytes, timeout_millis, hard_seconds, limits, assertion
         FROM services WHERE project_id = $1 AND enabled ORDER BY slug COLLATE \"C\"",
    )
    .bind(id)
    .fetch_all(scope.connection())
    .await?;
    let services = rows.into_iter().map(|row| {
        let settings = row.settings().ok_or_else(|| unreadable("services"))?;
        Ok(ServiceDeclaration { slug: row.slug, settings })
    });
    let services = services.collect::<Result<_, ReadError>>()?;
    let declaration = ProjectDeclaration {
        slug: slug.to_owned(),
        name,
        cors,
        limits,
        services,
        issuers: find_issuers(scope, id).await?,
        certificates: find_certificates(scope, id).await?,
    };
    Ok(Some(ProjectRecord { id, workspace_id, revision, declaration }))
}

/// Whether nobody has a slug, of whatever workspace: found out by taking it and giving it back.
pub(super) async fn is_free(scope: &mut Scope, workspace_id: Uuid, slug: &str) -> Result<bool, sqlx::Error> {
    let (id, now) = (scope.new_id(), scope.clock().now());
    sqlx::query("SAVEPOINT taking").execute(scope.connection()).await?;
    let taken = sqlx::query(
        "INSERT INTO projects (id, workspace_id, slug, name, created_at, updated_at) VALUES ($1, $2, $3, $3, $4, $4)",
    )
    .bind(id)
    .bind(workspace_id)
    .bind(slug)
    .bind(now)
    .execute(scope.connection())
    .await;
    sqlx::query("ROLLBACK TO SAVEPOINT taking").execute(scope.connection()).await?;
    match taken {
        Ok(_) => Ok(true),
        Err(error) if sqlstate(&error).as_deref() == Some("23505") => Ok(false),
        Err(error) => Err(error),
    }
}

async fn find_issuers(scope: &mut Scope, project_id: Uuid) -> Result<Vec<IssuerDeclaration>, sqlx::Error> {
    type Row = (String, String, Vec<String>, Vec<String>, String);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT issuer, jwks_uri, audiences, scopes, scope_claim FROM external_issuers
         WHERE project_id = $1 ORDER BY issuer COLLATE \"C\"",
    )
    .bind(project_id)
    .fetch_all(scope.connection())
    .await?;
    let read = |(issuer, jwks_uri, audiences, scopes, scope_claim): Row| IssuerDeclaration {
        issuer,
        jwks_uri,
        audiences,
        scopes: scopes.into_iter().collect(),
        scope_claim,
    };
    Ok(rows.into_iter().map(read).collect())
}

async fn find_certificates(
    scope: &mut Scope,
    project_id: Uuid,
) -> Result<Vec<CertificateDeclaration>, sqlx::Error> {
    type Row = (String, [u8; 32], String, Vec<String>, Option<OffsetDateTime>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, thumbprint, service, scopes, not_after FROM project_certificates
         WHERE project_id = $1 ORDER BY id COLLATE \"C\"",
    )
    .bind(project_id)
    .fetch_all(scope.connection())
    .await?;
    let read = |(id, thumbprint, service, scopes, not_after): Row| CertificateDeclaration {
        thumbprint,
        identity: CertificateIdentity {
            id,
            service,
            scopes: read_scopes(&scopes).unwrap_or_default(),
            not_after: not_after.map(|end| u64::try_from(end.unix_timestamp()).unwrap_or_default()),
        },
    };
    Ok(rows.into_iter().map(read).collect())
}

/// Writes a project and makes all it has exactly what is declared.
pub(super) async fn write_project(
    scope: &mut Scope,
    id: Uuid,
    workspace_id: Uuid,
    project: &ProjectDeclaration,
) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    sqlx::query(
        "INSERT INTO projects (id, workspace_id, slug, name, cors, limits, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
         ON CONFLICT (id) DO UPDATE
         SET name = excluded.name, cors = excluded.cors, limits = excluded.limits, updated_at = excluded.updated_at",
    )
    .bind(id)
    .bind(workspace_id)
    .bind(&project.slug)
    .bind(&project.name)
    .bind(project.cors.as_ref().map(Json))
    .bind(Json(&project.limits))
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
        write_service(scope, id, workspace_id, service).await?;
    }
    write_issuers(scope, id, workspace_id, &project.issuers).await?;
    write_certificates(scope, id, workspace_id, &project.certificates).await
}

async fn write_service(
    scope: &mut Scope,
    project_id: Uuid,
    workspace_id: Uuid,
    ServiceDeclaration { slug, settings }: &ServiceDeclaration,
) -> Result<(), sqlx::Error> {
    let (service_id, now) = (scope.new_id(), scope.clock().now());
    let upstreams: Vec<&str> = settings.upstreams.iter().map(|upstream| upstream.url.as_str()).collect();
    let credentials: Vec<&str> = settings.credentials.iter().map(|kind| kind.name()).collect();
    sqlx::query(
        "INSERT INTO services
             (id, workspace_id, project_id, slug, upstreams, upstream_settings, rewrites, methods, scopes, credentials, public,
              routes, max_body_bytes, timeout_millis, hard_seconds, limits, assertion, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18)
         ON CONFLICT (project_id, slug) DO UPDATE
         SET upstreams = excluded.upstreams, upstream_settings = excluded.upstream_settings, rewrites = excluded.rewrites,
             methods = excluded.methods, scopes = excluded.scopes, credentials = excluded.credentials,
             public = excluded.public, routes = excluded.routes, max_body_bytes = excluded.max_body_bytes,
             timeout_millis = excluded.timeout_millis, hard_seconds = excluded.hard_seconds, limits = excluded.limits,
             assertion = excluded.assertion, enabled = true, updated_at = excluded.updated_at",
    )
    .bind(service_id)
    .bind(workspace_id)
    .bind(project_id)
    .bind(slug)
    .bind(upstreams)
    .bind(Json(rows::upstream_settings(&settings.upstreams)))
    .bind(Json(&settings.rewrites))
    .bind(&settings.methods)
    .bind(scope_column(&settings.scopes))
    .bind(credentials)
    .bind(Json(&settings.public))
    .bind(Json(&settings.routes))
    .bind(settings.max_body_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))
    .bind(settings.timeout_millis.map(|millis| i32::try_from(millis).unwrap_or(i32::MAX)))
    .bind(settings.hard_seconds.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX)))
    .bind(Json(&settings.limits))
    .bind(settings.assertion)
    .bind(now)
    .execute(scope.connection())
    .await?;
    Ok(())
}

async fn write_issuers(
    scope: &mut Scope,
    project_id: Uuid,
    workspace_id: Uuid,
    issuers: &[IssuerDeclaration],
) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    let (names, addresses): (Vec<&str>, Vec<&str>) =
        issuers.iter().map(|issuer| (issuer.issuer.as_str(), issuer.jwks_uri.as_str())).unzip();
    // With another address goes what was fetched from the old one.
    sqlx::query(
        "DELETE FROM external_issuers WHERE project_id = $1
         AND (issuer, jwks_uri) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))",
    )
    .bind(project_id)
    .bind(names)
    .bind(addresses)
    .execute(scope.connection())
    .await?;
    for issuer in issuers {
        let id = scope.new_id();
        sqlx::query(
            "INSERT INTO external_issuers
                 (id, workspace_id, project_id, issuer, jwks_uri, audiences, scopes, scope_claim, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
             ON CONFLICT (project_id, issuer) DO UPDATE
             SET audiences = excluded.audiences, scopes = excluded.scopes, scope_claim = excluded.scope_claim,
                 updated_at = excluded.updated_at",
        )
        .bind(id)
        .bind(workspace_id)
        .bind(project_id)
        .bind(&issuer.issuer)
        .bind(&issuer.jwks_uri)
        .bind(&issuer.audiences)
        .bind(scope_column(&issuer.scopes))
        .bind(&issuer.scope_claim)
        .bind(now)
        .execute(scope.connection())
        .await?;
    }
    Ok(())
}

async fn write_certificates(
    scope: &mut Scope,
    project_id: Uuid,
    workspace_id: Uuid,
    certificates: &[CertificateDeclaration],
) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    let (ids, thumbprints): (Vec<&str>, Vec<&[u8]>) = certificates
        .iter()
        .map(|certificate| (certificate.identity.id.as_str(), &certificate.thumbprint[..]))
        .unzip();
    sqlx::query(
        "DELETE FROM project_certificates WHERE project_id = $1
         AND (id, thumbprint) NOT IN (SELECT * FROM unnest($2::text[], $3::bytea[]))",
    )
    .bind(project_id)
    .bind(ids)
    .bind(thumbprints)
    .execute(scope.connection())
    .await?;
    for CertificateDeclaration { thumbprint, identity } in certificates {
        let not_after = identity.not_after.and_then(|second| {
            i64::try_from(second).ok().and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        });
        sqlx::query(
            "INSERT INTO project_certificates
                 (workspace_id, project_id, id, thumbprint, service, scopes, not_after, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (project_id, id) DO UPDATE
             SET service = excluded.service, scopes = excluded.scopes, not_after = excluded.not_after",
        )
        .bind(workspace_id)
        .bind(project_id)
        .bind(&identity.id)
        .bind(&thumbprint[..])
        .bind(&identity.service)
        .bind(scope_column(&identity.scopes))
        .bind(not_after)
        .bind(now)
        .execute(scope.connection())
        .await?;
    }
    Ok(())
}

fn scope_column(scopes: &Scopes) -> Vec<&str> {
    scopes.iter().collect()
}

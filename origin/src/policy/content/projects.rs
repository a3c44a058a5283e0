//! Projects with their services, external issuers and client certificates, as the policy carries them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use shared::{
    base64url,
    jwt::{Algorithm, Jwk, VerificationKey},
    policy::{CertificateIdentity, Cors, ExternalIssuer, IssuerKey, Limit, Project},
};
use sqlx::{FromRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::left_out;
use crate::{
    database::Scope,
    policy::PolicyError,
    projects::rows::{ServiceRow, read, read_scopes},
};

/// Those being read, by id. What hangs on a project that is not among them was written in between, and comes with the next version.
type ById = HashMap<Uuid, (String, Project)>;

/// Those that are enabled, by slug. `issuer` is ours.
pub(super) async fn projects(
    scope: &mut Scope,
    issuer: &str,
) -> Result<BTreeMap<String, Project>, PolicyError> {
    let mut by_id = read_projects(scope).await?;
    add_services(scope, &mut by_id).await?;
    add_issuers(scope, &mut by_id, issuer).await?;
    add_certificates(scope, &mut by_id).await?;
    Ok(by_id.into_values().collect())
}

#[derive(FromRow)]
struct ProjectRow {
    id: Uuid,
    slug: String,
    workspace_id: Uuid,
    cors: Option<Json<Value>>,
    limits: Json<Value>,
    credential_epoch: i64,
}

async fn read_projects(scope: &mut Scope) -> Result<ById, PolicyError> {
    let rows: Vec<ProjectRow> = sqlx::query_as(
        "SELECT id, slug, workspace_id, cors, limits, credential_epoch FROM projects WHERE enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    let mut by_id = ById::new();
    for row in rows {
        let cors = row.cors.as_ref().map(|cors| read::<Cors>(cors).ok_or(())).transpose();
        // Without its limits a project would be open to more than was meant.
        let (Ok(cors), Some(limits)) = (cors, read::<Vec<Limit>>(&row.limits)) else {
            left_out("projects", &row.slug);
            continue;
        };
        let project = Project {
            workspace_id: row.workspace_id.to_string(),
            cors,
            limits,
            credential_epoch: u64::try_from(row.credential_epoch).unwrap_or_default(),
            ..Project::default()
        };
        by_id.insert(row.id, (row.slug, project));
    }
    Ok(by_id)
}

async fn add_services(scope: &mut Scope, by_id: &mut ById) -> Result<(), PolicyError> {
    let rows: Vec<ServiceRow> = sqlx::query_as(
        "SELECT s.project_id, s.slug, s.upstreams, s.upstream_settings, s.rewrites, s.methods, s.scopes, s.credentials,
                s.public, s.routes, s.max_body_bytes, s.timeout_millis, s.hard_seconds, s.limits, s.assertion
         FROM services AS s JOIN projects AS p ON p.id = s.project_id
         WHERE s.enabled AND p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    for row in rows {
        let Some((slug, project)) = by_id.get_mut(&row.project_id) else { continue };
        match row.settings() {
            Some(settings) => drop(project.services.insert(row.slug, settings)),
            None => left_out("services", &format!("{slug}/{}", row.slug)),
        }
    }
    Ok(())
}

#[derive(FromRow)]
struct IssuerRow {
    id: Uuid,
    project_id: Uuid,
    issuer: String,
    audiences: Vec<String>,
    scopes: Vec<String>,
    scope_claim: String,
}

#[derive(FromRow)]
struct KeyRow {
    issuer_id: Uuid,
    kid: String,
    alg: String,
    jwk: Json<Value>,
}

async fn add_issuers(scope: &mut Scope, by_id: &mut ById, ours: &str) -> Result<(), PolicyError> {
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT issuer_id, kid, alg, jwk FROM external_issuer_keys ORDER BY kid COLLATE \"C\"",
    )
    .fetch_all(scope.connection())
    .await?;
    let mut keys: HashMap<Uuid, Vec<IssuerKey>> = HashMap::new();
    for row in rows {
        match read_key(&row) {
            Some(key) => keys.entry(row.issuer_id).or_default().push(key),
            None => left_out("external_issuer_keys", &row.kid),
        }
    }
    let rows: Vec<IssuerRow> = sqlx::query_as(
        "SELECT i.id, i.project_id, i.issuer, i.audiences, i.scopes, i.scope_claim
         FROM external_issuers AS i JOIN projects AS p ON p.id = i.project_id WHERE p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    for row in rows {
        let Some((slug, project)) = by_id.get_mut(&row.project_id) else { continue };
        // Nobody else may speak in our name.
        let (Some(scopes), false) = (read_scopes(&row.scopes), row.issuer == ours) else {
            left_out("external_issuers", &format!("{slug} {}", row.issuer));
            continue;
        };
        let issuer = ExternalIssuer {
            audiences: row.audiences,
            keys: keys.remove(&row.id).unwrap_or_default(),
            scope_claim: row.scope_claim,
            scopes,
        };
        project.issuers.insert(row.issuer, issuer);
    }
    Ok(())
}

fn read_key(row: &KeyRow) -> Option<IssuerKey> {
    let alg: Algorithm = serde_json::from_value(Value::String(row.alg.clone())).ok()?;
    let jwk: Jwk = read(&row.jwk)?;
    VerificationKey::from_jwk(alg, &jwk)?;
    Some(IssuerKey { kid: row.kid.clone(), alg, jwk })
}

#[derive(FromRow)]
struct CertificateRow {
    project_id: Uuid,
    id: String,
    thumbprint: Vec<u8>,
    service: String,
    scopes: Vec<String>,
    not_after: Option<OffsetDateTime>,
}

async fn add_certificates(scope: &mut Scope, by_id: &mut ById) -> Result<(), PolicyError> {
    let rows: Vec<CertificateRow> = sqlx::query_as(
        "SELECT c.project_id, c.id, c.thumbprint, c.service, c.scopes, c.not_after
         FROM project_certificates AS c JOIN projects AS p ON p.id = c.project_id WHERE p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    for row in rows {
        let Some((slug, project)) = by_id.get_mut(&row.project_id) else { continue };
        let Some(scopes) = read_scopes(&row.scopes) else {
            left_out("project_certificates", &format!("{slug} {}", row.id));
            continue;
        };
        let identity = CertificateIdentity {
            id: row.id,
            service: row.service,
            scopes,
            not_after: row.not_after.map(|end| u64::try_from(end.unix_timestamp()).unwrap_or_default()),
        };
        project.certificates.insert(base64url::encode(&row.thumbprint), identity);
    }
    Ok(())
}

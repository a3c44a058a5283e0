//! What a policy is made of, read row by row. A row that cannot be read is left out and logged, which refuses what it stood for; it
//! may not keep the others, revocations above all, from the edges.

use std::collections::BTreeMap;

use shared::{
    jwt::{Algorithm, KeyPhase, PolicyKey, TokenType, VerificationKey},
    policy::{Client, Credential, Policy, Project, PublicRoute, Revocations, Service, Upstream},
    scope::Scopes,
};
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use super::{PolicyError, compile::Settings};
use crate::{
    database::Scope,
    signing_keys::{self, PublicKey},
};

/// Reads everything. The order of maps and lists is fixed, so that the same rows give the same bytes.
pub(super) async fn read(
    scope: &mut Scope,
    settings: &Settings,
    revocations: Revocations,
) -> Result<Policy, PolicyError> {
    Ok(Policy {
        issuer: settings.issuer.clone(),
        keys: keys(scope).await?,
        clients: clients(scope).await?,
        projects: projects(scope).await?,
        limits: settings.limits,
        revocations,
        freshness: settings.freshness,
        edge_keys: settings.edge_keys.clone(),
    })
}

async fn keys(scope: &mut Scope) -> Result<Vec<PolicyKey>, PolicyError> {
    let mut keys = signing_keys::public_keys(scope).await?;
    keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    let read = keys.into_iter().filter_map(|key| {
        let read = read_key(&key);
        if read.is_none() {
            left_out("signing_keys", &key.kid);
        }
        read
    });
    Ok(read.collect())
}

fn read_key(key: &PublicKey) -> Option<PolicyKey> {
    let text = |text: &str| serde_json::Value::String(text.to_owned());
    let alg: Algorithm = serde_json::from_value(text(&key.alg)).ok()?;
    let phase: KeyPhase = serde_json::from_value(text(&key.phase)).ok()?;
    VerificationKey::from_jwk(alg, &key.jwk)?;
    Some(PolicyKey {
        kid: key.kid.clone(),
        alg,
        phase,
        signs: vec![TokenType::Access, TokenType::Service],
        // A retiring key is believed until its row says `retired`, which the rotation decides by the longest token it signed.
        not_after: None,
        jwk: key.jwk.clone(),
    })
}

#[derive(FromRow)]
struct ClientRow {
    client_id: String,
    workspace_id: Uuid,
    project: String,
    redirect_uris: Vec<String>,
    scopes: Vec<String>,
    confidential: bool,
}

async fn clients(scope: &mut Scope) -> Result<BTreeMap<String, Client>, PolicyError> {
    let rows: Vec<ClientRow> = sqlx::query_as(
        "SELECT c.client_id, c.workspace_id, p.slug AS project, c.redirect_uris, c.scopes,
                c.kind = 'confidential' AS confidential
         FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.enabled AND p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    let mut clients = BTreeMap::new();
    for row in rows {
        let Some(scopes) = read_scopes(&row.scopes) else {
            left_out("oauth_clients", &row.client_id);
            continue;
        };
        let client = Client {
            workspace_id: row.workspace_id.to_string(),
            project: row.project,
            redirect_uris: row.redirect_uris,
            scopes,
            confidential: row.confidential,
            origins: Vec::new(),
        };
        clients.insert(row.client_id, client);
    }
    Ok(clients)
}

#[derive(FromRow)]
struct ProjectRow {
    slug: String,
    workspace_id: Uuid,
}

#[derive(FromRow)]
struct ServiceRow {
    project: String,
    slug: String,
    upstreams: Vec<String>,
    scopes: Vec<String>,
    public: Json<serde_json::Value>,
    credentials: Vec<String>,
}

async fn projects(scope: &mut Scope) -> Result<BTreeMap<String, Project>, PolicyError> {
    let rows: Vec<ProjectRow> = sqlx::query_as("SELECT slug, workspace_id FROM projects WHERE enabled")
        .fetch_all(scope.connection())
        .await?;
    let mut projects: BTreeMap<String, Project> = rows
        .into_iter()
        .map(|row| (row.slug, Project { workspace_id: row.workspace_id.to_string(), ..Project::default() }))
        .collect();
    let rows: Vec<ServiceRow> = sqlx::query_as(
        "SELECT p.slug AS project, s.slug, s.upstreams, s.scopes, s.public, s.credentials
         FROM services AS s JOIN projects AS p ON p.id = s.project_id
         WHERE s.enabled AND p.enabled",
    )
    .fetch_all(scope.connection())
    .await?;
    for row in rows {
        // A project that was inserted between the two statements comes with the next version.
        let Some(project) = projects.get_mut(&row.project) else { continue };
        match read_service(&row) {
            Some(service) => drop(project.services.insert(row.slug, service)),
            None => left_out("services", &format!("{}/{}", row.project, row.slug)),
        }
    }
    Ok(projects)
}

fn read_service(row: &ServiceRow) -> Option<Service> {
    let public: Vec<PublicRoute> = serde_json::from_value(row.public.0.clone()).ok()?;
    // Kinds that the edges do not know yet are refused by not being listed.
    let credentials = row.credentials.iter().filter_map(|kind| Credential::of_name(kind));
    Some(Service {
        upstreams: row.upstreams.iter().map(|url| Upstream::new(url.trim_end_matches('/'))).collect(),
        scopes: read_scopes(&row.scopes)?,
        credentials: credentials.collect(),
        public,
        ..Service::default()
    })
}

/// Scopes as a table holds them; `None` when one has a character that RFC 6749 §3.3 does not allow.
fn read_scopes(scopes: &[String]) -> Option<Scopes> {
    Scopes::parse(&scopes.join(" "))
}

fn left_out(table: &str, row: &str) {
    tracing::error!(
        table,
        row,
        "a row cannot be read and is left out of the policy: what it stands for is refused"
    );
}

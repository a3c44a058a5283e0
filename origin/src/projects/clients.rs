//! OAuth clients: what their rows mean, and what a declaration of one changes. It may not show a secret that was stored: there is none.

use shared::client::{AuthMethod, GrantType};
use shared::policy::Client;
use shared::scope::Scopes;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::apply::{Applied, ApplyError};
use super::change::ChangeError;
use super::declaration::ClientDeclaration;
use super::rows::read_scopes;
use super::store;
use crate::clock::Randomness;
use crate::database::{Scope, sqlstate};
use crate::events::NewEvent;
use crate::events::field::{Identifier, Name, RegisteredUri, WebOrigin};
use crate::events::payload::{ClientKind, ClientRegistered, ClientUpdated};
use crate::oauth::{ClientKey, ClientSecret};

/// What a row says of a client, to be read together with the slug of its project.
#[derive(FromRow)]
pub(crate) struct ClientRow {
    pub(crate) client_id: String,
    workspace_id: Uuid,
    project: String,
    redirect_uris: Vec<String>,
    scopes: Vec<String>,
    origins: Vec<String>,
    confidential: bool,
    token_endpoint_auth_method: Option<String>,
    grant_types: Vec<String>,
}

impl ClientRow {
    /// The client; `None` when a column cannot be read.
    pub(crate) fn client(self) -> Option<Client> {
        let auth_method = match self.token_endpoint_auth_method {
            Some(name) => Some(AuthMethod::of_name(&name)?),
            None => None,
        };
        // One that is not known here stays in the list: an empty list means something else.
        let grant_types: Vec<GrantType> = self
            .grant_types
            .iter()
            .map(|name| GrantType::of_name(name).unwrap_or(GrantType::Unknown))
            .collect();
        Some(Client {
            workspace_id: self.workspace_id.to_string(),
            project: self.project,
            redirect_uris: self.redirect_uris,
            scopes: read_scopes(&self.scopes)?,
            confidential: self.confidential,
            origins: self.origins,
            auth_method,
            grant_types: if grant_types == GrantType::DEFAULT { Vec::new() } else { grant_types },
        })
    }
}

/// Applies the declaration of a client.
pub(super) async fn apply_client(
    scope: &mut Scope,
    applied: &mut Applied,
    client: &ClientDeclaration,
    randomness: &Randomness,
) -> Result<(), ApplyError> {
    let workspace_id = applied.workspace_id;
    let label = format!("client {}", client.client_id);
    let taken = || ApplyError::ClientTaken { client_id: client.client_id.clone() };
    let project_id = match store::find_project(scope, &client.project).await.map_err(ChangeError::from)? {
        Some(project) if project.workspace_id == workspace_id => project.id,
        _ => {
            return Err(ApplyError::NoProject {
                client_id: client.client_id.clone(),
                project: client.project.clone(),
            });
        }
    };
    let found = find(scope, &client.client_id).await?;
    let has_secret = found.as_ref().is_some_and(|known| known.client.has_secret());
    let secret = (client.has_secret() && !has_secret).then(|| ClientSecret::generate(randomness));
    let hash = secret.as_ref().map(ClientSecret::hash);
    match found {
        Some(known) if known.workspace_id != workspace_id => return Err(taken()),
        Some(known) if known.client == *client => applied.unchanged.push(label),
        Some(known) => {
            write(scope, known.id, workspace_id, project_id, client, hash).await?;
            let updated = updated(client, project_id, known.enabled);
            scope.append(NewEvent::of(workspace_id, known.id, &updated)).await?;
            applied.updated.push(label);
        }
        None => {
            let id = scope.new_id();
            let written = write(scope, id, workspace_id, project_id, client, hash).await;
            written.map_err(|error| if is_duplicate(&error) { taken() } else { error.into() })?;
            scope.append(NewEvent::of(workspace_id, id, &registered(client, project_id))).await?;
            applied.created.push(label);
        }
    }
    if let Some(secret) = secret {
        applied.client_secrets.insert(client.client_id.clone(), secret);
    }
    Ok(())
}

fn registered(client: &ClientDeclaration, project_id: Uuid) -> ClientRegistered {
    let ClientUpdated {
        client_id,
        project_id,
        name,
        kind,
        redirect_uris,
        origins,
        scopes,
        token_endpoint_auth_method,
        grant_types,
        keys,
        enabled: _,
    } = updated(client, project_id, true);
    ClientRegistered {
        client_id,
        project_id,
        name,
        kind,
        redirect_uris,
        origins,
        scopes,
        token_endpoint_auth_method,
        grant_types,
        keys,
    }
}

fn updated(client: &ClientDeclaration, project_id: Uuid, enabled: bool) -> ClientUpdated {
    ClientUpdated {
        client_id: Identifier::of(&client.client_id),
        project_id,
        name: Name::of(&client.name),
        kind: if client.confidential { ClientKind::Confidential } else { ClientKind::Public },
        redirect_uris: client.redirect_uris.iter().map(|uri| RegisteredUri::of(uri)).collect(),
        origins: client.origins.iter().map(|origin| WebOrigin::of(origin)).collect(),
        scopes: client.scopes.clone(),
        token_endpoint_auth_method: client.auth_method.map(|method| Identifier::of(method.name())),
        grant_types: client.grant_types.iter().map(|grant_type| Identifier::of(grant_type.name())).collect(),
        keys: client.keys.iter().map(|key| Identifier::of(&key.thumbprint())).collect(),
        enabled,
    }
}

/// Somebody of another workspace took the name since we looked.
fn is_duplicate(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("23505")
}

/// A client as it stands.
struct Known {
    id: Uuid,
    workspace_id: Uuid,
    enabled: bool,
    client: ClientDeclaration,
}

/// Public keys, as a table holds them.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeySet<K> {
    keys: K,
}

async fn find(scope: &mut Scope, client_id: &str) -> Result<Option<Known>, sqlx::Error> {
    #[derive(FromRow)]
    struct Found {
        id: Uuid,
        name: String,
        enabled: bool,
        jwks: Option<Json<serde_json::Value>>,
        #[sqlx(flatten)]
        row: ClientRow,
    }
    let found: Option<Found> = sqlx::query_as(
        "SELECT c.id, c.name, c.enabled, c.jwks, c.client_id, c.workspace_id, p.slug AS project, c.redirect_uris, c.scopes,
                c.origins, c.kind = 'confidential' AS confidential, c.token_endpoint_auth_method, c.grant_types
         FROM oauth_clients AS c JOIN projects AS p ON p.id = c.project_id
         WHERE c.client_id = $1",
    )
    .bind(client_id)
    .fetch_optional(scope.connection())
    .await?;
    Ok(found.map(|Found { id, name, enabled, jwks, row }| {
        // What cannot be read differs from whatever is declared, and is written anew.
        let auth_method = row.token_endpoint_auth_method.as_deref().and_then(AuthMethod::of_name);
        let keys = jwks.and_then(|Json(set)| serde_json::from_value::<KeySet<Vec<ClientKey>>>(set).ok());
        let client = ClientDeclaration {
            client_id: row.client_id,
            name,
            project: row.project,
            redirect_uris: row.redirect_uris,
            scopes: row.scopes.into_iter().collect(),
            origins: row.origins,
            confidential: row.confidential,
            auth_method,
            grant_types: row.grant_types.iter().filter_map(|name| GrantType::of_name(name)).collect(),
            keys: keys.map(|set| set.keys).unwrap_or_default(),
        };
        Known { id, workspace_id: row.workspace_id, enabled, client }
    }))
}

/// Writes a client; a new one is enabled, a known one stays as it is. `secret_hash` is of a new secret; without one a client that has a
/// secret keeps it.
async fn write(
    scope: &mut Scope,
    id: Uuid,
    workspace_id: Uuid,
    project_id: Uuid,
    client: &ClientDeclaration,
    secret_hash: Option<[u8; 32]>,
) -> Result<(), sqlx::Error> {
    let now = scope.clock().now();
    let grant_types: Vec<&str> = client.grant_types.iter().map(|grant_type| grant_type.name()).collect();
    sqlx::query(
        "INSERT INTO oauth_clients
             (id, client_id, workspace_id, project_id, name, redirect_uris, scopes, origins, kind, secret_hash,
              token_endpoint_auth_method, jwks, grant_types, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $11, $8,
                 coalesce($9, (SELECT secret_hash FROM oauth_clients WHERE id = $1 AND $15)), $12, $13, $14, $10, $10)
         ON CONFLICT (id) DO UPDATE
         SET project_id = excluded.project_id, name = excluded.name, redirect_uris = excluded.redirect_uris,
             scopes = excluded.scopes, origins = excluded.origins, kind = excluded.kind,
             secret_hash = excluded.secret_hash, token_endpoint_auth_method = excluded.token_endpoint_auth_method,
             jwks = excluded.jwks, grant_types = excluded.grant_types, updated_at = excluded.updated_at",
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
    .bind(&client.origins)
    .bind(client.auth_method.map(AuthMethod::name))
    .bind((!client.keys.is_empty()).then_some(Json(KeySet { keys: &client.keys })))
    .bind(grant_types)
    .bind(client.has_secret())
    .execute(scope.connection())
    .await?;
    Ok(())
}

fn scope_column(scopes: &Scopes) -> Vec<&str> {
    scopes.iter().collect()
}

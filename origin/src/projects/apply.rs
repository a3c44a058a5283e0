//! Applies a declaration in one transaction: what differs is written and recorded, what does not is left alone. Applying it again
//! changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::change::{ChangeError, Terms, change};
use super::declaration::{ClientDeclaration, Declaration, ProjectDeclaration};
use super::store;
use crate::clock::Randomness;
use crate::database::{Actor, Component, Database, DatabaseError, Scope, sqlstate};
use crate::events::field::{Identifier, Name, RegisteredUri, WebOrigin};
use crate::events::payload::{
    ClientKind, ClientRegistered, ClientUpdated, WorkspaceCreated, WorkspaceUpdated,
};
use crate::events::{AppendError, NewEvent};
use crate::oauth::ClientSecret;

/// Why a declaration was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A project cannot be what is declared.
    #[error(transparent)]
    Project(#[from] ChangeError),
    /// Somebody else has the client.
    #[error("client {client_id:?} belongs to another workspace; choose another client_id")]
    ClientTaken {
        /// The `client_id`.
        client_id: String,
    },
    /// A client names a project that is not there.
    #[error(
        "client {client_id:?} names project {project:?}, which is neither in the file nor in the workspace"
    )]
    NoProject {
        /// The `client_id`.
        client_id: String,
        /// The slug it names.
        project: String,
    },
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What applying came to, by `kind slug`.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// The workspace.
    pub workspace_id: Uuid,
    /// What was not there before.
    pub created: Vec<String>,
    /// What was different before.
    pub updated: Vec<String>,
    /// What was as declared.
    pub unchanged: Vec<String>,
    /// Secrets of clients that are confidential now and were not before, by `client_id`: to be shown once, since they are stored
    /// nowhere.
    #[serde(skip)]
    pub client_secrets: BTreeMap<String, ClientSecret>,
}

/// Applies a declaration.
pub async fn apply(database: &Database, declaration: &Declaration) -> Result<Applied, ApplyError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let workspace = &declaration.workspace;
    let row = store::lock_workspace(&mut scope, workspace).await?;
    let mut applied = Applied {
        workspace_id: row.id,
        created: Vec::new(),
        updated: Vec::new(),
        unchanged: Vec::new(),
        client_secrets: BTreeMap::new(),
    };
    let label = format!("workspace {}", workspace.slug);
    if row.is_new {
        let created =
            WorkspaceCreated { slug: Identifier::of(&workspace.slug), name: Name::of(&workspace.name) };
        scope.append(NewEvent::of(row.id, row.id, &created)).await?;
        applied.created.push(label);
    } else if row.name == workspace.name {
        applied.unchanged.push(label);
    } else {
        store::rename_workspace(&mut scope, row.id, &workspace.name).await?;
        scope
            .append(NewEvent::of(row.id, row.id, &WorkspaceUpdated { name: Name::of(&workspace.name) }))
            .await?;
        applied.updated.push(label);
    }
    for project in &declaration.projects {
        apply_project(&mut scope, &mut applied, project).await?;
    }
    for client in &declaration.clients {
        apply_client(&mut scope, &mut applied, client, database.randomness()).await?;
    }
    scope.commit().await?;
    Ok(applied)
}

async fn apply_project(
    scope: &mut Scope,
    applied: &mut Applied,
    project: &ProjectDeclaration,
) -> Result<(), ApplyError> {
    let changed = change(scope, applied.workspace_id, project, Terms::default()).await?;
    let label = format!("project {}", project.slug);
    if changed.created {
        applied.created.push(label);
    } else if changed.changes.is_empty() {
        applied.unchanged.push(label);
    } else {
        applied.updated.push(label);
    }
    Ok(())
}

async fn apply_client(
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
    let (client_id, name) = (Identifier::of(&client.client_id), Name::of(&client.name));
    let redirect_uris = client.redirect_uris.iter().map(|uri| RegisteredUri::of(uri)).collect();
    let origins = client.origins.iter().map(|origin| WebOrigin::of(origin)).collect();
    let kind = if client.confidential { ClientKind::Confidential } else { ClientKind::Public };
    let scopes = client.scopes.clone();
    let found = store::find_client(scope, &client.client_id).await?;
    let has_secret = found.as_ref().is_some_and(|(_, _, known, _)| known.confidential);
    let secret = (client.confidential && !has_secret).then(|| ClientSecret::generate(randomness));
    let hash = secret.as_ref().map(ClientSecret::hash);
    match found {
        Some((_, owner, _, _)) if owner != workspace_id => return Err(taken()),
        Some((_, _, known, _)) if known == *client => applied.unchanged.push(label),
        Some((id, _, _, enabled)) => {
            store::write_client(scope, id, workspace_id, project_id, client, hash).await?;
            let updated =
                ClientUpdated { client_id, project_id, name, kind, redirect_uris, origins, scopes, enabled };
            scope.append(NewEvent::of(workspace_id, id, &updated)).await?;
            applied.updated.push(label);
        }
        None => {
            let id = scope.new_id();
            let written = store::write_client(scope, id, workspace_id, project_id, client, hash).await;
            written.map_err(|error| if is_duplicate(&error) { taken() } else { error.into() })?;
            let registered =
                ClientRegistered { client_id, project_id, name, kind, redirect_uris, origins, scopes };
            scope.append(NewEvent::of(workspace_id, id, &registered)).await?;
            applied.created.push(label);
        }
    }
    if let Some(secret) = secret {
        applied.client_secrets.insert(client.client_id.clone(), secret);
    }
    Ok(())
}

/// Somebody of another workspace took the name since we looked.
fn is_duplicate(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("23505")
}

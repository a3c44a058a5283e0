//! Applies a declaration in one transaction: what differs is written and recorded, what does not is left alone. Applying it again
//! changes nothing.

use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use super::change::{ChangeError, Terms, change};
use super::clients;
use super::declaration::{Declaration, ProjectDeclaration};
use super::store;
use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::events::field::{Identifier, Name};
use crate::events::payload::{WorkspaceCreated, WorkspaceUpdated};
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
        clients::apply_client(&mut scope, &mut applied, client, database.randomness()).await?;
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

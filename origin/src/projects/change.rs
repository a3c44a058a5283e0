//! Changing a project: what it comes to is told before anything is written, and what is written is a revision and an event, in one
//! transaction. Whose project it is, the scope decides; within it the caller has been let in already.

use serde::Serialize;
use shared::policy::Credential;
use uuid::Uuid;

use super::declaration::{Declaration, DeclarationFaults, ProjectDeclaration, ServiceDeclaration};
use super::difference::{Change, difference};
use super::revisions::{self, DeclaredRevision, Revision};
use super::store::{self, ProjectRecord, ReadError};
use crate::database::{DatabaseError, Scope, sqlstate};
use crate::events::field::{Identifier, Name, RegisteredUri};
use crate::events::payload::{CredentialKind, ProjectCreated, ProjectUpdated, ServiceState};
use crate::events::{AppendError, NewEvent};

/// Why a project was not changed. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Somebody else has the project's path.
    #[error(
        "project {slug:?} belongs to another workspace: its slug is the path, and a path has one owner; choose another"
    )]
    Taken {
        /// The slug.
        slug: String,
    },
    /// There is no such project.
    #[error("there is no project {slug:?}")]
    NoProject {
        /// The slug.
        slug: String,
    },
    /// There is no such revision.
    #[error("project {slug:?} has no revision {revision}")]
    NoRevision {
        /// The slug.
        slug: String,
        /// What was asked for.
        revision: i64,
    },
    /// Another change came between.
    #[error("revision {expected} was to be changed, but revision {actual} is in force; look at it first")]
    OtherRevision {
        /// What the caller had seen.
        expected: i64,
        /// What is in force; 0 when there is none.
        actual: i64,
    },
    /// An earlier revision does not keep to the rules of today.
    #[error("revision {revision} cannot be in force again: {faults}")]
    Outdated {
        /// The revision.
        revision: i64,
        /// Why.
        faults: DeclarationFaults,
    },
    /// A row holds what nothing here writes.
    #[error("{0}")]
    Unreadable(String),
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for ChangeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            error @ ReadError::Row { .. } => Self::Unreadable(error.to_string()),
        }
    }
}

/// How a change is to be made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// The revision that the caller has seen; 0 says that there must be no project yet. `None` changes whatever is there.
    pub expected: Option<i64>,
    /// Only say what it would come to.
    pub dry_run: bool,
}

/// What a change came to, or would.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// The project.
    pub project: String,
    /// Whether it was not there before.
    pub created: bool,
    /// The revision in force; 0 while there is none.
    pub revision: i64,
    /// What differs from what was in force. Empty when nothing does; then nothing was written.
    pub changes: Vec<Change>,
}

/// A project in a list.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct ListedProject {
    /// The first segment of its path.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// The workspace it belongs to.
    pub workspace: String,
    /// The revision in force; 0 while there is none.
    pub revision: i64,
    /// Whether the policy has it.
    pub enabled: bool,
    /// When it last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: time::OffsetDateTime,
}

/// A project as it is in force.
#[derive(Debug, Clone)]
pub struct ShownProject {
    /// The revision in force; 0 while there is none.
    pub revision: i64,
    /// What is declared.
    pub declaration: ProjectDeclaration,
}

/// The projects that the scope sees, by slug.
pub async fn list(scope: &mut Scope) -> Result<Vec<ListedProject>, ChangeError> {
    Ok(sqlx::query_as(
        "SELECT p.slug, p.name, w.slug AS workspace, p.revision, p.enabled, p.updated_at
         FROM projects AS p JOIN workspaces AS w ON w.id = p.workspace_id
         ORDER BY p.slug COLLATE \"C\"",
    )
    .fetch_all(scope.connection())
    .await?)
}

/// A project that the scope sees.
pub async fn show(scope: &mut Scope, slug: &str) -> Result<ShownProject, ChangeError> {
    let ProjectRecord { revision, declaration, .. } = found(store::find_project(scope, slug).await?, slug)?;
    Ok(ShownProject { revision, declaration })
}

/// Its revisions, newest first; `before` goes on where another list ended.
pub async fn history(
    scope: &mut Scope,
    slug: &str,
    before: Option<i64>,
) -> Result<Vec<Revision>, ChangeError> {
    let project = found(store::find_project(scope, slug).await?, slug)?;
    Ok(revisions::list(scope, project.id, before).await?)
}

/// One of its revisions.
pub async fn revision(scope: &mut Scope, slug: &str, revision: i64) -> Result<DeclaredRevision, ChangeError> {
    let project = found(store::find_project(scope, slug).await?, slug)?;
    let found = revisions::find(scope, project.id, revision).await?;
    found.ok_or_else(|| ChangeError::NoRevision { slug: slug.to_owned(), revision })
}

/// Makes a project of this workspace what is declared.
pub async fn change(
    scope: &mut Scope,
    workspace_id: Uuid,
    proposal: &ProjectDeclaration,
    terms: Terms,
) -> Result<Changed, ChangeError> {
    let present = store::lock_project(scope, &proposal.slug).await?;
    if present.as_ref().is_some_and(|present| present.workspace_id != workspace_id) {
        return Err(ChangeError::Taken { slug: proposal.slug.clone() });
    }
    write(scope, workspace_id, present.as_ref(), proposal, None, terms).await
}

/// What applying a file would change of each of its projects. Nothing is changed.
pub async fn compare(scope: &mut Scope, declaration: &Declaration) -> Result<Vec<Changed>, ChangeError> {
    let workspace_id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM workspaces WHERE slug = $1")
        .bind(&declaration.workspace.slug)
        .fetch_optional(scope.connection())
        .await?;
    let mut compared = Vec::new();
    for proposal in &declaration.projects {
        let present = store::find_project(scope, &proposal.slug).await?;
        if present.as_ref().is_some_and(|present| Some(present.workspace_id) != workspace_id) {
            return Err(ChangeError::Taken { slug: proposal.slug.clone() });
        }
        compared.push(changes_to(present.as_ref(), proposal));
    }
    Ok(compared)
}

/// Makes a project what it was at an earlier revision. Clients, tokens and keys stay as they are.
pub async fn roll_back(
    scope: &mut Scope,
    slug: &str,
    revision: i64,
    terms: Terms,
) -> Result<Changed, ChangeError> {
    let present = found(store::lock_project(scope, slug).await?, slug)?;
    let earlier = revisions::find(scope, present.id, revision).await?;
    let earlier = earlier.ok_or_else(|| ChangeError::NoRevision { slug: slug.to_owned(), revision })?;
    let proposal = ProjectDeclaration::from_json(slug, earlier.declaration)
        .map_err(|faults| ChangeError::Outdated { revision, faults })?;
    write(scope, present.workspace_id, Some(&present), &proposal, Some(revision), terms).await
}

fn found(record: Option<ProjectRecord>, slug: &str) -> Result<ProjectRecord, ChangeError> {
    record.ok_or_else(|| ChangeError::NoProject { slug: slug.to_owned() })
}

fn changes_to(present: Option<&ProjectRecord>, proposal: &ProjectDeclaration) -> Changed {
    Changed {
        project: proposal.slug.clone(),
        created: present.is_none(),
        revision: present.map_or(0, |present| present.revision),
        changes: difference(present.map(|present| &present.declaration), proposal),
    }
}

async fn write(
    scope: &mut Scope,
    workspace_id: Uuid,
    present: Option<&ProjectRecord>,
    proposal: &ProjectDeclaration,
    restored_from: Option<i64>,
    Terms { expected, dry_run }: Terms,
) -> Result<Changed, ChangeError> {
    let actual = present.map_or(0, |present| present.revision);
    if let Some(expected) = expected.filter(|expected| *expected != actual) {
        return Err(ChangeError::OtherRevision { expected, actual });
    }
    let mut changed = changes_to(present, proposal);
    if dry_run && present.is_none() && !store::is_free(scope, workspace_id, &proposal.slug).await? {
        return Err(ChangeError::Taken { slug: proposal.slug.clone() });
    }
    if dry_run || (present.is_some() && changed.changes.is_empty()) {
        return Ok(changed);
    }
    if let Some(present) = present {
        revisions::catch_up(scope, present).await?;
    }
    let id = present.map_or_else(|| scope.new_id(), |present| present.id);
    let written = store::write_project(scope, id, workspace_id, proposal).await;
    written.map_err(|error| {
        // Somebody took the slug since we looked.
        if sqlstate(&error).as_deref() == Some("23505") {
            ChangeError::Taken { slug: proposal.slug.clone() }
        } else {
            error.into()
        }
    })?;
    changed.revision = revisions::record(scope, workspace_id, id, proposal, restored_from).await?;
    scope.append(event(workspace_id, id, proposal, &changed, restored_from)).await?;
    Ok(changed)
}

fn event(
    workspace_id: Uuid,
    id: Uuid,
    proposal: &ProjectDeclaration,
    changed: &Changed,
    restored_from: Option<i64>,
) -> NewEvent {
    let (slug, name, revision) = (Identifier::of(&proposal.slug), Name::of(&proposal.name), changed.revision);
    let services = proposal.services.iter().map(ServiceState::of).collect();
    if changed.created {
        let created = ProjectCreated { slug, name, services, revision };
        return NewEvent::of(workspace_id, id, &created);
    }
    NewEvent::of(workspace_id, id, &ProjectUpdated { slug, name, services, revision, restored_from })
}

impl ServiceState {
    fn of(ServiceDeclaration { slug, settings }: &ServiceDeclaration) -> Self {
        Self {
            slug: Identifier::of(slug),
            upstreams: settings.upstreams.iter().map(|upstream| RegisteredUri::of(&upstream.url)).collect(),
            scopes: settings.scopes.clone(),
            credentials: settings.credentials.iter().map(|kind| CredentialKind::of(*kind)).collect(),
            public_routes: u32::try_from(settings.public.len()).unwrap_or(u32::MAX),
        }
    }
}

impl CredentialKind {
    fn of(credential: Credential) -> Self {
        match credential {
            Credential::AccessToken => Self::AccessToken,
            Credential::ServiceToken => Self::ServiceToken,
            Credential::ExternalToken => Self::ExternalToken,
            Credential::ApiKey => Self::ApiKey,
            Credential::OpaqueToken => Self::OpaqueToken,
            Credential::ClientCertificate => Self::ClientCertificate,
        }
    }
}

//! Revisions of a project: what its configuration was, from 1 without gaps. A change and its revision are one transaction. Nothing
//! here changes or deletes one.

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::declaration::ProjectDeclaration;
use super::store::ProjectRecord;
use crate::database::Scope;

/// How many are listed at once.
const LISTED: i64 = 200;

/// A revision, without what was declared.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct Revision {
    /// Its number.
    pub revision: i64,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Who made it.
    pub actor: Value,
    /// The earlier one that it repeats.
    pub restored_from: Option<i64>,
}

/// A revision with what was declared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeclaredRevision {
    /// The revision.
    #[serde(flatten)]
    pub revision: Revision,
    /// The project as it was declared.
    pub declaration: Value,
}

/// Makes sure that what is in force is a revision: it is none before the first change, and after a change by a version that knew no
/// revisions.
pub(super) async fn catch_up(scope: &mut Scope, found: &ProjectRecord) -> Result<(), sqlx::Error> {
    let last: Option<Value> = sqlx::query_scalar(
        "SELECT declaration FROM project_revisions WHERE project_id = $1 AND revision = $2",
    )
    .bind(found.id)
    .bind(found.revision)
    .fetch_optional(scope.connection())
    .await?;
    if last.as_ref() == Some(&found.declaration.to_json()) {
        return Ok(());
    }
    let unrecorded = serde_json::json!({"kind": "unrecorded"});
    insert(scope, found.workspace_id, found.id, &found.declaration, unrecorded, None).await.map(drop)
}

/// Records what was just written; the number it got.
pub(super) async fn record(
    scope: &mut Scope,
    workspace_id: Uuid,
    project_id: Uuid,
    declaration: &ProjectDeclaration,
    restored_from: Option<i64>,
) -> Result<i64, sqlx::Error> {
    let mut actor = scope.actor().to_json();
    if let Value::Object(members) = &mut actor {
        members.insert("service_name".to_owned(), scope.actor().service_name().into());
    }
    insert(scope, workspace_id, project_id, declaration, actor, restored_from).await
}

async fn insert(
    scope: &mut Scope,
    workspace_id: Uuid,
    project_id: Uuid,
    declaration: &ProjectDeclaration,
    actor: Value,
    restored_from: Option<i64>,
) -> Result<i64, sqlx::Error> {
    let now = scope.clock().now();
    // The row of the project is locked by now, so that numbers have no gaps and no twins.
    sqlx::query_scalar(
        "WITH next AS (UPDATE projects SET revision = revision + 1 WHERE id = $2 RETURNING revision)
         INSERT INTO project_revisions
             (workspace_id, project_id, revision, declaration, actor, created_at, restored_from)
         SELECT $1, $2, next.revision, $3, $4, $5, $6 FROM next
         RETURNING revision",
    )
    .bind(workspace_id)
    .bind(project_id)
    .bind(declaration.to_json())
    .bind(actor)
    .bind(now)
    .bind(restored_from)
    .fetch_one(scope.connection())
    .await
}

/// Those of a project, newest first; `before` goes on where another list ended.
pub(super) async fn list(
    scope: &mut Scope,
    project_id: Uuid,
    before: Option<i64>,
) -> Result<Vec<Revision>, sqlx::Error> {
    sqlx::query_as(
        "SELECT revision, created_at, actor, restored_from FROM project_revisions
         WHERE project_id = $1 AND revision < $2 ORDER BY revision DESC LIMIT $3",
    )
    .bind(project_id)
    .bind(before.unwrap_or(i64::MAX))
    .bind(LISTED)
    .fetch_all(scope.connection())
    .await
}

/// One of them.
pub(super) async fn find(
    scope: &mut Scope,
    project_id: Uuid,
    revision: i64,
) -> Result<Option<DeclaredRevision>, sqlx::Error> {
    type Row = (i64, OffsetDateTime, Value, Option<i64>, Value);
    let row: Option<Row> = sqlx::query_as(
        "SELECT revision, created_at, actor, restored_from, declaration FROM project_revisions
         WHERE project_id = $1 AND revision = $2",
    )
    .bind(project_id)
    .bind(revision)
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|(revision, created_at, actor, restored_from, declaration)| DeclaredRevision {
        revision: Revision { revision, created_at, actor, restored_from },
        declaration,
    }))
}

//! `/v1/projects…`: projects as JSON of the file's shape. What a request may see and change, its [`Operator`] says. It may not know a
//! rule of a declaration.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{decide::Refusal, problem::ProblemType};

use super::{ChangeError, Changed, DeclarationFaults, ProjectDeclaration, Terms, change};
use crate::{
    events::AppendError,
    http::{Origin, Refused},
    operators::Operator,
};

/// The scope that changes projects.
const WRITE: &str = "gateward:projects";
/// The scope that reads them.
const READ: &str = "gateward:projects:read";

/// The routes.
pub fn routes() -> Router<Origin> {
    Router::new()
        .route("/v1/projects", get(list))
        .route("/v1/projects/{slug}", get(show).put(put))
        .route("/v1/projects/{slug}/revisions", get(history))
        .route("/v1/projects/{slug}/revisions/{revision}", get(revision))
        .route("/v1/projects/{slug}/rollback", post(roll_back))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeQuery {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    before: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    revision: i64,
}

async fn list(State(origin): State<Origin>, operator: Operator) -> Result<Response, Refused> {
    operator.require(&[READ, WRITE])?;
    let mut scope = operator.scope(&origin).await?;
    let projects = change::list(&mut scope).await?;
    scope.rollback().await?;
    Ok(Json(json!({"projects": projects})).into_response())
}

async fn show(
    State(origin): State<Origin>,
    operator: Operator,
    Path(slug): Path<String>,
) -> Result<Response, Refused> {
    operator.require(&[READ, WRITE])?;
    let mut scope = operator.scope(&origin).await?;
    let shown = change::show(&mut scope, &slug).await?;
    scope.rollback().await?;
    Ok((etag(shown.revision), Json(shown.declaration.to_json())).into_response())
}

async fn put(
    State(origin): State<Origin>,
    operator: Operator,
    Path(slug): Path<String>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    operator.require(&[WRITE])?;
    let terms = terms(&headers, query)?;
    let proposal = ProjectDeclaration::from_json(&slug, read(&body)?).map_err(|faults| faulty(&faults))?;
    let mut is_second_try = false;
    loop {
        let mut scope = operator.scope(&origin).await?;
        match change::change(&mut scope, operator.workspace_id(), &proposal, terms).await {
            // Two that make one project at once: the second finds it there when it looks again, if it is its workspace's.
            Err(ChangeError::Taken { .. }) if !is_second_try => is_second_try = true,
            Err(error) => return Err(error.into()),
            Ok(changed) => {
                scope.commit().await?;
                return Ok(answer(&origin, &changed, terms));
            }
        }
    }
}

async fn history(
    State(origin): State<Origin>,
    operator: Operator,
    Path(slug): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    operator.require(&[READ, WRITE])?;
    let Query(HistoryQuery { before }) = query.map_err(|rejection| malformed(rejection.body_text()))?;
    let mut scope = operator.scope(&origin).await?;
    let revisions = change::history(&mut scope, &slug, before).await?;
    scope.rollback().await?;
    Ok(Json(json!({"revisions": revisions})).into_response())
}

async fn revision(
    State(origin): State<Origin>,
    operator: Operator,
    Path((slug, number)): Path<(String, String)>,
) -> Result<Response, Refused> {
    operator.require(&[READ, WRITE])?;
    let number = number.parse().map_err(|_| malformed("A revision is a number.".to_owned()))?;
    let mut scope = operator.scope(&origin).await?;
    let revision = change::revision(&mut scope, &slug, number).await?;
    scope.rollback().await?;
    Ok(Json(revision).into_response())
}

async fn roll_back(
    State(origin): State<Origin>,
    operator: Operator,
    Path(slug): Path<String>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    operator.require(&[WRITE])?;
    let terms = terms(&headers, query)?;
    let RollbackBody { revision } =
        serde_json::from_value(read(&body)?).map_err(|error| malformed(format!("{error}.")))?;
    let mut scope = operator.scope(&origin).await?;
    let changed = change::roll_back(&mut scope, &slug, revision, terms).await?;
    scope.commit().await?;
    Ok(answer(&origin, &changed, terms))
}

/// How the change is to be made: `If-Match: "3"` names the revision that was seen (RFC 9110 §13.1.1), 0 that there was none.
fn terms(headers: &HeaderMap, query: Result<Query<ChangeQuery>, QueryRejection>) -> Result<Terms, Refused> {
    let Query(ChangeQuery { dry_run }) = query.map_err(|rejection| malformed(rejection.body_text()))?;
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let expected = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => {
            let tag = value.to_str().ok().and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
            let revision = tag.and_then(|tag| tag.parse().ok());
            Some(revision.ok_or_else(|| {
                malformed("If-Match names one revision, as the ETag did: If-Match: \"3\".".to_owned())
            })?)
        }
        (Some(_), Some(_)) => return Err(malformed("Send If-Match once.".to_owned())),
    };
    Ok(Terms { expected, dry_run })
}

fn read(body: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|error| malformed(format!("The body is no JSON: {error}.")))
}

fn answer(origin: &Origin, changed: &Changed, Terms { dry_run, .. }: Terms) -> Response {
    if !dry_run {
        // The next edge that asks is told.
        origin.policy.mark_changed();
    }
    let status = if changed.created && !dry_run { StatusCode::CREATED } else { StatusCode::OK };
    (status, etag(changed.revision), Json(changed)).into_response()
}

fn etag(revision: i64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{revision}\""))]
}

fn malformed(detail: String) -> Refused {
    Refusal::problem(ProblemType::RequestMalformed, detail).into()
}

fn faulty(faults: &DeclarationFaults) -> Refused {
    let detail = "Nothing was changed. \"faults\" says what is wrong, each with its place.";
    Refused::from(Refusal::problem(ProblemType::DeclarationFaulty, detail)).with("faults", json!(faults))
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let problem = |kind, error: &ChangeError| Self::from(Refusal::problem(kind, format!("{error}.")));
        match error {
            ChangeError::Taken { .. } => problem(ProblemType::WrongProject, &error),
            ChangeError::NoProject { .. } | ChangeError::NoRevision { .. } => {
                problem(ProblemType::NotFound, &error)
            }
            ChangeError::OtherRevision { actual, .. } => {
                problem(ProblemType::RevisionChanged, &error).with("revision", actual.into())
            }
            ChangeError::Outdated { faults, .. } => faulty(&faults),
            ChangeError::Append(AppendError::Conflict { .. }) => problem(ProblemType::Conflict, &error),
            ChangeError::Append(AppendError::Database(error)) | ChangeError::Database(error) => error.into(),
            ChangeError::Append(_) | ChangeError::Unreadable(_) => {
                tracing::error!(%error, "a project was not changed");
                Self::internal()
            }
        }
    }
}

//! `GET /internal/policy`: the content with its statement, or the statement alone when the edge has that content already (RFC 9110
//! §13.1.2). It may not answer without a policy that was confirmed just now: an edge that hears nothing knows how old its own is.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use shared::policy::STATEMENT_HEADER;

use super::PolicyError;
use crate::{
    database::{Actor, Component, DatabaseError},
    http::{EdgeCaller, Origin, Refused},
};

/// Why an edge gets no policy.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyRefused {
    /// There is none.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl axum::response::IntoResponse for PolicyRefused {
    fn into_response(self) -> Response {
        let Self::Policy(error) = self;
        match error {
            PolicyError::Database(error) => Refused::from(error).into_response(),
            error => {
                tracing::error!(%error, "no policy");
                Refused::internal().into_response()
            }
        }
    }
}

/// The handler.
pub(super) async fn policy(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
) -> Result<Response, PolicyRefused> {
    let compiled = origin.policy.current(&origin.database).await?;
    let statement = origin.policy.statement(&compiled)?;
    if let Err(error) = record_report(&origin, &caller).await {
        // What an edge runs is for people to look at; the policy is more urgent.
        tracing::warn!(%error, edge = caller.edge_id, "the edge's version was not recorded");
    }
    let etag = format!("\"{}\"", compiled.version);
    let is_known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let common = [(header::ETAG, etag), (HeaderName::from_static(STATEMENT_HEADER), statement)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let media_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((common, media_type, compiled.content.clone()).into_response())
}

/// Keeps which version an edge says it decides by, so that one can tell when a revocation has reached all of them.
async fn record_report(origin: &Origin, caller: &EdgeCaller) -> Result<(), DatabaseError> {
    let mut scope = origin.database.scope(Actor::System(Component::PolicyCompiler)).await?;
    sqlx::query(
        "INSERT INTO edge_reports (edge_id, policy_version, reported_at) VALUES ($1, $2, $3)
         ON CONFLICT (edge_id) DO UPDATE SET policy_version = excluded.policy_version, reported_at = excluded.reported_at
         WHERE edge_reports.reported_at <= excluded.reported_at",
    )
    .bind(&caller.edge_id)
    .bind(i64::try_from(caller.policy_version).unwrap_or(i64::MAX))
    .bind(origin.clock.now())
    .execute(scope.connection())
    .await?;
    scope.commit().await
}

//! `GET /internal/policy`: the content with its statement and the filter of revocations, or the statement alone when the edge has that content already (RFC 9110
//! §13.1.2). It may not answer without a policy that was confirmed just now: an edge that hears nothing knows how old its own is.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use shared::policy::{FILTER_HEADER, STATEMENT_HEADER};

use super::{PolicyError, compile::Compiled, reports};
use crate::http::{EdgeCaller, Origin, Refused};

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
            PolicyError::FilterPending => {
                tracing::warn!(%error, "no policy for now");
                Refused::unavailable().into_response()
            }
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
    if let Err(error) = reports::record(&origin, &caller).await {
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
    let held = headers.get(FILTER_HEADER).and_then(|value| value.to_str().ok());
    Ok((common, media_type, body(&compiled, held)).into_response())
}

/// The content, and after a line feed the filter it names, unless the edge holds that one.
fn body(compiled: &Compiled, held: Option<&str>) -> Vec<u8> {
    let mut body = compiled.content.clone();
    if let Some(filter) = compiled.filter().filter(|filter| held != Some(filter.sha256())) {
        body.push(b'\n');
        body.extend_from_slice(filter.bytes());
    }
    body
}

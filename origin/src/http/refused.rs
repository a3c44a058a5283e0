//! How a refusal leaves the origin: in the words of [`shared::decide::Refusal`], which the edge speaks too. A handler says what was
//! wrong; issuer and request id are added on the way out. It may not tell a caller more of an inner fault than that there was one.

use std::any::Any;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response as HttpResponse, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use shared::{decide::Refusal, problem::ProblemType};

use crate::database::DatabaseError;

/// A request that ends here. As a response it is bare until [`dress`] has written headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    refusal: Box<Refusal>,
    /// Members that a problem has besides its own (RFC 9457 §3.2).
    members: Map<String, Value>,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Refused {
    /// The problem with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    /// Something failed on our side; the log has said what.
    pub fn internal() -> Self {
        Self::from(Refusal::problem(
            ProblemType::Internal,
            "The request was not carried out. The log has the fault under this request id.",
        ))
    }

    /// Not now; the log has said why.
    pub fn unavailable() -> Self {
        Self::from(Refusal {
            retry_after: Some(1),
            ..Refusal::problem(ProblemType::OriginUnavailable, "The request was not carried out. Try again.")
        })
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal: Box::new(refusal), members: Map::new() }
    }
}

impl From<DatabaseError> for Refused {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unreachable(_) | DatabaseError::Contended(_) => {
                tracing::warn!(%error, "refused for now");
                Self::unavailable()
            }
            _ => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
        }
    }
}

/// Writes headers and body of a refusal; other responses pass. Headers that the router set (`Allow`) stay.
pub(super) fn dress(mut response: Response, issuer: &str, request_id: &str) -> Response {
    let Some(Refused { refusal, members }) = response.extensions_mut().remove::<Refused>() else {
        return response;
    };
    let mut rendered = refusal.render(issuer, request_id);
    if let (false, Ok(Value::Object(mut problem))) =
        (members.is_empty(), serde_json::from_str::<Value>(&rendered.body))
    {
        problem.extend(members);
        rendered.body = Value::Object(problem).to_string();
    }
    for (name, value) in rendered.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response.headers_mut().remove("content-length");
    response.map(|_| Body::from(rendered.body))
}

/// The answer to a request whose handler panicked. The payload may hold anything, so it is not shown or logged.
pub(super) fn of_panic(_: Box<dyn Any + Send>) -> HttpResponse<Body> {
    tracing::error!("a handler panicked; the request was not carried out");
    Refused::internal().into_response()
}

//! Pages of what went wrong: said to a person, with what to do next. It may not show what a person typed, nor an error of a part.

use askama::Template;
use axum::{
    Extension,
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{ForeignForm, FormTargets, page};
use crate::database::DatabaseError;
use crate::events::AppendError;
use crate::http::EdgeCaller;
use crate::oauth::AuthorizationError;
use crate::sessions::SessionError;

/// Where a page leads.
#[derive(Clone, Debug)]
pub struct Action {
    /// A path of ours.
    pub href: String,
    /// What the link says.
    pub label: &'static str,
}

impl Action {
    /// Back to the sign-in page, for the authorization request it was for.
    pub fn start_again(request: Option<uuid::Uuid>) -> Self {
        let href = request.map_or("/sign-in".to_owned(), |request| format!("/sign-in?request={request}"));
        Self { href, label: "Start again" }
    }
}

/// A page with one thing to say.
#[derive(Clone, Debug, Template)]
#[template(path = "message.html")]
pub struct Message {
    /// What happened.
    pub heading: &'static str,
    /// What it means and what to do.
    pub text: String,
    /// The next step.
    pub action: Option<Action>,
    /// To be given to those who run the gateway.
    pub request_id: Option<String>,
}

impl Message {
    /// The page.
    pub fn respond(&self, status: StatusCode) -> Response {
        page(status, self, &FormTargets::None)
    }
}

/// A page that would help more with the request's id on it.
#[derive(Clone)]
struct Unnamed(Message);

/// Writes the request's id on the page of a fault of ours, so that a person can pass it on and others find it in the log.
pub async fn name_faults(caller: Option<Extension<EdgeCaller>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let Some(Unnamed(message)) = response.extensions_mut().remove::<Unnamed>() else { return response };
    let Some(Extension(caller)) = caller else { return response };
    let named = Message { request_id: Some(caller.request_id), ..message };
    match named.render() {
        Ok(body) => response.map(|_| Body::from(body)),
        Err(_) => response,
    }
}

/// Why a page cannot be shown or a form not be acted on.
#[derive(Debug, thiserror::Error)]
pub enum PageFault {
    /// No such page.
    #[error("there is no such page")]
    NotFound,
    /// The form cannot be read: not urlencoded, a field missing or sent twice.
    #[error("the form cannot be read: {0}")]
    MalformedForm(&'static str),
    /// The form came from another site, or with another session's token.
    #[error("the form was not sent from a page of this session")]
    ForeignForm,
    /// The authorization request is unknown, over or somebody else's.
    #[error("the authorization request is not open")]
    RequestNotOpen,
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Somebody else changed the same thing, again and again.
    #[error("others changed the same thing at the same time")]
    Conflict,
    /// A fault of ours.
    #[error("{0}")]
    Internal(String),
}

impl From<AppendError> for PageFault {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } => Self::Conflict,
            AppendError::Payload { .. } => Self::Internal(error.to_string()),
            AppendError::Database(error) => Self::Database(error),
        }
    }
}

impl From<SessionError> for PageFault {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Database(error) => error.into(),
            SessionError::Append(error) => error.into(),
        }
    }
}

impl From<sqlx::Error> for PageFault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<ForeignForm> for PageFault {
    fn from(_: ForeignForm) -> Self {
        Self::ForeignForm
    }
}

impl From<AuthorizationError> for PageFault {
    fn from(error: AuthorizationError) -> Self {
        match error {
            AuthorizationError::Database(error) => error.into(),
            AuthorizationError::Append(error) => error.into(),
        }
    }
}

impl IntoResponse for PageFault {
    fn into_response(self) -> Response {
        let (status, heading, text, action) = match &self {
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "The address may be mistyped, or the page is gone.",
                Some(Action { href: "/".to_owned(), label: "To your account" }),
            ),
            Self::MalformedForm(_) => (
                StatusCode::BAD_REQUEST,
                "This form could not be read",
                "A part of it is missing or was sent twice. Go back, reload the page and send it again.",
                None,
            ),
            Self::ForeignForm => (
                StatusCode::FORBIDDEN,
                "This form is not from here",
                "It was sent from another site, or from a page of an earlier sign-in. Nothing was changed. Open the page here and try again.",
                Some(Action { href: "/account".to_owned(), label: "To your account" }),
            ),
            Self::RequestNotOpen => (
                StatusCode::BAD_REQUEST,
                "This sign-in cannot go on",
                "It is over, took too long or was begun in another browser. Nothing was shared. Go back to the application and start again.",
                None,
            ),
            Self::Conflict => (
                StatusCode::CONFLICT,
                "Somebody was faster",
                "The same thing was changed from elsewhere at the same moment. Nothing of yours was kept. Try again.",
                None,
            ),
            Self::Internal(error) => {
                tracing::error!(error, "a page failed");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something failed on our side",
                    "Nothing was changed. Try again; if it stays, tell the people who run the gateway.",
                    None,
                )
            }
            Self::Database(error) => {
                tracing::error!(%error, "a page failed on the database");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "We cannot do this right now",
                    "A part of the gateway does not answer. Nothing was changed. Try again in a moment.",
                    None,
                )
            }
        };
        let message = Message { heading, text: text.to_owned(), action, request_id: None };
        let mut response = message.respond(status);
        if status.is_server_error() {
            response.extensions_mut().insert(Unnamed(message));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

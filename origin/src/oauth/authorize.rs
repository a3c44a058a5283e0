//! `/oauth/authorize`, by GET or POST (RFC 6749 §3.1, OpenID Connect Core §3.1.2.1). The edge has judged the request already; it is
//! judged again by the origin's own policy. It may not redirect to an address that is not the client's.

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use shared::{
    authorization_request::{AuthorizationFault, AuthorizationRequest, ErrorRedirect},
    decide::{Refusal, RefusalForm},
    form::Parameters,
    problem::ProblemType,
};

use super::{
    authorization::{self, Denial},
    form,
};
use crate::{
    database::{Actor, Component, DatabaseError},
    http::{EdgeCaller, Origin, Refused},
    policy::PolicyError,
    sessions,
};

/// Why an authorization request ends here.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorizeError {
    /// Nobody can be trusted to be told: the person sees a page.
    #[error("{0}")]
    Page(&'static str),
    /// The client is told.
    #[error("{}", .0.description)]
    Redirect(ErrorRedirect, String),
    /// There is no policy to judge by.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for AuthorizeError {
    fn into_response(self) -> Response {
        match self {
            Self::Page(text) => Refused::from(Refusal::page(text)).into_response(),
            Self::Redirect(redirect, issuer) => see_other(&redirect.location(&issuer)),
            error => {
                tracing::error!(%error, "an authorization request failed");
                Refused::from(Refusal {
                    form: RefusalForm::OutagePage(
                        ProblemType::OriginUnavailable,
                        "A part of the gateway does not answer.",
                    ),
                    retry_after: Some(2),
                    ..Refusal::page("")
                })
                .into_response()
            }
        }
    }
}

/// The handler.
pub(super) async fn authorize(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, AuthorizeError> {
    const UNREADABLE: AuthorizeError =
        AuthorizeError::Page("The application sent a request that cannot be read.");
    let parameters = if method == Method::POST {
        form::read(&headers, &body).map_err(|_| UNREADABLE)?
    } else {
        Parameters::parse(query.unwrap_or_default().as_bytes()).map_err(|_| UNREADABLE)?
    };
    let policy = origin.policy.current(&origin.database).await?;
    let request = AuthorizationRequest::read(&policy.policy, &parameters).map_err(|fault| match fault {
        AuthorizationFault::Page(text) => AuthorizeError::Page(text),
        AuthorizationFault::Redirect(redirect) => {
            AuthorizeError::Redirect(redirect, origin.issuer().to_owned())
        }
    })?;
    let idle = origin.configuration.lifetimes.session_idle;
    let session = sessions::from_request(&origin.database, idle, &headers).await?;

    let since = authorization::authenticated_since(&request, origin.clock.now());
    let is_signed_in =
        session.as_ref().is_some_and(|session| since.is_none_or(|since| since <= session.auth_time));
    if request.prompt.none && !is_signed_in {
        let (error, description) = Denial::LoginRequired.in_words();
        let AuthorizationRequest { redirect_uri, state, .. } = request;
        let redirect = ErrorRedirect { redirect_uri, error, description, state };
        return Err(AuthorizeError::Redirect(redirect, origin.issuer().to_owned()));
    }
    let actor = Actor::System(Component::AuthorizationServer);
    let mut scope = origin.database.scope(actor).await?.correlated(caller.correlation_id());
    let session_id = session.as_ref().map(|session| session.id);
    let id = authorization::begin(&mut scope, &request, session_id)
        .await?
        .ok_or(AuthorizeError::Page("The application is not registered here, or has been disabled."))?;
    scope.commit().await?;
    // Whether the person must be asked is the consent page's to say; when not, it goes on by itself.
    let page = if is_signed_in { "consent" } else { "sign-in" };
    Ok(see_other(&format!("/{page}?request={id}")))
}

/// 303, so that no browser repeats a POST elsewhere (RFC 9700 §4.12).
fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        tracing::error!("a redirect could not be written as a header");
        return Refused::internal().into_response();
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

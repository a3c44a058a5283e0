//! `POST /sign-out`: ends this browser's session.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::Response,
    routing::post,
};

use super::{End, clear_cookie, end_with_grants, from_request};
use crate::http::{EdgeCaller, Origin};
use crate::pages::{OwnForm, PageFault, see_other};

/// The routes of sessions.
pub fn routes() -> Router<Origin> {
    Router::new().route("/sign-out", post(sign_out))
}

/// The form carries the session's token, so that nobody is signed out by another site; `request` goes on with another account.
async fn sign_out(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    form: OwnForm,
) -> Result<Response, PageFault> {
    let request = form.id("request")?;
    let idle = origin.configuration.lifetimes.session_idle;
    if let Some(session) = from_request(&origin.database, idle, &headers).await? {
        if !session.owns_form(form.get("csrf")) {
            return Err(PageFault::ForeignForm);
        }
        let owned = (session.id, session.user_id);
        end_with_grants(&origin, caller.correlation_id(), owned, End::SignedOut).await?;
    }
    let next = request.map_or("/sign-in".to_owned(), |request| format!("/sign-in?request={request}"));
    let mut response = see_other(&next);
    response.headers_mut().append(header::SET_COOKIE, clear_cookie());
    Ok(response)
}

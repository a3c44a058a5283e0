//! `/consent`: shows the request, and takes the answer.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use shared::form::Parameters;
use uuid::Uuid;

use super::{PendingRequest, in_words, remembered};
use crate::database::{Actor, Component, Scope};
use crate::http::{EdgeCaller, Origin};
use crate::oauth::{self, Denial};
use crate::pages::{FormTargets, OwnForm, PageFault, page, see_other};
use crate::sessions::{self, Session};

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage<'a> {
    client_name: &'a str,
    project_name: &'a str,
    workspace_name: &'a str,
    scopes: Vec<ScopeRow<'a>>,
    email: &'a str,
    return_host: String,
    request: Uuid,
    csrf: &'a str,
}

struct ScopeRow<'a> {
    name: &'a str,
    words: String,
}

async fn open(origin: &Origin, caller: &EdgeCaller) -> Result<Scope, PageFault> {
    let actor = Actor::System(Component::AuthorizationServer);
    Ok(origin.database.scope(actor).await?.correlated(caller.correlation_id()))
}

async fn session_of(origin: &Origin, headers: &HeaderMap) -> Result<Option<Session>, PageFault> {
    let idle = origin.configuration.lifetimes.session_idle;
    Ok(sessions::from_request(&origin.database, idle, headers).await?)
}

/// `GET /consent`.
pub(super) async fn show(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageFault> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes())
        .map_err(|_| PageFault::MalformedForm("query"))?;
    let id: Uuid =
        query.get("request").and_then(|text| text.parse().ok()).ok_or(PageFault::RequestNotOpen)?;
    let session = session_of(&origin, &headers).await?;
    let mut scope = open(&origin, &caller).await?;
    let request = PendingRequest::find(&mut scope, id).await?.ok_or(PageFault::RequestNotOpen)?;
    let session = session.filter(|session| !request.wants_sign_in(session.auth_time));
    let Some(session) = session else {
        if request.is_silent() {
            return end(scope, &origin, id, Denial::LoginRequired).await;
        }
        return Ok(see_other(&format!("/sign-in?request={id}")));
    };
    if request.may_be_remembered() && remembered::covers(&mut scope, session.user_id, &request).await? {
        let grant_id = origin.policy.fresh_id("grant", &scope);
        let location = oauth::allow(&mut scope, &origin, id, &session, grant_id).await?;
        scope.commit().await?;
        return Ok(see_other(&location.ok_or(PageFault::RequestNotOpen)?));
    }
    if request.is_silent() {
        return end(scope, &origin, id, Denial::ConsentRequired).await;
    }
    scope.rollback().await?;
    let template = ConsentPage {
        client_name: &request.client_name,
        project_name: &request.project_name,
        workspace_name: &request.workspace_name,
        scopes: request.scopes.iter().map(|name| ScopeRow { name, words: in_words(name) }).collect(),
        email: &session.email,
        return_host: request.return_host(),
        request: id,
        csrf: session.csrf(),
    };
    Ok(page(StatusCode::OK, &template, &FormTargets::OwnAnd(request.redirect_uri.clone())))
}

/// Sends the person back without a code.
async fn end(mut scope: Scope, origin: &Origin, id: Uuid, denial: Denial) -> Result<Response, PageFault> {
    let location = oauth::deny(&mut scope, origin, id, denial).await?.ok_or(PageFault::RequestNotOpen)?;
    scope.commit().await?;
    Ok(see_other(&location))
}

/// `POST /consent`. The answer, what is remembered of it, its events and the code are one transaction.
pub(super) async fn submit(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    form: OwnForm,
) -> Result<Response, PageFault> {
    let id = form.id("request")?.ok_or(PageFault::MalformedForm("request"))?;
    let allowed = match form.require("decision")? {
        "allow" => true,
        "deny" => false,
        _ => return Err(PageFault::MalformedForm("decision")),
    };
    let Some(session) = session_of(&origin, &headers).await? else {
        return Ok(see_other(&format!("/sign-in?request={id}")));
    };
    if !session.owns_form(form.get("csrf")) {
        return Err(PageFault::ForeignForm);
    }
    let mut scope = open(&origin, &caller).await?;
    let request = PendingRequest::find(&mut scope, id).await?.ok_or(PageFault::RequestNotOpen)?;
    if allowed && request.wants_sign_in(session.auth_time) {
        return Ok(see_other(&format!("/sign-in?request={id}")));
    }
    let location = if allowed {
        let grant_id = origin.policy.fresh_id("grant", &scope);
        remembered::remember(&mut scope, session.user_id, grant_id, &request).await?;
        oauth::allow(&mut scope, &origin, id, &session, grant_id).await?
    } else {
        oauth::deny(&mut scope, &origin, id, Denial::ByThePerson).await?
    };
    // Answered at the same moment by another form of the same person: nothing of this one is kept.
    let location = location.ok_or(PageFault::RequestNotOpen)?;
    scope.commit().await?;
    Ok(see_other(&location))
}

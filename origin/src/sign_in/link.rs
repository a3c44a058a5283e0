//! `/sign-in/link`: a one-time link. Opening it changes nothing, since mail scanners and browsers open links ahead of people; the
//! button uses it up.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use shared::form::Parameters;

use super::code::{admitted, disabled_page};
use super::link_challenge::{self, Followed};
use super::secret::LinkToken;
use crate::http::{EdgeCaller, Origin};
use crate::pages::{Action, FormTargets, Message, OwnForm, PageFault, page};
use crate::sessions::{SessionToken, Visitor};

#[derive(Template)]
#[template(path = "sign_in/link.html")]
struct LinkPage<'a> {
    email: &'a str,
    token: &'a str,
}

/// `GET /sign-in/link`.
pub(super) async fn show(
    State(origin): State<Origin>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageFault> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes())
        .map_err(|_| PageFault::MalformedForm("query"))?;
    let Some(token) = query.get("token").and_then(LinkToken::parse) else { return Ok(over_page()) };
    let Some(email) = link_challenge::link_owner(&origin.database, &token).await? else {
        return Ok(over_page());
    };
    Ok(page(StatusCode::OK, &LinkPage { email: &email, token: &token.expose() }, &FormTargets::Own))
}

/// `POST /sign-in/link`.
pub(super) async fn submit(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    form: OwnForm,
) -> Result<Response, PageFault> {
    let Some(token) = LinkToken::parse(form.require("token")?) else { return Ok(over_page()) };
    let followed = link_challenge::follow(
        &origin.database,
        &origin.configuration.lifetimes,
        &token,
        SessionToken::from_cookies(&headers).as_ref(),
        &Visitor::of(caller.ip(), &headers),
        caller.correlation_id(),
    )
    .await?;
    Ok(match followed {
        Followed::Admitted(session) => admitted(&session, "/account"),
        Followed::Over => over_page(),
        Followed::Disabled => disabled_page(),
    })
}

fn over_page() -> Response {
    Message {
        heading: "This link cannot be used",
        text: "It has been used, is too old or was not copied whole. You can sign in with a code instead."
            .to_owned(),
        action: Some(Action { href: "/sign-in".to_owned(), label: "Sign in with a code" }),
        request_id: None,
    }
    .respond(StatusCode::GONE)
}

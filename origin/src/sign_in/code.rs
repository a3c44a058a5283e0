//! `/sign-in/code`: takes the code from the browser that asked for it, and begins the session.

use askama::Template;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use uuid::Uuid;

use super::challenge::{self, Attempt, Attempter, Open};
use super::secret::{BrowserBinding, OneTimeCode};
use super::start::limit_page;
use crate::consent::PendingRequest;
use crate::database::{Actor, Component};
use crate::events::payload::CodeRefusal;
use crate::http::{EdgeCaller, Origin};
use crate::pages::{Action, FormTargets, Message, OwnForm, PageFault, page, see_other};
use crate::sessions::{SessionToken, Started, Visitor};

#[derive(Template)]
#[template(path = "sign_in/code.html")]
struct CodePage<'a> {
    email: &'a str,
    client_name: Option<&'a str>,
    request: Option<Uuid>,
    minutes_left: i64,
    fault: Option<String>,
}

/// `GET /sign-in/code`.
pub(super) async fn show(State(origin): State<Origin>, headers: HeaderMap) -> Result<Response, PageFault> {
    let Some(binding) = BrowserBinding::from_cookies(&headers) else { return Ok(see_other("/sign-in")) };
    code_page(&origin, &binding, None).await
}

/// The form, or what there is to say when the challenge takes no code any more.
async fn code_page(
    origin: &Origin,
    binding: &BrowserBinding,
    fault: Option<String>,
) -> Result<Response, PageFault> {
    let mut scope = origin.database.scope(Actor::System(Component::Authenticator)).await?;
    let Some(Open { email, expires_at, request }) = challenge::open(&mut scope, binding).await? else {
        scope.rollback().await?;
        return over(origin, binding, CodeRefusal::Expired).await;
    };
    let pending = match request {
        Some(request) => PendingRequest::find(&mut scope, request).await?,
        None => None,
    };
    scope.rollback().await?;
    let seconds_left = (expires_at - origin.clock.now()).whole_seconds();
    let (client_name, redirect_uri) = pending
        .as_ref()
        .map_or((None, None), |pending| (Some(pending.client_name.as_str()), Some(&*pending.redirect_uri)));
    let status = if fault.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let template =
        CodePage { email: &email, client_name, request, minutes_left: (seconds_left + 59) / 60, fault };
    // The redirects that answer this form may end at the client, when consent was given before.
    Ok(page(status, &template, &FormTargets::own_and(redirect_uri)))
}

/// `POST /sign-in/code`.
pub(super) async fn submit(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    form: OwnForm,
) -> Result<Response, PageFault> {
    let Some(binding) = BrowserBinding::from_cookies(&headers) else {
        return Ok(over_page(CodeRefusal::OtherBrowser, None));
    };
    let typed = form.get("code").unwrap_or_default();
    let Some(code) = OneTimeCode::parse(typed) else {
        // No guess was made: it costs no try.
        let fault = format!("The code has {} digits. Copy it from the newest mail.", super::CODE_DIGITS);
        return code_page(&origin, &binding, Some(fault)).await;
    };
    let visitor = Visitor::of(caller.ip(), &headers);
    let former = SessionToken::from_cookies(&headers);
    let attempter = Attempter {
        binding: &binding,
        former: former.as_ref(),
        visitor: &visitor,
        request_id: caller.correlation_id(),
    };
    let lifetimes = &origin.configuration.lifetimes;
    let attempt =
        challenge::attempt(&origin.database, lifetimes, &origin.code_hash_key, &code, &attempter).await?;
    match attempt {
        Attempt::Admitted { session, request } => {
            let next = challenge::return_to(request);
            let mut response = admitted(&session, next.as_deref().unwrap_or("/account"));
            response.headers_mut().append(header::SET_COOKIE, BrowserBinding::clear_cookie());
            Ok(response)
        }
        Attempt::Wrong { remaining } => {
            let tries = if remaining == 1 { "try" } else { "tries" };
            let fault = format!("This is not the code we sent. You have {remaining} {tries} left.");
            code_page(&origin, &binding, Some(fault)).await
        }
        Attempt::Over(reason) => over(&origin, &binding, reason).await,
        Attempt::Limited(reached) => {
            let back = Action { href: "/sign-in/code".to_owned(), label: "Back to the code" };
            Ok(limit_page("Codes for this address were guessed too often.", reached, back))
        }
        Attempt::Disabled => Ok(disabled_page()),
    }
}

/// On to the next page, with the new session.
pub(super) fn admitted(session: &Started, next: &str) -> Response {
    let mut response = see_other(next);
    response.headers_mut().append(header::SET_COOKIE, session.token.set_cookie(session.lifetime));
    response
}

/// The end of a challenge, with the way on for the authorization request it was for.
async fn over(origin: &Origin, binding: &BrowserBinding, reason: CodeRefusal) -> Result<Response, PageFault> {
    let mut scope = origin.database.scope(Actor::System(Component::Authenticator)).await?;
    let request = challenge::request_for(&mut scope, binding).await?;
    scope.rollback().await?;
    Ok(over_page(reason, request))
}

fn over_page(reason: CodeRefusal, request: Option<Uuid>) -> Response {
    let action = match reason {
        // Whoever pressed the button twice is signed in.
        CodeRefusal::Used => Action {
            href: challenge::return_to(request).unwrap_or_else(|| "/account".to_owned()),
            label: "Go on",
        },
        _ => Action::start_again(request),
    };
    let text = match reason {
        CodeRefusal::Expired => "It is too old, or a newer one has taken its place. Ask for a new one.",
        CodeRefusal::Used => "It has been used already. If it was you, just go on.",
        CodeRefusal::OtherBrowser => {
            "It works only in the browser that asked for it. Go back to that browser, or ask for a new one here."
        }
        CodeRefusal::Wrong | CodeRefusal::TooManyAttempts => {
            "It was typed wrong too often. Ask for a new one."
        }
    };
    Message {
        heading: "This code cannot be used",
        text: text.to_owned(),
        action: Some(action),
        request_id: None,
    }
    .respond(StatusCode::GONE)
}

/// Said only to who has proved to own the address.
pub(super) fn disabled_page() -> Response {
    Message {
        heading: "This account cannot sign in",
        text: "It has been suspended. The people who run the gateway can tell you more.".to_owned(),
        action: None,
        request_id: None,
    }
    .respond(StatusCode::FORBIDDEN)
}

//! `/sign-in`: asks for an address and mails a code to it. The answer is the same whether the address has an account or not.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use shared::form::Parameters;
use uuid::Uuid;

use super::limits::LimitReached;
use super::secret::{BrowserBinding, CODE_DIGITS, OneTimeCode};
use super::{EmailAddress, challenge};
use crate::consent::PendingRequest;
use crate::database::{Actor, Component};
use crate::events::payload::CodeWithdrawal;
use crate::http::{EdgeCaller, Origin};
use crate::mail::{Mail, MailError};
use crate::pages::{Action, FormTargets, Message, OwnForm, PageFault, page, see_other};
use crate::sessions;

#[derive(Template)]
#[template(path = "sign_in/email.html")]
struct EmailPage<'a> {
    client_name: Option<&'a str>,
    request: Option<Uuid>,
    email: &'a str,
    fault: Option<&'a str>,
}

impl EmailPage<'_> {
    fn respond(&self, status: StatusCode) -> Response {
        page(status, self, &FormTargets::Own)
    }
}

/// The authorization request that a query names; one that is not open ends here, before a code is mailed for it.
pub(super) async fn pending(origin: &Origin, id: Option<Uuid>) -> Result<Option<PendingRequest>, PageFault> {
    let Some(id) = id else { return Ok(None) };
    let mut scope = origin.database.scope(Actor::System(Component::Authenticator)).await?;
    let found = PendingRequest::find(&mut scope, id).await?;
    scope.rollback().await?;
    found.map(Some).ok_or(PageFault::RequestNotOpen)
}

/// `GET /sign-in`.
pub(super) async fn show(
    State(origin): State<Origin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageFault> {
    let query = Parameters::parse(query.unwrap_or_default().as_bytes())
        .map_err(|_| PageFault::MalformedForm("query"))?;
    let id = match query.get("request") {
        Some(text) => Some(text.parse().map_err(|_| PageFault::RequestNotOpen)?),
        None => None,
    };
    if id.is_none() {
        let idle = origin.configuration.lifetimes.session_idle;
        if sessions::from_request(&origin.database, idle, &headers).await?.is_some() {
            return Ok(see_other("/account"));
        }
    }
    let pending = pending(&origin, id).await?;
    let client_name = pending.as_ref().map(|pending| pending.client_name.as_str());
    let email = pending.as_ref().and_then(|pending| pending.login_hint.as_deref()).unwrap_or_default();
    Ok(EmailPage { client_name, request: id, email, fault: None }.respond(StatusCode::OK))
}

/// `POST /sign-in`.
pub(super) async fn submit(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    form: OwnForm,
) -> Result<Response, PageFault> {
    let request = form.id("request")?;
    let pending = pending(&origin, request).await?;
    let client_name = pending.as_ref().map(|pending| pending.client_name.as_str());
    let typed = form.get("email").unwrap_or_default();
    let again = |fault: &str, status| {
        EmailPage { client_name, request, email: typed, fault: Some(fault) }.respond(status)
    };
    let email = match EmailAddress::parse(typed) {
        Ok(email) => email,
        Err(fault) => return Ok(again(&fault.to_string(), StatusCode::UNPROCESSABLE_ENTITY)),
    };

    let lifetime = origin.configuration.lifetimes.one_time_code;
    let system = Actor::System(Component::Authenticator);
    let mut scope = origin.database.scope(system.clone()).await?.correlated(caller.correlation_id());
    let key = (&origin.code_hash_key, lifetime);
    let issued = match challenge::issue(&mut scope, &origin.randomness, key, &email, request).await? {
        Ok(issued) => issued,
        Err(reached) => {
            let again = Action::start_again(request);
            return Ok(limit_page("Too many codes were sent to this address.", reached, again));
        }
    };
    // Before the mail: whoever reads it must find the challenge, and no transaction waits for a mail server.
    scope.commit().await?;

    let mail = compose(&email, &issued.code, lifetime, origin.issuer());
    let sent = match mail {
        Some(mail) => origin.mailer.send(mail).await.map_err(|error| {
            tracing::error!(%error, "a sign-in code could not be mailed");
            matches!(error, MailError::Refused(_) | MailError::Unwritable(_))
        }),
        None => Err(true),
    };
    if let Err(is_permanent) = sent {
        let reason = if is_permanent { CodeWithdrawal::MailRefused } else { CodeWithdrawal::MailUnavailable };
        let mut scope = origin.database.scope(system).await?.correlated(caller.correlation_id());
        challenge::withdraw(&mut scope, issued.binding.challenge_id, reason).await?;
        scope.commit().await?;
        return Ok(if is_permanent {
            again("Mail to this address is refused. Check the spelling.", StatusCode::UNPROCESSABLE_ENTITY)
        } else {
            again(
                "The mail with the code could not be sent just now. Try again in a minute.",
                StatusCode::SERVICE_UNAVAILABLE,
            )
        });
    }
    Ok(to_code_page(&issued.binding, lifetime))
}

fn to_code_page(binding: &BrowserBinding, lifetime: Duration) -> Response {
    let mut response = see_other("/sign-in/code");
    response.headers_mut().append(header::SET_COOKIE, binding.set_cookie(lifetime));
    response
}

/// The page of a limit that was reached.
pub(super) fn limit_page(what: &str, reached: LimitReached, action: Action) -> Response {
    let minutes = reached.retry_after_seconds.div_ceil(60);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    let message = Message {
        heading: "Too many tries",
        text: format!("{what} To keep guessers out, the next is possible in {minutes} {unit}."),
        action: Some(action),
        request_id: None,
    };
    let mut response = message.respond(StatusCode::TOO_MANY_REQUESTS);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(reached.retry_after_seconds));
    response
}

/// The mail. It has no link: nobody learns to click one, and there is none to forge.
fn compose(email: &EmailAddress, code: &OneTimeCode, lifetime: Duration, issuer: &str) -> Option<Mail> {
    let (code, minutes) = (code.expose(), lifetime.as_secs().div_ceil(60));
    let host = issuer.split_once("://").map_or(issuer, |(_, host)| host);
    debug_assert_eq!(code.len(), CODE_DIGITS);
    let text = format!(
        "Your one-time code:\n\n    {code}\n\n\
         Type it into the page that asked for it, at {host}.\n\
         It works once, in that browser only, for {minutes} minutes.\n\n\
         Nobody will ever ask you for this code. If you did not ask for it\n\
         yourself, ignore this mail: without the code nobody can sign in.\n"
    );
    Some(Mail { to: email.to_mail()?, subject: "Your sign-in code".to_owned(), text })
}

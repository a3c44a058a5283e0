//! `/account`: who a person is here and where they are signed in, with a button to end each session. It may not show anything of
//! another person: it reads as that person, under row-level security.

#[cfg(test)]
mod tests;

use askama::Template;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use time::{OffsetDateTime, macros::format_description};
use uuid::Uuid;

use crate::database::Actor;
use crate::http::{EdgeCaller, Origin};
use crate::pages::{FormTargets, OwnForm, PageFault, page, see_other};
use crate::sessions::{self, End, OpenSession, Session, browser_of};

/// The routes of the account.
pub fn routes() -> Router<Origin> {
    Router::new().route("/", get(home)).route("/account", get(show).post(end_session))
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    email: &'a str,
    user_id: Uuid,
    since: String,
    sessions: Vec<SessionRow>,
    csrf: &'a str,
}

struct SessionRow {
    id: Uuid,
    is_current: bool,
    browser: String,
    address: Option<String>,
    signed_in: String,
    last_seen: String,
}

async fn session_of(origin: &Origin, headers: &HeaderMap) -> Result<Option<Session>, PageFault> {
    let idle = origin.configuration.lifetimes.session_idle;
    Ok(sessions::from_request(&origin.database, idle, headers).await?)
}

/// `GET /`: the account, or the way in.
async fn home(State(origin): State<Origin>, headers: HeaderMap) -> Result<Response, PageFault> {
    let is_signed_in = session_of(&origin, &headers).await?.is_some();
    Ok(see_other(if is_signed_in { "/account" } else { "/sign-in" }))
}

/// `GET /account`.
async fn show(State(origin): State<Origin>, headers: HeaderMap) -> Result<Response, PageFault> {
    let Some(session) = session_of(&origin, &headers).await? else { return Ok(see_other("/sign-in")) };
    let mut scope = origin.database.scope(Actor::Person { user_id: session.user_id }).await?;
    let since: OffsetDateTime = sqlx::query_scalar("SELECT created_at FROM user_accounts WHERE id = $1")
        .bind(session.user_id)
        .fetch_one(scope.connection())
        .await?;
    let mut open = sessions::open_sessions(&mut scope, session.user_id).await?;
    scope.rollback().await?;
    open.sort_by_key(|other| other.id != session.id);
    let now = origin.clock.now();
    let template = AccountPage {
        email: &session.email,
        user_id: session.user_id,
        since: day(since),
        sessions: open.into_iter().map(|open| row(open, session.id, now)).collect(),
        csrf: session.csrf(),
    };
    Ok(page(StatusCode::OK, &template, &FormTargets::Own))
}

/// `POST /account`: ends one of the person's other sessions. One that is over already is no fault: it is what was asked for.
async fn end_session(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    form: OwnForm,
) -> Result<Response, PageFault> {
    let Some(session) = session_of(&origin, &headers).await? else { return Ok(see_other("/sign-in")) };
    if !session.owns_form(form.get("csrf")) {
        return Err(PageFault::ForeignForm);
    }
    let other = form.id("session")?.ok_or(PageFault::MalformedForm("session"))?;
    let owned = (other, session.user_id);
    sessions::end_with_grants(&origin, caller.correlation_id(), owned, End::Revoked).await?;
    Ok(see_other("/account"))
}

fn row(open: OpenSession, current: Uuid, now: OffsetDateTime) -> SessionRow {
    let browser = open.user_agent.as_deref().and_then(browser_of);
    SessionRow {
        id: open.id,
        is_current: open.id == current,
        browser: browser.unwrap_or_else(|| "Another program".to_owned()),
        address: open.address,
        signed_in: ago(open.created_at, now),
        last_seen: ago(open.last_seen_at, now),
    }
}

fn day(at: OffsetDateTime) -> String {
    at.format(format_description!("[day padding:none] [month repr:long] [year]")).unwrap_or_default()
}

/// A moment as people say it, without asking for their time zone.
fn ago(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let minutes = (now - at).whole_minutes();
    match minutes {
        ..2 => "just now".to_owned(),
        2..120 => format!("{minutes} minutes ago"),
        120..2_880 => format!("{} hours ago", minutes / 60),
        _ => format!("on {}", day(at)),
    }
}

//! The beginning and end of sessions, each with its event, in the caller's transaction.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use time::OffsetDateTime;
use uuid::Uuid;

use super::SessionToken;
use crate::clock::Randomness;
use crate::configuration::Lifetimes;
use crate::database::{Actor, Component, DatabaseError, Scope};
use crate::events::field::Moment;
use crate::events::payload::{SessionEnd, SessionEnded, SessionStarted, SignInMethod};
use crate::events::{AppendError, NewEvent};
use crate::http::Origin;
use crate::oauth;

/// Why a session could not be begun or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<sqlx::Error> for SessionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Where a session is used from, as shown to its owner.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// The caller's address, as the edge saw it.
    pub address: Option<IpAddr>,
    /// `User-Agent`, cut to what the table holds.
    pub user_agent: Option<String>,
}

impl Visitor {
    /// Reads a request.
    pub fn of(address: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let user_agent = headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(|text| text.chars().filter(|char| !char.is_control()).take(512).collect());
        Self { address, user_agent }
    }
}

/// A session that has just begun.
pub struct Started {
    /// Its id.
    pub id: Uuid,
    /// Its secret, for the cookie.
    pub token: SessionToken,
    /// How long it lives at most.
    pub lifetime: Duration,
}

/// Begins a session. The token is always a new one: whatever the browser had before is no session of this person.
pub async fn start(
    scope: &mut Scope,
    randomness: &Randomness,
    lifetimes: &Lifetimes,
    user_id: Uuid,
    (method, challenge_id): (SignInMethod, Uuid),
    visitor: &Visitor,
) -> Result<Started, SessionError> {
    let now = scope.clock().now();
    let id = scope.new_id();
    let token = SessionToken::generate(randomness);
    let absolute_expires_at = now + lifetimes.session;
    let amr: &[&str] = match method {
        // RFC 8176, 2: a one-time password; the mailbox it went to is no factor of its own.
        SignInMethod::EmailCode | SignInMethod::OperatorLink => &["otp"],
    };
    sqlx::query(
        "INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at,
                               absolute_expires_at, amr, auth_time, address, user_agent)
         VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $4, $8::inet, $9)",
    )
    .bind(id)
    .bind(user_id)
    .bind(&token.hash()[..])
    .bind(now)
    .bind((now + lifetimes.session_idle).min(absolute_expires_at))
    .bind(absolute_expires_at)
    .bind(amr)
    .bind(visitor.address.map(|address| address.to_string()))
    .bind(&visitor.user_agent)
    .execute(scope.connection())
    .await?;
    let event = SessionStarted {
        user_id,
        method,
        challenge_id: Some(challenge_id),
        expires_at: Moment(absolute_expires_at),
    };
    scope.append(NewEvent::of_platform(id, &event)).await?;
    Ok(Started { id, token, lifetime: lifetimes.session })
}

/// Why a session is ended, and by whom it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By the browser that holds it.
    SignedOut,
    /// By its owner from another browser, or because a new sign-in takes its place.
    Revoked,
}

/// Ends a session of `user_id`. Says whether it was open; only then is there an event.
pub async fn end(scope: &mut Scope, id: Uuid, user_id: Uuid, end: End) -> Result<bool, SessionError> {
    let (reason, word) = match end {
        End::SignedOut => (SessionEnd::SignedOut, "signed_out"),
        End::Revoked => (SessionEnd::Revoked, "revoked"),
    };
    let now: OffsetDateTime = scope.clock().now();
    let ended = sqlx::query(
        "UPDATE sessions SET ended_at = $3, end_reason = $4
         WHERE id = $1 AND user_id = $2 AND ended_at IS NULL",
    )
    .bind(id)
    .bind(user_id)
    .bind(now)
    .bind(word)
    .execute(scope.connection())
    .await?
    .rows_affected();
    if ended == 0 {
        return Ok(false);
    }
    scope.append(NewEvent::of_platform(id, &SessionEnded { user_id, reason })).await?;
    Ok(true)
}

/// Ends a session for its owner, and with it every grant that came of it: who ends the session of a lost device means its
/// applications too. Edges hear of it with the next policy.
pub async fn end_with_grants(
    origin: &Origin,
    request_id: Uuid,
    (id, user_id): (Uuid, Uuid),
    reason: End,
) -> Result<(), SessionError> {
    // Not the person's own scope: the entries of the policy belong to the grants' workspaces.
    let actor = Actor::System(Component::Authenticator);
    let mut scope = origin.database.scope(actor).await?.correlated(request_id);
    if end(&mut scope, id, user_id, reason).await? {
        oauth::end_grants_of_session(&mut scope, id).await?;
        scope.commit().await?;
        origin.policy.mark_changed();
    }
    Ok(())
}

/// Ends the session that a browser brings to a new sign-in, if it is open.
pub async fn end_by_token(scope: &mut Scope, token: &SessionToken) -> Result<(), SessionError> {
    let found: Option<(Uuid, Uuid)> =
        sqlx::query_as("SELECT id, user_id FROM sessions WHERE token_hash = $1 AND ended_at IS NULL")
            .bind(&token.hash()[..])
            .fetch_optional(scope.connection())
            .await?;
    if let Some((id, user_id)) = found {
        end(scope, id, user_id, End::Revoked).await?;
    }
    Ok(())
}

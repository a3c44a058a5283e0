//! Sessions of persons in browsers: a random token in a `__Host-` cookie, of which only the SHA-256 is stored; an idle and an absolute
//! limit; an end that is an event. It may not say how a person proved who they are: that is [`crate::sign_in`]'s.

mod browser;
mod list;
mod sign_out;

mod store;
#[cfg(test)]
pub(crate) mod tests;

mod token;

use std::fmt;
use std::time::Duration;

use axum::http::HeaderMap;
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::browser::browser_of;
pub use self::list::{OpenSession, open_sessions};

pub use self::sign_out::routes;
pub use self::store::{End, SessionError, Started, Visitor, end, end_by_token, end_with_grants, start};
pub use self::token::{SessionToken, clear_cookie};
pub(crate) use self::token::{cookie, only_cookie};
use crate::database::{Actor, Component, Database, DatabaseError};

/// How seldom `last_seen_at` is written.
const LAST_SEEN_RESOLUTION: Duration = Duration::from_mins(1);

/// A session that is open, of a person whose account is active.
#[derive(Clone)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// The person.
    pub user_id: Uuid,
    /// The person's address.
    pub email: String,
    /// When the person proved who they are (`auth_time`).
    pub auth_time: OffsetDateTime,
    /// How (RFC 8176).
    pub amr: Vec<String>,
    csrf: String,
}

/// Without the address, which is nobody else's, and the forms' token, which is a secret.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// The token that forms of this session carry.
    pub fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Whether a form carries this session's token; compared in constant time.
    pub fn owns_form(&self, presented: Option<&str>) -> bool {
        use subtle::ConstantTimeEq;
        presented.is_some_and(|presented| presented.as_bytes().ct_eq(self.csrf.as_bytes()).into())
    }
}

/// The session that a request's cookie names, if it is open. `idle` is how long it may go on after this use.
pub async fn from_request(
    database: &Database,
    idle: Duration,
    headers: &HeaderMap,
) -> Result<Option<Session>, DatabaseError> {
    let Some(token) = SessionToken::from_cookies(headers) else { return Ok(None) };
    let now = database.clock().now();
    let mut scope = database.scope(Actor::System(Component::Authenticator)).await?;
    let row: Option<(Uuid, Uuid, String, OffsetDateTime, Vec<String>, OffsetDateTime)> = sqlx::query_as(
        "SELECT sessions.id, sessions.user_id, user_accounts.email, sessions.auth_time, sessions.amr,
                sessions.last_seen_at
         FROM sessions JOIN user_accounts ON user_accounts.id = sessions.user_id
         WHERE sessions.token_hash = $1 AND sessions.ended_at IS NULL AND sessions.expires_at > $2
           AND sessions.absolute_expires_at > $2 AND user_accounts.status = 'active'",
    )
    .bind(&token.hash()[..])
    .bind(now)
    .fetch_optional(scope.connection())
    .await?;
    let Some((id, user_id, email, auth_time, amr, last_seen_at)) = row else {
        scope.rollback().await?;
        return Ok(None);
    };
    // A short idle limit must not run out between two writes.
    let resolution = LAST_SEEN_RESOLUTION.min(idle / 4);
    if now - last_seen_at >= resolution {
        sqlx::query(
            "UPDATE sessions SET last_seen_at = $2, expires_at = least($3, absolute_expires_at)
             WHERE id = $1 AND ended_at IS NULL AND last_seen_at < $2",
        )
        .bind(id)
        .bind(now)
        .bind(now + idle)
        .execute(scope.connection())
        .await?;
        scope.commit().await?;
    } else {
        scope.rollback().await?;
    }
    Ok(Some(Session { id, user_id, email, auth_time, amr, csrf: token.csrf() }))
}

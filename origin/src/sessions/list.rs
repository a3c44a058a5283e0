//! The open sessions of a person, for that person.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::database::{DatabaseError, Scope};

/// How many are shown; the newest first.
const SHOWN: i64 = 50;

/// A session as its owner sees it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct OpenSession {
    /// Its id.
    pub id: Uuid,
    /// When it began.
    pub created_at: OffsetDateTime,
    /// When it was last used, to the minute.
    pub last_seen_at: OffsetDateTime,
    /// From where it began.
    pub address: Option<String>,
    /// `User-Agent` it began with.
    pub user_agent: Option<String>,
}

/// The open sessions of `user_id`, the last used first.
pub async fn open_sessions(scope: &mut Scope, user_id: Uuid) -> Result<Vec<OpenSession>, DatabaseError> {
    let now = scope.clock().now();
    let sessions = sqlx::query_as(
        "SELECT id, created_at, last_seen_at, host(address) AS address, user_agent FROM sessions
         WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2
         ORDER BY last_seen_at DESC, id DESC LIMIT $3",
    )
    .bind(user_id)
    .bind(now)
    .bind(SHOWN)
    .fetch_all(scope.connection())
    .await?;
    Ok(sessions)
}

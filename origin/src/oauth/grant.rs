//! A grant: what a person let a client do, and the refresh family that came of it. This is its end, and the rows of what it gave; how
//! it begins and goes on is [`super::redeem`]'s and [`super::refresh`]'s. Everything runs in the caller's transaction.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{DatabaseError, Scope},
    events::{
        AppendError, NewEvent,
        field::Identifier,
        payload::{GrantEnd, GrantRevoked},
    },
};

/// How much longer than the last access token its revocation is kept: for clocks that are behind.
pub(super) const REVOCATION_SLACK: Duration = Duration::from_mins(1);

/// The word in `oauth_grants.revoke_reason` and `revocations.reason`.
fn word(end: GrantEnd) -> &'static str {
    match end {
        GrantEnd::ClientRequest => "client_request",
        GrantEnd::PersonRequest => "person_request",
        GrantEnd::OperatorRequest => "operator_request",
        GrantEnd::CodeReplay => "code_replay",
        GrantEnd::RefreshTokenReuse => "refresh_token_reuse",
        GrantEnd::SessionEnd => "session_end",
    }
}

/// Locks a grant until the scope ends, and says whether it goes on.
pub(super) async fn lock_open(scope: &mut Scope, grant_id: Uuid) -> Result<bool, DatabaseError> {
    let open: Option<bool> =
        sqlx::query_scalar("SELECT revoked_at IS NULL FROM oauth_grants WHERE id = $1 FOR UPDATE")
            .bind(grant_id)
            .fetch_optional(scope.connection())
            .await?;
    Ok(open.unwrap_or(false))
}

/// Ends a grant: no refresh any more, and the edges refuse its access tokens. Says whether it went on until now; only then is there an
/// event. A client's own grant is one token, and ends by its `jti`. After the commit, call [`PolicyBook::mark_changed`](crate::policy::PolicyBook::mark_changed).
pub async fn end(scope: &mut Scope, grant_id: Uuid, end: GrantEnd) -> Result<bool, AppendError> {
    let now = scope.clock().now();
    let ended: Option<(Uuid, Uuid, String)> = sqlx::query_as(
        "UPDATE oauth_grants SET revoked_at = $2, revoke_reason = $3
         WHERE id = $1 AND revoked_at IS NULL AND user_id IS NOT NULL
         RETURNING workspace_id, user_id, client_id",
    )
    .bind(grant_id)
    .bind(now)
    .bind(word(end))
    .fetch_optional(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let Some((workspace_id, user_id, client_id)) = ended else { return Ok(false) };
    let last: Option<OffsetDateTime> = sqlx::query_scalar(
        "WITH ended AS (
             UPDATE oauth_tokens SET revoked_at = $2
             WHERE grant_id = $1 AND revoked_at IS NULL AND expires_at > $2
             RETURNING expires_at)
         SELECT max(expires_at) FROM ended",
    )
    .bind(grant_id)
    .bind(now)
    .fetch_one(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let expires_at = last.unwrap_or(now) + REVOCATION_SLACK;
    revoke(
        scope,
        &Revocation { kind: "grant", value: grant_id, workspace_id, expires_at, reason: word(end) },
    )
    .await?;
    let event = GrantRevoked { user_id, client_id: Identifier::of(&client_id), reason: end };
    scope.append(NewEvent::of(workspace_id, grant_id, &event)).await?;
    Ok(true)
}

/// Ends every grant that came of a session. Says how many went on until now.
pub async fn end_of_session(scope: &mut Scope, session_id: Uuid) -> Result<u64, AppendError> {
    let grants: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM oauth_grants WHERE session_id = $1 AND revoked_at IS NULL ORDER BY id",
    )
    .bind(session_id)
    .fetch_all(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let mut ended = 0;
    for grant_id in grants {
        ended += u64::from(end(scope, grant_id, GrantEnd::SessionEnd).await?);
    }
    Ok(ended)
}

/// An entry for the policy: what the edges refuse although signature and times are good.
pub(super) struct Revocation {
    pub(super) kind: &'static str,
    pub(super) value: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) expires_at: OffsetDateTime,
    pub(super) reason: &'static str,
}

/// Adds an entry. Says whether it is new.
pub(super) async fn revoke(scope: &mut Scope, entry: &Revocation) -> Result<bool, DatabaseError> {
    let (now, actor) = (scope.clock().now(), scope.actor().to_json());
    let added = sqlx::query(
        "INSERT INTO revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $4)
         ON CONFLICT (kind, value) DO NOTHING",
    )
    .bind(entry.kind)
    .bind(entry.value.to_string())
    .bind(entry.workspace_id)
    .bind(now)
    .bind(entry.expires_at)
    .bind(entry.reason)
    .bind(actor)
    .execute(scope.connection())
    .await?;
    Ok(added.rows_affected() == 1)
}

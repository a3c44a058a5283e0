//! What a person has allowed a client before.

use shared::scope::Scopes;
use uuid::Uuid;

use super::PendingRequest;
use crate::database::{DatabaseError, Scope};
use crate::events::field::Identifier;
use crate::events::payload::ConsentGranted;
use crate::events::{AppendError, NewEvent};

/// Whether everything that is asked for was allowed before, and not taken back.
pub(super) async fn covers(
    scope: &mut Scope,
    user_id: Uuid,
    request: &PendingRequest,
) -> Result<bool, DatabaseError> {
    let covers = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM oauth_consents
             WHERE user_id = $1 AND client_id = $2 AND workspace_id = $3 AND revoked_at IS NULL AND scopes @> $4)",
    )
    .bind(user_id)
    .bind(&request.client_id)
    .bind(request.workspace_id)
    .bind(&request.scopes)
    .fetch_one(scope.connection())
    .await?;
    Ok(covers)
}

/// Remembers a yes, added to what was allowed before unless that was taken back, with its event under the grant it begins.
pub(super) async fn remember(
    scope: &mut Scope,
    user_id: Uuid,
    grant_id: Uuid,
    request: &PendingRequest,
) -> Result<(), AppendError> {
    let now = scope.clock().now();
    sqlx::query(
        "INSERT INTO oauth_consents AS held (workspace_id, user_id, client_id, scopes, granted_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id, client_id) DO UPDATE SET
             workspace_id = excluded.workspace_id,
             scopes = CASE WHEN held.revoked_at IS NULL AND held.workspace_id = excluded.workspace_id
                 THEN ARRAY(SELECT unnest(held.scopes) UNION SELECT unnest(excluded.scopes) ORDER BY 1)
                 ELSE excluded.scopes END,
             granted_at = excluded.granted_at,
             revoked_at = NULL",
    )
    .bind(request.workspace_id)
    .bind(user_id)
    .bind(&request.client_id)
    .bind(&request.scopes)
    .bind(now)
    .execute(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let event = ConsentGranted {
        user_id,
        client_id: Identifier::of(&request.client_id),
        scopes: request.scopes.iter().map(String::as_str).collect::<Scopes>(),
    };
    scope.append(NewEvent::of(request.workspace_id, grant_id, &event)).await?;
    Ok(())
}

//! The account behind an address. It is made at the first successful sign-in or by an operator, never before: asking for a code tells
//! nobody, and leaves nothing, about who has one.

use uuid::Uuid;

use super::EmailAddress;
use crate::clock::Randomness;
use crate::database::Scope;
use crate::events::NewEvent;
use crate::events::field::{CommitmentSalt, Pseudonym};
use crate::events::payload::{SignInMethod, UserRegistered};
use crate::sessions::SessionError;

/// Makes the account of an address, with its event, unless there is one.
pub(super) async fn register_if_missing(
    scope: &mut Scope,
    randomness: &Randomness,
    email: &EmailAddress,
    method: SignInMethod,
) -> Result<(), SessionError> {
    let now = scope.clock().now();
    let (id, salt) = (scope.new_id(), CommitmentSalt(randomness.bytes()));
    let made = sqlx::query(
        "INSERT INTO user_accounts (id, email, email_salt, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $4) ON CONFLICT (email) DO NOTHING",
    )
    .bind(id)
    .bind(email.as_str())
    .bind(&salt.0[..])
    .bind(now)
    .execute(scope.connection())
    .await?
    .rows_affected();
    if made == 1 {
        let event = UserRegistered { email: Pseudonym::commit(salt, email.as_str()), method };
        scope.append(NewEvent::of_platform(id, &event)).await?;
    }
    Ok(())
}

/// The account of an address that has just proved itself, made where there is none. `None` when it is suspended or erased.
pub(super) async fn admit(
    scope: &mut Scope,
    randomness: &Randomness,
    email: &EmailAddress,
    method: SignInMethod,
) -> Result<Option<Uuid>, SessionError> {
    register_if_missing(scope, randomness, email, method).await?;
    let now = scope.clock().now();
    // One statement takes the row's lock, so that the account cannot be suspended between this and the session.
    let id = sqlx::query_scalar(
        "UPDATE user_accounts SET last_sign_in_at = $2 WHERE email = $1 AND status = 'active' RETURNING id",
    )
    .bind(email.as_str())
    .bind(now)
    .fetch_optional(scope.connection())
    .await?;
    Ok(id)
}

//! The life of a one-time link: made by an operator, looked at as often as mail scanners like, used once.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::secret::LinkToken;
use super::{EmailAddress, person};
use crate::configuration::Lifetimes;
use crate::database::{Actor, Component, Database};
use crate::events::NewEvent;
use crate::events::field::{CommitmentSalt, Moment, Pseudonym};
use crate::events::payload::{SignInCodeSent, SignInMethod};
use crate::sessions::{self, SessionError, SessionToken, Started, Visitor};

/// A link that has just been made.
pub struct IssuedLink {
    /// The whole URL; it is the secret.
    pub url: Zeroizing<String>,
    /// Until when it is good.
    pub expires_at: OffsetDateTime,
}

/// Makes a link for an operator, and the account where there is none. The link's host is the configured issuer and nothing else.
pub async fn issue_link(
    database: &Database,
    issuer: &str,
    lifetime: Duration,
    email: &EmailAddress,
) -> Result<IssuedLink, SessionError> {
    let randomness = database.randomness();
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    person::register_if_missing(&mut scope, randomness, email, SignInMethod::OperatorLink).await?;
    let id = scope.new_id();
    let token = LinkToken::generate(id, randomness);
    let salt = CommitmentSalt(randomness.bytes());
    let now = scope.clock().now();
    let expires_at = now + lifetime;
    sqlx::query(
        "INSERT INTO sign_in_challenges (id, email, email_salt, kind, secret_hash, created_at, expires_at)
         VALUES ($1, $2, $3, 'link', $4, $5, $6)",
    )
    .bind(id)
    .bind(email.as_str())
    .bind(&salt.0[..])
    .bind(&token.hash()[..])
    .bind(now)
    .bind(expires_at)
    .execute(scope.connection())
    .await?;
    let event = SignInCodeSent {
        email: Pseudonym::commit(salt, email.as_str()),
        method: SignInMethod::OperatorLink,
        expires_at: Moment(expires_at),
    };
    scope.append(NewEvent::of_platform(id, &event)).await?;
    scope.commit().await?;
    let url = Zeroizing::new(format!("{issuer}/sign-in/link?token={}", *token.expose()));
    Ok(IssuedLink { url, expires_at })
}

/// Whose link it is, while it is good. Uses nothing up.
pub(super) async fn link_owner(
    database: &Database,
    token: &LinkToken,
) -> Result<Option<String>, SessionError> {
    let mut scope = database.scope(Actor::System(Component::Authenticator)).await?;
    let now = scope.clock().now();
    let email = sqlx::query_scalar(
        "SELECT email FROM sign_in_challenges
         WHERE id = $1 AND kind = 'link' AND secret_hash = $2 AND used_at IS NULL AND expires_at > $3",
    )
    .bind(token.challenge_id)
    .bind(&token.hash()[..])
    .bind(now)
    .fetch_optional(scope.connection())
    .await?;
    scope.rollback().await?;
    Ok(email)
}

/// What became of a link.
pub(super) enum Followed {
    /// The person is signed in.
    Admitted(Started),
    /// It is unknown, used or expired.
    Over,
    /// The account may not sign in.
    Disabled,
}

/// Uses a link: the account, the session and their events in one transaction.
pub(super) async fn follow(
    database: &Database,
    lifetimes: &Lifetimes,
    token: &LinkToken,
    former: Option<&SessionToken>,
    visitor: &Visitor,
    request_id: Uuid,
) -> Result<Followed, SessionError> {
    let randomness = database.randomness();
    let mut scope = database.scope(Actor::System(Component::Authenticator)).await?.correlated(request_id);
    let now = scope.clock().now();
    let email: Option<String> = sqlx::query_scalar(
        "UPDATE sign_in_challenges SET used_at = $3
         WHERE id = $1 AND kind = 'link' AND secret_hash = $2 AND used_at IS NULL AND expires_at > $3
         RETURNING email",
    )
    .bind(token.challenge_id)
    .bind(&token.hash()[..])
    .bind(now)
    .fetch_optional(scope.connection())
    .await?;
    let Some(email) = email.and_then(|email| EmailAddress::parse(&email).ok()) else {
        scope.rollback().await?;
        return Ok(Followed::Over);
    };
    let method = SignInMethod::OperatorLink;
    let Some(user_id) = person::admit(&mut scope, randomness, &email, method).await? else {
        scope.commit().await?;
        return Ok(Followed::Disabled);
    };
    if let Some(former) = former {
        sessions::end_by_token(&mut scope, former).await?;
    }
    let reference = (method, token.challenge_id);
    let session = sessions::start(&mut scope, randomness, lifetimes, user_id, reference, visitor).await?;
    scope.commit().await?;
    Ok(Followed::Admitted(session))
}

//! The life of a one-time code: sent, tried at most five times by the browser that asked, then used, withdrawn or expired. Every step
//! is one statement that states what must hold, with its event in the same transaction.

use std::time::Duration;

use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use uuid::Uuid;

use super::limits::{self, Counted, LimitReached};
use super::secret::{BrowserBinding, CodeHashKey, OneTimeCode};
use super::{EmailAddress, person};
use crate::clock::Randomness;
use crate::configuration::Lifetimes;
use crate::database::{Actor, Component, Database, Scope};
use crate::events::NewEvent;
use crate::events::field::{CommitmentSalt, Moment, Pseudonym};
use crate::events::payload::{
    CodeRefusal, CodeWithdrawal, SignInCodeRefused, SignInCodeSent, SignInCodeWithdrawn, SignInMethod,
};
use crate::sessions::{self, SessionError, SessionToken, Started, Visitor};

/// How often one code may be tried.
pub(super) const MAX_ATTEMPTS: i16 = 5;

/// A challenge that has just been made.
pub(super) struct Issued {
    /// What the browser gets.
    pub(super) binding: BrowserBinding,
    /// What the mail says.
    pub(super) code: OneTimeCode,
}

/// A challenge that can still be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// Where the code went.
    pub(super) email: String,
    /// Until when it is good.
    pub(super) expires_at: OffsetDateTime,
    /// The authorization request to go on with.
    pub(super) request: Option<Uuid>,
}

/// What became of an attempt.
pub(super) enum Attempt {
    /// The person is signed in.
    Admitted {
        /// The new session.
        session: Started,
        /// The authorization request to go on with.
        request: Option<Uuid>,
    },
    /// It is another code.
    Wrong {
        /// Tries that are left; not 0.
        remaining: i16,
    },
    /// There is nothing more to try here.
    Over(CodeRefusal),
    /// The address has been guessed at too often, over all challenges. The code was not looked at.
    Limited(LimitReached),
    /// The code was right, and the account may not sign in.
    Disabled,
}

/// How to go on after a challenge, as it is stored.
pub(super) fn return_to(request: Option<Uuid>) -> Option<String> {
    request.map(|request| format!("/consent?request={request}"))
}

pub(super) fn request_of(return_to: Option<&str>) -> Option<Uuid> {
    return_to?.strip_prefix("/consent?request=")?.parse().ok()
}

/// Makes a challenge, unless the address has been mailed too often. The mail is the caller's, after the commit.
pub(super) async fn issue(
    scope: &mut Scope,
    randomness: &Randomness,
    (key, lifetime): (&CodeHashKey, Duration),
    email: &EmailAddress,
    request: Option<Uuid>,
) -> Result<Result<Issued, LimitReached>, SessionError> {
    if let Err(reached) = limits::charge(scope, Counted::CodeSent, email).await? {
        return Ok(Err(reached));
    }
    let id = scope.new_id();
    let (binding, code) = (BrowserBinding::generate(id, randomness), OneTimeCode::generate(randomness));
    let salt = CommitmentSalt(randomness.bytes());
    let now = scope.clock().now();
    let expires_at = now + lifetime;
    sqlx::query(
        "INSERT INTO sign_in_challenges (id, email, email_salt, kind, secret_hash, browser_hash, created_at,
                                         expires_at, return_to)
         VALUES ($1, $2, $3, 'code', $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(email.as_str())
    .bind(&salt.0[..])
    .bind(&code.hash(key, id)[..])
    .bind(&binding.hash()[..])
    .bind(now)
    .bind(expires_at)
    .bind(return_to(request))
    .execute(scope.connection())
    .await?;
    let event = SignInCodeSent {
        email: Pseudonym::commit(salt, email.as_str()),
        method: SignInMethod::EmailCode,
        expires_at: Moment(expires_at),
    };
    scope.append(NewEvent::of_platform(id, &event)).await?;
    Ok(Ok(Issued { binding, code }))
}

/// Takes a challenge back whose mail could not be sent.
pub(super) async fn withdraw(
    scope: &mut Scope,
    id: Uuid,
    reason: CodeWithdrawal,
) -> Result<(), SessionError> {
    let now = scope.clock().now();
    let withdrawn = sqlx::query(
        "UPDATE sign_in_challenges SET expires_at = $2 WHERE id = $1 AND used_at IS NULL AND expires_at > $2",
    )
    .bind(id)
    .bind(now)
    .execute(scope.connection())
    .await?
    .rows_affected();
    if withdrawn == 1 {
        scope.append(NewEvent::of_platform(id, &SignInCodeWithdrawn { reason })).await?;
    }
    Ok(())
}

/// The challenge that a browser holds, if it can still be met.
pub(super) async fn open(scope: &mut Scope, binding: &BrowserBinding) -> Result<Option<Open>, SessionError> {
    let now = scope.clock().now();
    let row: Option<(String, OffsetDateTime, Option<String>)> = sqlx::query_as(
        "SELECT email, expires_at, return_to FROM sign_in_challenges
         WHERE id = $1 AND browser_hash = $2 AND kind = 'code' AND used_at IS NULL AND expires_at > $3
           AND attempts < $4",
    )
    .bind(binding.challenge_id)
    .bind(&binding.hash()[..])
    .bind(now)
    .bind(MAX_ATTEMPTS)
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|(email, expires_at, return_to)| Open {
        email,
        expires_at,
        request: request_of(return_to.as_deref()),
    }))
}

/// The authorization request that a browser's challenge was for, whatever has become of the challenge.
pub(super) async fn request_for(
    scope: &mut Scope,
    binding: &BrowserBinding,
) -> Result<Option<Uuid>, SessionError> {
    let return_to: Option<Option<String>> =
        sqlx::query_scalar("SELECT return_to FROM sign_in_challenges WHERE id = $1 AND browser_hash = $2")
            .bind(binding.challenge_id)
            .bind(&binding.hash()[..])
            .fetch_optional(scope.connection())
            .await?;
    Ok(request_of(return_to.flatten().as_deref()))
}

/// Who tries a code, and from where.
pub(super) struct Attempter<'a> {
    /// The browser's binding.
    pub(super) binding: &'a BrowserBinding,
    /// The session it brings, which a new one takes the place of.
    pub(super) former: Option<&'a SessionToken>,
    /// For the list of sessions.
    pub(super) visitor: &'a Visitor,
    /// For the metadata of events.
    pub(super) request_id: Uuid,
}

/// Tries a code. Counting, judging, using it up, the account, the session and their events are one transaction.
pub(super) async fn attempt(
    database: &Database,
    lifetimes: &Lifetimes,
    key: &CodeHashKey,
    code: &OneTimeCode,
    attempter: &Attempter<'_>,
) -> Result<Attempt, SessionError> {
    let id = attempter.binding.challenge_id;
    let randomness = database.randomness();
    let mut scope =
        database.scope(Actor::System(Component::Authenticator)).await?.correlated(attempter.request_id);
    let now = scope.clock().now();
    // The row's lock puts parallel attempts in order: each is counted before it is judged.
    let counted: Option<(i16, Vec<u8>, String, Option<String>)> = sqlx::query_as(
        "UPDATE sign_in_challenges SET attempts = attempts + 1
         WHERE id = $1 AND browser_hash = $2 AND kind = 'code' AND used_at IS NULL AND expires_at > $3
           AND attempts < $4
         RETURNING attempts, secret_hash, email, return_to",
    )
    .bind(id)
    .bind(&attempter.binding.hash()[..])
    .bind(now)
    .bind(MAX_ATTEMPTS)
    .fetch_optional(scope.connection())
    .await?;
    let Some((attempts, secret_hash, email, return_to)) = counted else {
        return refuse_closed(scope, attempter.binding, now).await;
    };
    // What is stored was read by the same rules.
    let Ok(email) = EmailAddress::parse(&email) else { return Ok(Attempt::Over(CodeRefusal::Expired)) };
    if let Err(reached) = limits::charge(&mut scope, Counted::Guess, &email).await? {
        scope.rollback().await?;
        return Ok(Attempt::Limited(reached));
    }
    let is_right: bool = code.hash(key, id).ct_eq(&secret_hash[..]).into();
    if !is_right {
        append_refusal(&mut scope, id, CodeRefusal::Wrong, attempts).await?;
        scope.commit().await?;
        let remaining = MAX_ATTEMPTS - attempts;
        return Ok(if remaining > 0 {
            Attempt::Wrong { remaining }
        } else {
            Attempt::Over(CodeRefusal::TooManyAttempts)
        });
    }
    let used = sqlx::query("UPDATE sign_in_challenges SET used_at = $2 WHERE id = $1 AND used_at IS NULL")
        .bind(id)
        .bind(now)
        .execute(scope.connection())
        .await?
        .rows_affected();
    if used != 1 {
        scope.rollback().await?;
        return Ok(Attempt::Over(CodeRefusal::Used));
    }
    let method = SignInMethod::EmailCode;
    let Some(user_id) = person::admit(&mut scope, randomness, &email, method).await? else {
        // The code stays used.
        scope.commit().await?;
        return Ok(Attempt::Disabled);
    };
    if let Some(former) = attempter.former {
        sessions::end_by_token(&mut scope, former).await?;
    }
    let session =
        sessions::start(&mut scope, randomness, lifetimes, user_id, (method, id), attempter.visitor).await?;
    scope.commit().await?;
    Ok(Attempt::Admitted { session, request: request_of(return_to.as_deref()) })
}

/// Why a challenge that takes no attempt takes none. Locks the row, so that parallel refusals append one after the other.
async fn refuse_closed(
    mut scope: Scope,
    binding: &BrowserBinding,
    now: OffsetDateTime,
) -> Result<Attempt, SessionError> {
    let row: Option<(i16, bool, bool, bool)> = sqlx::query_as(
        "SELECT attempts, used_at IS NOT NULL, expires_at <= $3, browser_hash IS DISTINCT FROM $2
         FROM sign_in_challenges WHERE id = $1 AND kind = 'code' FOR UPDATE",
    )
    .bind(binding.challenge_id)
    .bind(&binding.hash()[..])
    .bind(now)
    .fetch_optional(scope.connection())
    .await?;
    let Some((attempts, is_used, is_expired, is_foreign)) = row else {
        return Ok(Attempt::Over(CodeRefusal::Expired));
    };
    let reason = match (is_foreign, is_used, is_expired) {
        (true, _, _) => CodeRefusal::OtherBrowser,
        (false, true, _) => CodeRefusal::Used,
        (false, false, true) => CodeRefusal::Expired,
        (false, false, false) => CodeRefusal::TooManyAttempts,
    };
    append_refusal(&mut scope, binding.challenge_id, reason, attempts).await?;
    scope.commit().await?;
    Ok(Attempt::Over(reason))
}

async fn append_refusal(
    scope: &mut Scope,
    id: Uuid,
    reason: CodeRefusal,
    attempts: i16,
) -> Result<(), SessionError> {
    let event = SignInCodeRefused { reason, attempts: u32::try_from(attempts).unwrap_or_default() };
    scope.append(NewEvent::of_platform(id, &event)).await?;
    Ok(())
}

//! `grant_type=refresh_token` (RFC 6749 §6): rotation with reuse detection (RFC 9700 §4.14.2, OAuth 2.1 §4.3.1). A family is a grant; the
//! row is locked, judged and rotated in one transaction, so that of many that present one token at once exactly one gets the next.
//!
//! What another client presents is refused and changes nothing: the client that a public one claims to be is no proof of anything, and who
//! holds the token could have claimed the right one, so that ending the family would protect nobody and let a mix-up of two clients
//! sign people out. RFC 9700 asks for the end of the family on *reuse*.

use std::time::Duration;

use shared::{form::Parameters, refresh_token::RefreshToken, scope::Scopes};
use sqlx::FromRow;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    grant,
    issue::{Authenticated, Grant, Request, Subject, Tokens},
    token::TokenError,
};
use crate::{
    database::Scope,
    events::{
        NewEvent,
        field::{Identifier, Moment},
        payload::{GrantEnd, RefreshTokenReuseDetected, RefreshTokenRotated},
    },
};

/// What a request presents.
pub(super) struct Presented {
    token: RefreshToken,
    scopes: Option<Scopes>,
}

impl Presented {
    /// Reads the parameters.
    pub(super) fn read(form: &Parameters) -> Result<Self, TokenError> {
        let token = form.get("refresh_token").ok_or(TokenError::Missing("refresh_token is missing."))?;
        let token = RefreshToken::parse(token).ok_or(TokenError::InvalidRefreshToken)?;
        let scopes = match form.get("scope") {
            None => None,
            Some(text) => Some(Scopes::parse(text).ok_or(TokenError::ScopeTooWide)?),
        };
        Ok(Self { token, scopes })
    }
}

/// A family as it stands, locked.
#[derive(Clone, Debug, FromRow)]
struct Family {
    workspace_id: Uuid,
    user_id: Uuid,
    session_id: Option<Uuid>,
    client_id: String,
    scopes: Vec<String>,
    audience: Vec<String>,
    generation: i64,
    refresh_secret_hash: Vec<u8>,
    previous_secret_hash: Option<Vec<u8>>,
    rotated_at: Option<OffsetDateTime>,
    auth_time: OffsetDateTime,
    amr: Vec<String>,
    expires_at: OffsetDateTime,
    is_revoked: bool,
    is_active: bool,
}

/// What is to be done with a presented token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    /// It is the one in use.
    Rotate,
    /// It was exchanged a moment ago: a retry, or one of several that came at once.
    JustRotated,
    /// It was exchanged long ago: somebody has a copy.
    Reused,
    /// It was never issued, or for another client.
    Unknown,
    /// The family is over.
    Over,
    /// The account is not active or the session has ended.
    PersonGone,
}

impl Family {
    /// `is_ours` is the word of the MAC in the token: whether it was once issued here.
    fn judge(
        &self,
        token: &RefreshToken,
        is_ours: bool,
        client_id: &str,
        now: OffsetDateTime,
        grace: Duration,
    ) -> Judgement {
        if self.client_id != client_id {
            return Judgement::Unknown;
        }
        let presented = i64::from(token.generation);
        let is_hash = |stored: &[u8]| bool::from(token.secret_hash()[..].ct_eq(stored));
        let is_current = presented == self.generation && is_hash(&self.refresh_secret_hash);
        let is_previous = presented == self.generation - 1
            && self.previous_secret_hash.as_ref().is_some_and(|stored| is_hash(stored));
        let is_older = presented < self.generation && is_ours;
        if !(is_current || is_previous || is_older) {
            return Judgement::Unknown;
        }
        if self.is_revoked {
            return Judgement::Over;
        }
        if is_current {
            return match (now < self.expires_at, self.is_active) {
                (true, true) => Judgement::Rotate,
                (true, false) => Judgement::PersonGone,
                (false, _) => Judgement::Over,
            };
        }
        let in_grace = self.rotated_at.is_some_and(|rotated_at| now < rotated_at + grace);
        if is_previous && in_grace { Judgement::JustRotated } else { Judgement::Reused }
    }
}

/// What became of a token.
pub(super) enum Refreshed {
    /// The next tokens.
    Tokens(Tokens),
    /// It was reused: the family is revoked. The scope must be committed.
    Reused,
}

/// Exchanges a refresh token for its successor and an access token.
pub(super) async fn refresh(
    scope: &mut Scope,
    request: &Request<'_>,
    presented: &Presented,
) -> Result<Refreshed, TokenError> {
    let (origin, client) = (request.origin, request.client);
    let grant_id = Uuid::from_bytes(presented.token.grant_id);
    // The session is locked before the family, as a sign-out does: it waits for this, and then ends what it finds.
    let session_goes_on: Option<bool> = sqlx::query_scalar(
        "SELECT s.ended_at IS NULL FROM oauth_grants AS g JOIN sessions AS s ON s.id = g.session_id
         WHERE g.id = $1 FOR SHARE OF s",
    )
    .bind(grant_id)
    .fetch_optional(scope.connection())
    .await?;
    let mut family: Family = sqlx::query_as(
        "SELECT g.workspace_id, g.user_id, g.session_id, g.client_id, g.scopes, g.audience, g.generation, g.refresh_secret_hash,
                g.previous_secret_hash, g.rotated_at, g.auth_time, g.amr, g.expires_at,
                g.revoked_at IS NOT NULL AS is_revoked,
                u.status = 'active' AS is_active
         FROM oauth_grants AS g JOIN user_accounts AS u ON u.id = g.user_id
         WHERE g.id = $1 AND g.refresh_secret_hash IS NOT NULL FOR UPDATE OF g",
    )
    .bind(grant_id)
    .fetch_optional(scope.connection())
    .await?
    .ok_or(TokenError::InvalidRefreshToken)?;
    // A grant of no session has none to end.
    family.is_active &= session_goes_on.unwrap_or(true);
    let is_ours = origin.refresh_secrets.recognises(&presented.token);
    let grace = origin.configuration.lifetimes.refresh_grace;
    match family.judge(&presented.token, is_ours, &client.client_id, scope.clock().now(), grace) {
        Judgement::Rotate => rotate(scope, request, presented, family).await.map(Refreshed::Tokens),
        Judgement::JustRotated => Err(TokenError::RefreshTokenJustRotated),
        Judgement::Reused => {
            let event = RefreshTokenReuseDetected {
                client_id: Identifier::of(&family.client_id),
                presented: i64::from(presented.token.generation),
                current: family.generation,
            };
            let detected = scope.append(NewEvent::of(family.workspace_id, grant_id, &event)).await?;
            scope.caused_by(detected.event_id);
            grant::end(scope, grant_id, GrantEnd::RefreshTokenReuse).await?;
            Ok(Refreshed::Reused)
        }
        Judgement::Unknown | Judgement::Over => Err(TokenError::InvalidRefreshToken),
        Judgement::PersonGone => Err(TokenError::PersonGone),
    }
}

async fn rotate(
    scope: &mut Scope,
    request: &Request<'_>,
    presented: &Presented,
    family: Family,
) -> Result<Tokens, TokenError> {
    let grant = Grant {
        id: Uuid::from_bytes(presented.token.grant_id),
        workspace_id: family.workspace_id,
        subject: Subject::Person(Authenticated {
            user_id: family.user_id,
            session_id: family.session_id,
            auth_time: family.auth_time,
            amr: family.amr,
        }),
        scopes: Scopes::parse(&family.scopes.join(" ")).ok_or(TokenError::InvalidRefreshToken)?,
        audience: family.audience,
    };
    let generation = presented.token.generation.checked_add(1).ok_or(TokenError::InvalidRefreshToken)?;
    let next = request.refresh_token(&grant, generation);
    let rotated = sqlx::query(
        "UPDATE oauth_grants SET generation = $3, previous_secret_hash = refresh_secret_hash, refresh_secret_hash = $4,
                rotated_at = $5
         WHERE id = $1 AND generation = $2 AND refresh_secret_hash = $6 AND revoked_at IS NULL",
    )
    .bind(grant.id)
    .bind(family.generation)
    .bind(i64::from(generation))
    .bind(&next.secret_hash()[..])
    .bind(scope.clock().now())
    .bind(&family.refresh_secret_hash)
    .execute(scope.connection())
    .await?;
    // The lock says that nobody came between; the statement says it again.
    if rotated.rows_affected() != 1 {
        return Err(TokenError::InvalidRefreshToken);
    }
    let tokens = request.renew(scope, &grant, presented.scopes.as_ref(), next).await?;
    let event = RefreshTokenRotated {
        client_id: Identifier::of(&request.client.client_id),
        jti: tokens.access.jti,
        generation: i64::from(generation),
        scopes: tokens.access.scopes.clone(),
        expires_at: Moment(tokens.access.expires_at),
    };
    scope.append(NewEvent::of(grant.workspace_id, grant.id, &event)).await?;
    Ok(tokens)
}

//! `grant_type=authorization_code` (RFC 6749 §4.1.3, RFC 7636 §4.6): a code for the first tokens of a family, once. One statement
//! consumes it and compares client, redirect URI and challenge as they were stored; what it finds consumed already was replayed.

use shared::{
    code::{AuthorizationCode, CodeFault},
    form::Parameters,
    pkce::CodeVerifier,
    scope::Scopes,
    time::UnixMillis,
};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    client::Client,
    grant,
    issue::{Authenticated, FIRST_GENERATION, Grant, Request, Subject, Tokens},
    token::TokenError,
};
use crate::{
    database::{DatabaseError, Scope},
    events::{
        NewEvent,
        field::{Identifier, Moment},
        payload::{AuthorizationCodeReplayed, GrantEnd, TokensIssued},
    },
    http::Origin,
};

/// What a request presents.
pub(super) struct Presented<'a> {
    code: AuthorizationCode,
    verifier: CodeVerifier<'a>,
    redirect_uri: Option<&'a str>,
}

impl<'a> Presented<'a> {
    /// Reads the parameters.
    pub(super) fn read(form: &'a Parameters) -> Result<Self, TokenError> {
        let code = form.get("code").ok_or(TokenError::Missing("code is missing."))?;
        let verifier = form.get("code_verifier").ok_or(TokenError::Missing(
            "code_verifier is missing: every code here was issued for a challenge.",
        ))?;
        Ok(Self {
            code: AuthorizationCode::parse(code).ok_or(TokenError::InvalidCode)?,
            verifier: CodeVerifier::parse(verifier).ok_or(TokenError::MalformedVerifier)?,
            redirect_uri: form.get("redirect_uri"),
        })
    }

    /// Whether the code was issued for this client and verifier and `redirect_uri`, by its MAC.
    fn is_bound_to(&self, origin: &Origin, client: &Client, redirect_uri: &str) -> Result<(), CodeFault> {
        let now = UnixMillis(origin.clock.unix_millis());
        let challenge = self.verifier.challenge();
        self.code.check(&origin.code_key, &client.client_id, redirect_uri, &challenge, now)
    }
}

#[derive(FromRow)]
struct Consumed {
    workspace_id: Uuid,
    user_id: Uuid,
    session_id: Option<Uuid>,
    redirect_uri: String,
    scopes: Vec<String>,
    audience: Vec<String>,
    auth_time: OffsetDateTime,
    amr: Vec<String>,
    grant_id: Uuid,
    nonce: Option<String>,
    is_active: bool,
}

/// Whether the session that a code came of goes on, and goes on until this scope ends: a sign-out waits, and then finds the grant.
async fn session_goes_on(scope: &mut Scope, session_id: Option<Uuid>) -> Result<bool, DatabaseError> {
    let Some(session_id) = session_id else { return Ok(true) };
    let goes_on: Option<bool> =
        sqlx::query_scalar("SELECT ended_at IS NULL FROM sessions WHERE id = $1 FOR SHARE")
            .bind(session_id)
            .fetch_optional(scope.connection())
            .await?;
    Ok(goes_on.unwrap_or(false))
}

/// What became of a code.
pub(super) enum Redeemed {
    /// The first tokens.
    Tokens(Tokens),
    /// It had been used: what it gave is revoked. The scope must be committed.
    Replayed,
}

/// Redeems a code for its client.
pub(super) async fn redeem(
    scope: &mut Scope,
    request: &Request<'_>,
    presented: &Presented<'_>,
) -> Result<Redeemed, TokenError> {
    let (origin, client) = (request.origin, request.client);
    let now = scope.clock().now();
    let consumed: Option<Consumed> = sqlx::query_as(
        "UPDATE oauth_authorization_codes AS a SET used_at = $5
         FROM user_accounts AS u
         WHERE a.code_hash = $1 AND a.used_at IS NULL AND a.expires_at > $5 AND a.client_id = $2
           AND a.code_challenge = $3 AND ($4::text IS NULL OR a.redirect_uri = $4) AND u.id = a.user_id
         RETURNING a.workspace_id, a.user_id, a.session_id, a.redirect_uri, a.scopes, a.audience, a.auth_time, a.amr, a.grant_id, a.nonce,
                   u.status = 'active' AS is_active",
    )
    .bind(&presented.code.hash()[..])
    .bind(&client.client_id)
    .bind(presented.verifier.challenge().to_text())
    .bind(presented.redirect_uri)
    .bind(now)
    .fetch_optional(scope.connection())
    .await?;
    let Some(code) = consumed else { return refuse(scope, origin, client, presented).await };
    // The row is the authority; the MAC says that nobody wrote the row but us.
    presented.is_bound_to(origin, client, &code.redirect_uri).map_err(|_| TokenError::InvalidCode)?;
    if !code.is_active || !session_goes_on(scope, code.session_id).await? {
        return Err(TokenError::PersonGone);
    }
    let grant = Grant {
        id: code.grant_id,
        workspace_id: code.workspace_id,
        subject: Subject::Person(Authenticated {
            user_id: code.user_id,
            session_id: code.session_id,
            auth_time: code.auth_time,
            amr: code.amr,
        }),
        scopes: Scopes::parse(&code.scopes.join(" ")).ok_or(TokenError::InvalidCode)?,
        audience: code.audience,
    };
    let tokens = request.open(scope, &grant, code.nonce).await?;
    let event = TokensIssued {
        user_id: code.user_id,
        client_id: Identifier::of(&client.client_id),
        jti: tokens.access.jti,
        generation: i64::from(FIRST_GENERATION),
        scopes: tokens.access.scopes.clone(),
        expires_at: Moment(tokens.access.expires_at),
    };
    scope.append(NewEvent::of(code.workspace_id, code.grant_id, &event)).await?;
    Ok(Redeemed::Tokens(tokens))
}

#[derive(FromRow)]
struct Used {
    workspace_id: Uuid,
    redirect_uri: String,
    grant_id: Uuid,
}

/// Tells a replay from a code that was never good. Only who has the verifier too can replay: everybody else would have been refused
/// before the code was used as well, so that a code seen in a log cannot end what it gave.
async fn refuse(
    scope: &mut Scope,
    origin: &Origin,
    client: &Client,
    presented: &Presented<'_>,
) -> Result<Redeemed, TokenError> {
    let used: Option<Used> = sqlx::query_as(
        "SELECT workspace_id, redirect_uri, grant_id FROM oauth_authorization_codes
         WHERE code_hash = $1 AND used_at IS NOT NULL AND client_id = $2 AND code_challenge = $3
           AND ($4::text IS NULL OR redirect_uri = $4)",
    )
    .bind(&presented.code.hash()[..])
    .bind(&client.client_id)
    .bind(presented.verifier.challenge().to_text())
    .bind(presented.redirect_uri)
    .fetch_optional(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let replayed = used
        .filter(|used| presented.is_bound_to(origin, client, &used.redirect_uri) != Err(CodeFault::Mismatch));
    let Some(used) = replayed else { return Err(TokenError::InvalidCode) };
    if grant::lock_open(scope, used.grant_id).await? {
        let event = AuthorizationCodeReplayed { client_id: Identifier::of(&client.client_id) };
        scope.append(NewEvent::of(used.workspace_id, used.grant_id, &event)).await?;
        grant::end(scope, used.grant_id, GrantEnd::CodeReplay).await?;
    }
    Ok(Redeemed::Replayed)
}

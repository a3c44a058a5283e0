//! An authorization request between `/oauth/authorize` and the code, and its two ends. Everything runs in the caller's transaction,
//! which must be of [`Component::AuthorizationServer`], so that a consent and the code that follows from it are stored together or
//! not at all. It may not ask a person: that is [`crate::consent`]'s, and whoever calls has checked the session.
//!
//! [`Component::AuthorizationServer`]: crate::database::Component::AuthorizationServer

use std::time::Duration;

use shared::{
    authorization_request::{AuthorizationRequest, ErrorRedirect, Prompt, location},
    code::AuthorizationCode,
    oauth_error::OAuthError,
    pkce::CodeChallenge,
    redirect_uri,
    scope::Scopes,
};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{DatabaseError, Scope},
    events::{
        AppendError, NewEvent,
        field::{Identifier, Moment},
        payload::AuthorizationCodeIssued,
    },
    http::Origin,
    sessions::Session,
};

/// How long a person may take from the first page to the decision; a code from the mailbox included.
const REQUEST_LIFETIME: Duration = Duration::from_mins(30);

/// A person who is signed in, as far as a grant has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The session.
    pub session_id: Uuid,
    /// The person.
    pub user_id: Uuid,
    /// When they proved who they are (`auth_time`).
    pub auth_time: OffsetDateTime,
    /// How (RFC 8176).
    pub amr: Vec<String>,
}

impl From<&Session> for SignedIn {
    fn from(session: &Session) -> Self {
        Self {
            session_id: session.id,
            user_id: session.user_id,
            auth_time: session.auth_time,
            amr: session.amr.clone(),
        }
    }
}

/// Why a request cannot go on for a fault of ours.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<sqlx::Error> for AuthorizationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Keeps a request that was read by the policy's rules; with `session_id`, for that session alone. `None` when the client ended
/// after the policy was made.
pub(super) async fn begin(
    scope: &mut Scope,
    request: &AuthorizationRequest,
    session_id: Option<Uuid>,
) -> Result<Option<Uuid>, DatabaseError> {
    let now = scope.clock().now();
    let id = scope.new_id();
    let scopes: Vec<&str> = request.scopes.iter().collect();
    let stored = sqlx::query(
        "INSERT INTO authorization_requests
             (id, session_id, client_id, workspace_id, redirect_uri, scopes, state, code_challenge, resource, created_at, expires_at,
              nonce, authenticated_since, prompt, login_hint)
         SELECT $1, $2, c.client_id, c.workspace_id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
         FROM oauth_clients AS c WHERE c.client_id = $3 AND c.enabled",
    )
    .bind(id)
    .bind(session_id)
    .bind(&request.client_id)
    .bind(&request.redirect_uri)
    .bind(scopes)
    .bind(&request.state)
    .bind(request.code_challenge.to_text())
    .bind(&request.audience)
    .bind(now)
    .bind(now + REQUEST_LIFETIME)
    .bind(&request.nonce)
    .bind(authenticated_since(request, now))
    .bind(match request.prompt {
        Prompt { none: true, .. } => Some("none"),
        Prompt { consent: true, .. } => Some("consent"),
        Prompt { .. } => None,
    })
    .bind(&request.login_hint)
    .execute(scope.connection())
    .await?;
    Ok((stored.rows_affected() == 1).then_some(id))
}

/// Since when the person must have proved who they are: to ask for a new sign-in is to allow none of before.
pub(super) fn authenticated_since(
    request: &AuthorizationRequest,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    if request.prompt.login {
        return Some(now);
    }
    request.max_age.map(|seconds| now - Duration::from_secs(seconds.into()))
}

/// The person allowed the request `id`: issues the code, and yields the `Location` to send the browser to once the scope is committed.
/// `grant_id` becomes the id of the grant; the consent's event is under it already. `None` when the request is not open: unknown, over,
/// decided already, taken up by another session that has not ended, or of a client that is no longer what it was.
pub async fn allow(
    scope: &mut Scope,
    origin: &Origin,
    id: Uuid,
    person: impl Into<SignedIn>,
    grant_id: Uuid,
) -> Result<Option<String>, AuthorizationError> {
    let person = person.into();
    let Some(request) = Decided::take(scope, id, Some(&person)).await? else { return Ok(None) };
    let now = scope.clock().now();
    let lifetime = origin.configuration.lifetimes.authorization_code;
    // A whole second: the code names it, and the edge compares it.
    let expires_at = now.replace_nanosecond(0).unwrap_or(now) + lifetime;
    let code = AuthorizationCode::issue(
        &origin.code_key,
        origin.randomness.bytes(),
        u64::try_from(expires_at.unix_timestamp()).unwrap_or_default(),
        &request.client_id,
        &request.redirect_uri,
        &request.code_challenge,
    );
    let scopes: Vec<&str> = request.scopes.iter().collect();
    sqlx::query(
        "INSERT INTO oauth_authorization_codes
             (code_hash, workspace_id, user_id, session_id, client_id, redirect_uri, scopes, audience, code_challenge,
              auth_time, amr, issued_at, expires_at, grant_id, nonce)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(&code.hash()[..])
    .bind(request.workspace_id)
    .bind(person.user_id)
    .bind(person.session_id)
    .bind(&request.client_id)
    .bind(&request.redirect_uri)
    .bind(scopes)
    .bind(vec![&request.audience])
    .bind(request.code_challenge.to_text())
    .bind(person.auth_time)
    .bind(&person.amr)
    .bind(now)
    .bind(expires_at)
    .bind(grant_id)
    .bind(&request.nonce)
    .execute(scope.connection())
    .await?;
    let event = AuthorizationCodeIssued {
        user_id: person.user_id,
        client_id: Identifier::of(&request.client_id),
        scopes: request.scopes.clone(),
        expires_at: Moment(expires_at),
    };
    scope.append(NewEvent::of(request.workspace_id, grant_id, &event)).await?;

    let code = code.to_text();
    let mut parameters = vec![("code", code.as_str())];
    if let Some(state) = &request.state {
        parameters.push(("state", state));
    }
    parameters.push(("iss", origin.issuer()));
    Ok(Some(location(&request.redirect_uri, &parameters)))
}

/// Why a request ends without a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The person said no.
    ByThePerson,
    /// They would have to sign in, and may not be asked (`prompt=none`).
    LoginRequired,
    /// They would have to consent, and may not be asked.
    ConsentRequired,
}

impl Denial {
    pub(super) const fn in_words(self) -> (OAuthError, &'static str) {
        match self {
            Self::ByThePerson => (OAuthError::AccessDenied, "The person did not allow it."),
            Self::LoginRequired => (OAuthError::LoginRequired, "The person would have to sign in."),
            Self::ConsentRequired => (OAuthError::ConsentRequired, "The person would have to consent."),
        }
    }
}

/// The request `id` ends: the `Location` that tells the client why, once the scope is committed. `None` when the request is not open.
pub async fn deny(
    scope: &mut Scope,
    origin: &Origin,
    id: Uuid,
    denial: Denial,
) -> Result<Option<String>, AuthorizationError> {
    let Some(request) = Decided::take(scope, id, None).await? else { return Ok(None) };
    let (error, description) = denial.in_words();
    let redirect =
        ErrorRedirect { redirect_uri: request.redirect_uri, error, description, state: request.state };
    Ok(Some(redirect.location(origin.issuer())))
}

/// A request that has just been decided: nobody else can decide it again.
struct Decided {
    client_id: String,
    workspace_id: Uuid,
    redirect_uri: String,
    scopes: Scopes,
    state: Option<String>,
    audience: String,
    code_challenge: CodeChallenge,
    nonce: Option<String>,
}

#[derive(FromRow)]
struct Row {
    client_id: String,
    workspace_id: Uuid,
    redirect_uri: String,
    registered_uris: Vec<String>,
    scopes: Vec<String>,
    registered_scopes: Vec<String>,
    state: Option<String>,
    audience: Option<String>,
    code_challenge: String,
    nonce: Option<String>,
}

impl Decided {
    /// One statement uses the request up. `person` is who allows it, and must have proved who they are lately enough; to refuse, anybody
    /// may.
    async fn take(
        scope: &mut Scope,
        id: Uuid,
        person: Option<&SignedIn>,
    ) -> Result<Option<Self>, DatabaseError> {
        let now = scope.clock().now();
        let row: Option<Row> = sqlx::query_as(
            "UPDATE authorization_requests AS r SET used_at = $2, session_id = coalesce($3, r.session_id)
             FROM oauth_clients AS c, projects AS p
             WHERE r.id = $1 AND r.used_at IS NULL AND r.expires_at > $2
               AND c.client_id = r.client_id AND c.enabled AND p.id = c.project_id AND p.enabled
               AND ($4::timestamptz IS NULL OR r.authenticated_since IS NULL OR r.authenticated_since <= $4)
               AND ($3 IS NULL OR r.session_id IS NULL OR r.session_id = $3
                    OR EXISTS (SELECT FROM sessions AS s
                               WHERE s.id = r.session_id AND (s.ended_at IS NOT NULL OR s.expires_at <= $2)))
             RETURNING r.client_id, r.workspace_id, r.redirect_uri, c.redirect_uris AS registered_uris, r.scopes,
                       c.scopes AS registered_scopes, r.state, r.resource AS audience, r.code_challenge, r.nonce",
        )
        .bind(id)
        .bind(now)
        .bind(person.map(|person| person.session_id))
        .bind(person.map(|person| person.auth_time))
        .fetch_optional(scope.connection())
        .await?;
        Ok(row.and_then(Self::from_row))
    }

    /// `None` when the client has lost the redirect URI or a scope since.
    fn from_row(row: Row) -> Option<Self> {
        let is_registered =
            row.registered_uris.iter().any(|registered| redirect_uri::matches(registered, &row.redirect_uri));
        let scopes = Scopes::parse(&row.scopes.join(" "))?;
        let may_ask = Scopes::parse(&row.registered_scopes.join(" "))?.contains_all(&scopes);
        (is_registered && may_ask).then_some(Self {
            client_id: row.client_id,
            workspace_id: row.workspace_id,
            redirect_uri: row.redirect_uri,
            scopes,
            state: row.state,
            audience: row.audience?,
            code_challenge: CodeChallenge::parse(&row.code_challenge)?,
            nonce: row.nonce,
        })
    }
}

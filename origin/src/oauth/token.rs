//! `POST /oauth/token` (RFC 6749 §3.2): authenticates the client and hands over to the grant. It ignores cookies: who asks is the client.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{
    client::GrantType,
    decide::{Refusal, TOKEN_PARAMETERS, UNSUPPORTED_GRANT_TYPE},
    oauth_error::OAuthError,
};

use super::{
    client::{self, ClientError},
    client_credentials, error,
    form::{self, FormError},
    issue::{IssueError, Request, Tokens},
    redeem::{self, Redeemed},
    refresh::{self, Refreshed},
    target::Target,
};
use crate::{
    database::{Actor, Component, DatabaseError},
    events::AppendError,
    http::{EdgeCaller, Origin, Refused},
    policy::PolicyError,
    signing_keys::SigningKeyError,
};

/// Why a client gets no tokens.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// The body.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A parameter that must be there is not.
    #[error("{0}")]
    Missing(&'static str),
    /// `grant_type` is not one of ours.
    #[error("{}", UNSUPPORTED_GRANT_TYPE)]
    UnsupportedGrantType,
    /// The client is registered for others.
    #[error("The client is not registered for this grant_type.")]
    UnauthorizedClient,
    /// `code_verifier` is not RFC 7636 §4.1's.
    #[error("code_verifier must be 43 to 128 unreserved characters.")]
    MalformedVerifier,
    /// The code is unknown, expired, or was issued for another client, redirect URI or challenge.
    #[error("The code is unknown, expired, or not for this client, redirect_uri and code_verifier.")]
    InvalidCode,
    /// The code had been used.
    #[error("The code was used before. What it gave is revoked.")]
    CodeReplayed,
    /// The refresh token is unknown, expired, revoked or another client's.
    #[error("The refresh token is unknown, expired, revoked or another client's.")]
    InvalidRefreshToken,
    /// The refresh token was exchanged a moment ago.
    #[error("The refresh token was exchanged a moment ago. Use the one that came with that answer.")]
    RefreshTokenJustRotated,
    /// The refresh token had been exchanged.
    #[error("The refresh token was exchanged before. Its family is revoked.")]
    RefreshTokenReused,
    /// The account is not active, or the session has ended.
    #[error("The person has signed out, or the account is not active.")]
    PersonGone,
    /// `scope` is malformed or more than was granted.
    #[error("scope is malformed or more than was granted.")]
    ScopeTooWide,
    /// `resource` is not part of what was granted.
    #[error("resource is not part of what was granted.")]
    UnknownTarget,
    /// There is no policy to look a resource up in.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// There is no key to sign with.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The access token.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The event.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for TokenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl TokenError {
    /// In OAuth's words (RFC 6749 §5.2, RFC 8707 §2). Held against a table in the tests.
    fn refusal(&self) -> Refusal {
        use OAuthError::{
            InvalidGrant, InvalidRequest, InvalidScope, InvalidTarget, UnauthorizedClient,
            UnsupportedGrantType,
        };
        match self {
            Self::Form(fault) => fault.refusal(),
            Self::Client(fault) => fault.refusal(),
            Self::Missing(what) => Refusal::oauth(InvalidRequest, what),
            Self::UnsupportedGrantType => Refusal::oauth(UnsupportedGrantType, UNSUPPORTED_GRANT_TYPE),
            Self::UnauthorizedClient => {
                Refusal::oauth(UnauthorizedClient, "The client is not registered for this grant_type.")
            }
            Self::MalformedVerifier => {
                Refusal::oauth(InvalidRequest, "code_verifier must be 43 to 128 unreserved characters.")
            }
            Self::InvalidCode => Refusal::oauth(
                InvalidGrant,
                "The code is unknown, expired, or not for this client, redirect_uri and code_verifier.",
            ),
            Self::CodeReplayed => {
                Refusal::oauth(InvalidGrant, "The code was used before. What it gave is revoked.")
            }
            Self::InvalidRefreshToken => Refusal::oauth(
                InvalidGrant,
                "The refresh token is unknown, expired, revoked or another client's.",
            ),
            Self::RefreshTokenJustRotated => Refusal::oauth(
                InvalidGrant,
                "The refresh token was exchanged a moment ago. Use the one that came with that answer.",
            ),
            Self::RefreshTokenReused => {
                Refusal::oauth(InvalidGrant, "The refresh token was exchanged before. Its family is revoked.")
            }
            Self::PersonGone => {
                Refusal::oauth(InvalidGrant, "The person has signed out, or the account is not active.")
            }
            Self::ScopeTooWide => {
                Refusal::oauth(InvalidScope, "scope is malformed or more than was granted.")
            }
            Self::UnknownTarget => Refusal::oauth(InvalidTarget, "resource is not part of what was granted."),
            Self::Policy(PolicyError::Database(error))
            | Self::Key(SigningKeyError::Database(error))
            | Self::Issue(IssueError::Database(error))
            | Self::Database(error) => error::database(error),
            Self::Append(error) | Self::Key(SigningKeyError::Append(error)) => error::append(error),
            Self::Policy(error) => error::internal(error),
            Self::Key(error) => error::internal(error),
            Self::Issue(error) => error::internal(error),
        }
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        Refused::from(self.refusal()).into_response()
    }
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct Answer {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    scope: String,
}

/// The handler.
pub(super) async fn token(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, TokenError> {
    let form = form::read_once(&headers, &body, &TOKEN_PARAMETERS)?;
    let grant_type = form.get("grant_type").ok_or(TokenError::Missing("grant_type is missing."))?;
    let grant_type = GrantType::of_name(grant_type).ok_or(TokenError::UnsupportedGrantType)?;
    let claim = client::identify(&origin, &headers, &form).await?;
    // Whatever needs a transaction of its own comes first: who waits for a second connection while holding one can wait for ever.
    let policy = match form.get("resource") {
        Some(_) => Some(origin.policy.current(&origin.database).await?),
        None => None,
    };
    let target = form
        .get("resource")
        .zip(policy.as_ref())
        .map(|(resource, compiled)| Target { resource, policy: &compiled.policy });
    let key = origin.signer.key(&origin).await?;

    let actor = Actor::System(Component::AuthorizationServer);
    let mut scope = origin.database.scope(actor).await?.correlated(caller.correlation_id());
    let client = client::authenticate(&mut scope, &claim).await?;
    if !client.registered.may_use(grant_type) {
        return Err(TokenError::UnauthorizedClient);
    }
    let request = Request { origin: &origin, client: &client, key: &key, target: target.as_ref() };
    let outcome = match grant_type {
        GrantType::AuthorizationCode => {
            let presented = redeem::Presented::read(&form)?;
            match redeem::redeem(&mut scope, &request, &presented).await? {
                Redeemed::Tokens(tokens) => Ok(tokens),
                Redeemed::Replayed => Err(TokenError::CodeReplayed),
            }
        }
        GrantType::RefreshToken => {
            let presented = refresh::Presented::read(&form)?;
            match refresh::refresh(&mut scope, &request, &presented).await? {
                Refreshed::Tokens(tokens) => Ok(tokens),
                Refreshed::Reused => Err(TokenError::RefreshTokenReused),
            }
        }
        GrantType::ClientCredentials => {
            // A public client is not registered for this either; it is asked again of who it was found to be.
            if !client.registered.confidential {
                return Err(TokenError::UnauthorizedClient);
            }
            let asked = client_credentials::Asked::read(&form)?;
            Ok(client_credentials::grant(&mut scope, &request, &asked).await?)
        }
        GrantType::Unknown => return Err(TokenError::UnsupportedGrantType),
    };
    scope.commit().await?;
    match outcome {
        Ok(tokens) => Ok(answer(&origin, tokens)),
        Err(error) => {
            // Something was revoked.
            origin.policy.mark_changed();
            tracing::warn!(client_id = client.client_id, %error, "a used credential was presented");
            Err(error)
        }
    }
}

fn answer(origin: &Origin, tokens: Tokens) -> Response {
    let answer = Answer {
        access_token: tokens.access.jwt,
        token_type: "Bearer",
        expires_in: origin.configuration.lifetimes.access_token.as_secs(),
        refresh_token: tokens.refresh.map(|token| token.to_text()),
        id_token: tokens.id_token,
        scope: tokens.access.scopes.to_string(),
    };
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ];
    (headers, Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    use super::super::assertion::AssertionFault;
    use super::*;

    /// The golden table: every error of the endpoint, its code and status (RFC 6749 §5.2), and whether it challenges.
    #[test]
    fn every_error_has_the_code_and_status_of_the_standard() {
        let unreachable = || DatabaseError::Unreachable(sqlx::Error::PoolTimedOut);
        let refused = || DatabaseError::Refused(sqlx::Error::RowNotFound);
        let table: Vec<(TokenError, u16, &str, bool)> = vec![
            (FormError::NotAForm.into(), 400, "invalid_request", false),
            (FormError::TooLarge.into(), 413, "body-too-large", false),
            (FormError::Malformed.into(), 400, "invalid_request", false),
            (FormError::Repeated.into(), 400, "invalid_request", false),
            (ClientError::Missing.into(), 401, "invalid_client", false),
            (ClientError::SeveralMethods.into(), 400, "invalid_request", false),
            (ClientError::MalformedHeader.into(), 401, "invalid_client", true),
            (ClientError::Unknown { by_header: false }.into(), 401, "invalid_client", false),
            (ClientError::Unknown { by_header: true }.into(), 401, "invalid_client", true),
            (ClientError::NotAuthenticated { by_header: false }.into(), 401, "invalid_client", false),
            (ClientError::NotAuthenticated { by_header: true }.into(), 401, "invalid_client", true),
            (ClientError::Database(unreachable()).into(), 503, "temporarily_unavailable", false),
            (TokenError::Missing("code is missing."), 400, "invalid_request", false),
            (ClientError::MalformedAssertion.into(), 401, "invalid_client", false),
            (ClientError::Assertion(AssertionFault::Replayed).into(), 401, "invalid_client", false),
            (TokenError::UnsupportedGrantType, 400, "unsupported_grant_type", false),
            (TokenError::UnauthorizedClient, 400, "unauthorized_client", false),
            (TokenError::MalformedVerifier, 400, "invalid_request", false),
            (TokenError::InvalidCode, 400, "invalid_grant", false),
            (TokenError::CodeReplayed, 400, "invalid_grant", false),
            (TokenError::InvalidRefreshToken, 400, "invalid_grant", false),
            (TokenError::RefreshTokenJustRotated, 400, "invalid_grant", false),
            (TokenError::RefreshTokenReused, 400, "invalid_grant", false),
            (TokenError::PersonGone, 400, "invalid_grant", false),
            (TokenError::ScopeTooWide, 400, "invalid_scope", false),
            (TokenError::UnknownTarget, 400, "invalid_target", false),
            (PolicyError::Database(unreachable()).into(), 503, "temporarily_unavailable", false),
            (PolicyError::NoHead.into(), 500, "server_error", false),
            (SigningKeyError::Database(refused()).into(), 500, "server_error", false),
            (SigningKeyError::CannotSeal.into(), 500, "server_error", false),
            (IssueError::Database(unreachable()).into(), 503, "temporarily_unavailable", false),
            (IssueError::Unsigned.into(), 500, "server_error", false),
            (AppendError::Database(unreachable()).into(), 503, "temporarily_unavailable", false),
            (
                AppendError::Conflict { aggregate: "grant", aggregate_id: uuid::Uuid::nil() }.into(),
                503,
                "temporarily_unavailable",
                false,
            ),
            (unreachable().into(), 503, "temporarily_unavailable", false),
            (refused().into(), 500, "server_error", false),
        ];
        for (error, status, code, challenges) in table {
            let refusal = error.refusal();
            assert_eq!((refusal.status(), refusal.kind()), (status, code), "{error}");
            assert_eq!(refusal.challenge.is_some(), challenges, "{error}");
            assert_eq!(refusal.retry_after.is_some(), status == 503, "{error}");
            let rendered = refusal.render("https://auth.test", "r1");
            assert!(rendered.headers.contains(&("cache-control", "no-store".to_owned())), "{error}");
        }
    }
}

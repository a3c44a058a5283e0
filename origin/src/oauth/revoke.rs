//! `POST /oauth/revoke` (RFC 7009). A refresh token ends its grant with all its access tokens, at the edges too; an access token ends
//! alone. What is unknown, malformed or over is answered as if it had been revoked (§2.2); what is another client's is refused (§2.1).

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use shared::{
    decide::{REVOCATION_PARAMETERS, Refusal},
    jwt::{Claims, SignatureCheck, TokenType, Unverified},
    oauth_error::OAuthError,
    policy::ActivePolicy,
    refresh_token::RefreshToken,
    time::UnixMillis,
};
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    client::{self, Client, ClientError},
    error,
    form::{self, FormError},
    grant::{self, Revocation},
};
use crate::{
    database::{Actor, Component, DatabaseError, Scope},
    events::{
        AppendError, NewEvent,
        field::Identifier,
        payload::{AccessTokenRevoked, GrantEnd},
    },
    http::{EdgeCaller, Origin, Refused},
    policy::PolicyError,
};

/// Why a token is not revoked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RevokeError {
    /// The body.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `token` is missing.
    #[error("token is missing.")]
    Missing,
    /// The token was issued to another client.
    #[error("The token was issued to another client.")]
    AnothersToken,
    /// There is no policy, and so no key to verify with.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The event.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for RevokeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl RevokeError {
    /// In OAuth's words (RFC 7009 §2.2.1).
    fn refusal(&self) -> Refusal {
        match self {
            Self::Form(fault) => fault.refusal(),
            Self::Client(fault) => fault.refusal(),
            Self::Missing => Refusal::oauth(OAuthError::InvalidRequest, "token is missing."),
            Self::AnothersToken => {
                Refusal::oauth(OAuthError::InvalidGrant, "The token was issued to another client.")
            }
            Self::Policy(PolicyError::Database(error)) | Self::Database(error) => error::database(error),
            Self::Policy(error) => error::internal(error),
            Self::Append(error) => error::append(error),
        }
    }
}

impl IntoResponse for RevokeError {
    fn into_response(self) -> Response {
        Refused::from(self.refusal()).into_response()
    }
}

/// The handler.
pub(super) async fn revoke(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, RevokeError> {
    let form = form::read_once(&headers, &body, &REVOCATION_PARAMETERS)?;
    let token = form.get("token").ok_or(RevokeError::Missing)?;
    let claim = client::identify(&origin, &headers, &form).await?;
    // `token_type_hint` is not needed: no token is of both forms.
    let refresh = RefreshToken::parse(token);
    let access = if refresh.is_none() {
        let policy = origin.policy.current(&origin.database).await?;
        verified(&policy, token, UnixMillis(origin.clock.unix_millis()))
    } else {
        None
    };
    let actor = Actor::System(Component::AuthorizationServer);
    let mut scope = origin.database.scope(actor).await?.correlated(caller.correlation_id());
    let client = client::authenticate(&mut scope, &claim).await?;
    let is_revoked = match (refresh, access) {
        (Some(token), _) => revoke_family(&mut scope, &origin, &client, &token).await?,
        (None, Some(claims)) => revoke_access_token(&mut scope, &client, &claims).await?,
        (None, None) => false,
    };
    scope.commit().await?;
    if is_revoked {
        origin.policy.mark_changed();
    }
    Ok(StatusCode::OK.into_response())
}

/// Ends the grant of a refresh token of any generation: whoever gives one back wants none of them.
async fn revoke_family(
    scope: &mut Scope,
    origin: &Origin,
    client: &Client,
    token: &RefreshToken,
) -> Result<bool, RevokeError> {
    let grant_id = Uuid::from_bytes(token.grant_id);
    let family: Option<(String, i64, Vec<u8>)> = sqlx::query_as(
        "SELECT client_id, generation, refresh_secret_hash FROM oauth_grants
         WHERE id = $1 AND refresh_secret_hash IS NOT NULL FOR UPDATE",
    )
    .bind(grant_id)
    .fetch_optional(scope.connection())
    .await?;
    let Some((client_id, generation, current)) = family else { return Ok(false) };
    let is_current = i64::from(token.generation) == generation
        && bool::from(token.secret_hash()[..].ct_eq(current.as_slice()));
    let is_older = i64::from(token.generation) < generation && origin.refresh_secrets.recognises(token);
    if !(is_current || is_older) {
        return Ok(false);
    }
    if client_id != client.client_id {
        return Err(RevokeError::AnothersToken);
    }
    Ok(grant::end(scope, grant_id, GrantEnd::ClientRequest).await?)
}

/// The claims of an access token of ours that has not expired.
fn verified(policy: &ActivePolicy, token: &str, now: UnixMillis) -> Option<Claims> {
    let token = Unverified::parse(token).ok()?;
    let (_, key) = policy.key(token.key_id()?, now)?;
    if token.token_type().as_deref() != Some(TokenType::Access.typ())
        || token.check_signature(key) != Ok(SignatureCheck::Valid)
    {
        return None;
    }
    let claims = token.token_claims().ok()?;
    (claims.iss.as_deref() == Some(policy.policy.issuer.as_str()) && now.seconds() < claims.exp)
        .then_some(claims)
}

/// Revokes one access token by its `jti`.
async fn revoke_access_token(
    scope: &mut Scope,
    client: &Client,
    claims: &Claims,
) -> Result<bool, RevokeError> {
    if claims.client_id.as_deref() != Some(client.client_id.as_str()) {
        return Err(RevokeError::AnothersToken);
    }
    let Ok(jti) = Uuid::parse_str(&claims.jti) else { return Ok(false) };
    let revoked: Option<(Uuid, Uuid, OffsetDateTime)> = sqlx::query_as(
        "UPDATE oauth_tokens SET revoked_at = $2 WHERE jti = $1 AND revoked_at IS NULL
         RETURNING workspace_id, grant_id, expires_at",
    )
    .bind(jti)
    .bind(scope.clock().now())
    .fetch_optional(scope.connection())
    .await?;
    let Some((workspace_id, grant_id, expires_at)) = revoked else { return Ok(false) };
    let expires_at = expires_at + grant::REVOCATION_SLACK;
    let entry = Revocation { kind: "jti", value: jti, workspace_id, expires_at, reason: "client_request" };
    grant::revoke(scope, &entry).await?;
    let event = AccessTokenRevoked { client_id: Identifier::of(&client.client_id), jti };
    scope.append(NewEvent::of(workspace_id, grant_id, &event)).await?;
    Ok(true)
}

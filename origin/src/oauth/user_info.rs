//! `/oauth/userinfo`, by GET or POST (OpenID Connect Core §5.3): what the person let the client know of them. The access token comes in
//! `Authorization`, and nowhere else; it is judged by the database, so that what was revoked a moment ago says nothing.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{
    authorization_request::OPENID,
    decide::Refusal,
    jwt::{TokenFault, TokenType},
    problem::ProblemType,
    scope::Scopes,
    time::UnixMillis,
};
use uuid::Uuid;

use crate::{
    database::{Actor, Component, DatabaseError},
    http::{EdgeCaller, Origin, Refused},
    operators::bearer,
    policy::PolicyError,
};

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub(super) enum UserInfoError {
    /// The token (RFC 6750 §3.1).
    #[error("the access token is refused")]
    Refused(Refusal),
    /// There is no policy to judge it by.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for UserInfoError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl IntoResponse for UserInfoError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refusal) => Refused::from(refusal).into_response(),
            Self::Policy(PolicyError::Database(error)) | Self::Database(error) => {
                Refused::from(error).into_response()
            }
            Self::Policy(error) => {
                tracing::error!(%error, "no policy to judge a token by");
                Refused::internal().into_response()
            }
        }
    }
}

/// The claims (OpenID Connect Core §5.1).
#[derive(Serialize)]
struct UserInfo {
    sub: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The handler.
pub(super) async fn user_info(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
) -> Result<Response, UserInfoError> {
    let token = bearer::token_of(&headers).map_err(UserInfoError::Refused)?;
    let compiled = origin.policy.current(&origin.database).await?;
    let now = UnixMillis(origin.clock.unix_millis());
    let refuse = |fault| UserInfoError::Refused(Refusal::token(fault));
    let (token_type, claims) = bearer::verify(&compiled, token, now).map_err(refuse)?;
    if token_type != TokenType::Access {
        return Err(refuse(TokenFault::WrongType));
    }
    if claims.cnf.is_some() {
        let detail =
            "The token is bound to a key or certificate, which is not proved here. Use one that is not.";
        return Err(UserInfoError::Refused(Refusal::invalid_token(ProblemType::TokenBinding, detail)));
    }
    let has = |name: &str| claims.scope.iter().any(|scope| scope == name);
    if !has(OPENID) {
        let needed: Scopes = [OPENID].into_iter().collect();
        return Err(UserInfoError::Refused(Refusal::insufficient_scope(&needed, &needed)));
    }
    let jti = Uuid::parse_str(&claims.jti).map_err(|_| refuse(TokenFault::MissingClaim))?;
    let mut scope = origin
        .database
        .scope(Actor::System(Component::AuthorizationServer))
        .await?
        .correlated(caller.correlation_id());
    // Token, grant, client, project and person must all go on.
    let person: Option<(Uuid, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT u.id, u.email, u.display_name
         FROM oauth_tokens AS t
         JOIN oauth_grants AS g ON g.id = t.grant_id
         JOIN user_accounts AS u ON u.id = t.user_id
         JOIN oauth_clients AS c ON c.client_id = t.client_id
         JOIN projects AS p ON p.id = c.project_id
         WHERE t.jti = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND g.revoked_at IS NULL
           AND u.status = 'active' AND c.enabled AND p.enabled",
    )
    .bind(jti)
    .bind(scope.clock().now())
    .fetch_optional(scope.connection())
    .await?;
    let is_cut_off = crate::operators::is_revoked(&mut scope, &claims).await?;
    scope.rollback().await?;
    let Some((sub, email, name)) = person.filter(|_| !is_cut_off) else {
        let detail = "The token, its grant, its client or its person is no longer good.";
        return Err(UserInfoError::Refused(Refusal::invalid_token(ProblemType::TokenRevoked, detail)));
    };
    // The address is known to be theirs: they read a code from its mailbox.
    let email = email.filter(|_| has("email"));
    let told = UserInfo {
        sub,
        email_verified: email.as_ref().map(|_| true),
        email,
        name: name.filter(|_| has("profile")),
    };
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(told)).into_response())
}

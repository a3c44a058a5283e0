//! `POST /oauth/introspect` (RFC 7662): whether a token is active, told to who has business with it: the client it was issued to, and
//! whoever stands for the project it is for, be it a client that authenticates or a service with its token. Everybody else gets what an
//! unknown token gets. With `Accept: application/token-introspection+jwt` the answer is signed (RFC 9701).

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use shared::{
    client::AuthMethod,
    decide::{INTROSPECTION_NEEDS_A_CALLER, REVOCATION_PARAMETERS, Refusal, has_bearer},
    form::Parameters,
    jwt::TokenType,
    oauth_error::OAuthError,
    policy::ActivePolicy,
    time::UnixMillis,
};
use uuid::Uuid;

use super::{
    client::{self, Client, ClientError, Identified},
    error,
    form::{self, FormError},
    introspected::{self, Asked, Introspected},
    issue::seconds,
};
use crate::{
    database::{Actor, Component, DatabaseError, Scope},
    http::{EdgeCaller, Origin, Refused},
    operators::{self, bearer},
    policy::PolicyError,
    signing_keys::SigningKeyError,
};

/// Media type of the signed answer, and what its `typ` begins with: no token that opens anything has it (RFC 9701 §5).
const MEDIA_TYPE: &str = "application/token-introspection+jwt";
const TYPE: &str = "token-introspection+jwt";

/// Why nothing is said, not even that the token is not active.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntrospectError {
    /// The body.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `token` is missing.
    #[error("token is missing.")]
    Missing,
    /// The caller is a client that cannot authenticate.
    #[error("{}", INTROSPECTION_NEEDS_A_CALLER)]
    PublicClient,
    /// The caller came with a bearer token and says that it is a client too.
    #[error("The caller authenticated in more than one way.")]
    SeveralMethods,
    /// The caller's service token.
    #[error("the service token is refused")]
    Bearer(Refusal),
    /// There is no policy to judge a token by.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// There is no key to sign with.
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    /// The answer could not be signed.
    #[error("the answer could not be signed")]
    Unsigned,
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for IntrospectError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl IntrospectError {
    /// In OAuth's words (RFC 7662 §2.3).
    fn refusal(&self) -> Refusal {
        match self {
            Self::Form(fault) => fault.refusal(),
            Self::Client(fault) => fault.refusal(),
            Self::Missing => Refusal::oauth(OAuthError::InvalidRequest, "token is missing."),
            Self::PublicClient => Refusal::invalid_client(false, INTROSPECTION_NEEDS_A_CALLER),
            Self::SeveralMethods => {
                Refusal::oauth(OAuthError::InvalidRequest, "The caller authenticated in more than one way.")
            }
            Self::Bearer(refusal) => refusal.clone(),
            Self::Policy(PolicyError::Database(error))
            | Self::Key(SigningKeyError::Database(error))
            | Self::Database(error) => error::database(error),
            Self::Key(SigningKeyError::Append(error)) => error::append(error),
            Self::Policy(error) => error::internal(error),
            Self::Key(error) => error::internal(error),
            Self::Unsigned => error::internal(self),
        }
    }
}

impl IntoResponse for IntrospectError {
    fn into_response(self) -> Response {
        Refused::from(self.refusal()).into_response()
    }
}

/// Who asks, before a transaction is open.
enum Presented {
    Client(Identified),
    Service { project: String, workspace_id: String, subject: String },
}

/// Who asks.
enum Caller {
    Client(Client),
    Service { project: String, workspace_id: String, subject: String },
}

impl Caller {
    /// `aud` of the signed answer.
    fn name(&self) -> &str {
        match self {
            Self::Client(client) => &client.client_id,
            Self::Service { subject, .. } => subject,
        }
    }

    /// Whether the token is this caller's business: it is its own, or it is for the project that the caller stands for, in the same
    /// workspace.
    fn may_know(&self, token: &Introspected) -> bool {
        let (own, project, workspace_id) = match self {
            Self::Client(client) => (
                token.client_id.as_deref() == Some(client.client_id.as_str()),
                &client.registered.project,
                &client.registered.workspace_id,
            ),
            Self::Service { project, workspace_id, .. } => (false, project, workspace_id),
        };
        own || (token.projects.contains(project) && token.workspace_id.as_ref() == Some(workspace_id))
    }
}

/// The handler.
pub(super) async fn introspect(
    State(origin): State<Origin>,
    caller: EdgeCaller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, IntrospectError> {
    let form = form::read_once(&headers, &body, &REVOCATION_PARAMETERS)?;
    let token = form.get("token").ok_or(IntrospectError::Missing)?;
    let policy = origin.policy.current(&origin.database).await?;
    let now = UnixMillis(origin.clock.unix_millis());
    let presented = present(&origin, &policy, &headers, &form, now).await?;
    let asked = introspected::read(&policy, token, now);
    // What needs a transaction of its own comes first.
    let api_key = match &asked {
        Asked::ApiKey(hash) => introspected::find_api_key(&origin, hash).await?,
        _ => None,
    };
    let key = if wants_jwt(&headers) { Some(origin.signer.key(&origin).await?) } else { None };

    let actor = Actor::System(Component::AuthorizationServer);
    let mut scope = origin.database.scope(actor).await?.correlated(caller.correlation_id());
    let who = match presented {
        Presented::Client(identified) => {
            let client = client::authenticate(&mut scope, &identified).await?;
            if client.method == AuthMethod::None {
                return Err(IntrospectError::PublicClient);
            }
            Caller::Client(client)
        }
        Presented::Service { project, workspace_id, subject } => {
            Caller::Service { project, workspace_id, subject }
        }
    };
    let found = match api_key {
        Some(found) => Some(found),
        None => introspected::find(&mut scope, &origin, asked).await?,
    };
    let at = seconds(scope.clock().now());
    scope.rollback().await?;
    let answer = found.filter(|token| who.may_know(token)).map(|token| token.answer);
    let answer = match &answer {
        Some(active) => json!(active),
        // Nothing but this (RFC 7662 §2.2): neither whether there was such a token, nor whose.
        None => json!({ "active": false }),
    };
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match key {
        None => Ok(([no_store], Json(answer)).into_response()),
        Some(key) => {
            let statement =
                Statement { iss: origin.issuer(), aud: who.name(), iat: at, token_introspection: answer };
            let jwt = key.sign(TYPE, &statement).ok_or(IntrospectError::Unsigned)?;
            let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
            Ok(([no_store, content_type], jwt).into_response())
        }
    }
}

/// Claims of the signed answer (RFC 9701 §5). It has neither `sub` nor `exp`, so that it can be taken for no other token.
#[derive(Serialize)]
struct Statement<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: u64,
    token_introspection: Value,
}

/// Whether the answer shall be signed.
fn wants_jwt(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MEDIA_TYPE))
    })
}

/// Who says that they ask. A service token is judged here, a client's proof as far as it needs a transaction of its own.
async fn present(
    origin: &Origin,
    policy: &ActivePolicy,
    headers: &HeaderMap,
    form: &Parameters,
    now: UnixMillis,
) -> Result<Presented, IntrospectError> {
    let is_bearer =
        headers.get_all(header::AUTHORIZATION).iter().any(|value| value.to_str().is_ok_and(has_bearer));
    if !is_bearer {
        return Ok(Presented::Client(client::identify(origin, headers, form).await?));
    }
    if ["client_id", "client_secret", "client_assertion"].iter().any(|name| form.get(name).is_some()) {
        return Err(IntrospectError::SeveralMethods);
    }
    let refused = |fault| IntrospectError::Bearer(Refusal::token(fault));
    let token = bearer::token_of(headers).map_err(IntrospectError::Bearer)?;
    let (token_type, claims) = bearer::verify(policy, token, now).map_err(refused)?;
    if token_type != TokenType::Service {
        return Err(refused(shared::jwt::TokenFault::WrongType));
    }
    let missing = || refused(shared::jwt::TokenFault::MissingClaim);
    let workspace_id = claims.workspace_id.clone().ok_or_else(missing)?;
    let project = claims.project.clone().ok_or_else(missing)?;
    let service = claims.service.clone().ok_or_else(missing)?;
    let mut scope = origin.database.scope(Actor::System(Component::Authenticator)).await?;
    let is_good = !operators::is_revoked(&mut scope, &claims).await?
        && has_project(&mut scope, &project, &workspace_id).await?;
    scope.rollback().await?;
    if !is_good {
        let detail = "The service token was revoked, or its project has been disabled.";
        let refusal = Refusal::invalid_token(shared::problem::ProblemType::TokenRevoked, detail);
        return Err(IntrospectError::Bearer(refusal));
    }
    Ok(Presented::Service { project, workspace_id, subject: format!("service:{service}") })
}

async fn has_project(scope: &mut Scope, slug: &str, workspace_id: &str) -> Result<bool, DatabaseError> {
    let Ok(workspace_id) = Uuid::parse_str(workspace_id) else { return Ok(false) };
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM projects WHERE slug = $1 AND workspace_id = $2 AND enabled)",
    )
    .bind(slug)
    .bind(workspace_id)
    .fetch_one(scope.connection())
    .await?)
}

#[cfg(test)]
mod tests {
    use shared::jwt::TokenFault;

    use super::*;

    /// The golden table: every error of the endpoint, its code and status (RFC 7662 §2.3, RFC 6750 §3.1), and whether it challenges.
    #[test]
    fn every_error_has_the_code_and_status_of_the_standard() {
        let unreachable = || DatabaseError::Unreachable(sqlx::Error::PoolTimedOut);
        let table: Vec<(IntrospectError, u16, &str, bool)> = vec![
            (FormError::NotAForm.into(), 400, "invalid_request", false),
            (FormError::Repeated.into(), 400, "invalid_request", false),
            (ClientError::Missing.into(), 401, "invalid_client", false),
            (ClientError::NotAuthenticated { by_header: true }.into(), 401, "invalid_client", true),
            (IntrospectError::Missing, 400, "invalid_request", false),
            (IntrospectError::PublicClient, 401, "invalid_client", false),
            (IntrospectError::SeveralMethods, 400, "invalid_request", false),
            (IntrospectError::Bearer(Refusal::token(TokenFault::WrongType)), 401, "token-wrong-type", true),
            (PolicyError::NoHead.into(), 500, "server_error", false),
            (PolicyError::Database(unreachable()).into(), 503, "temporarily_unavailable", false),
            (SigningKeyError::CannotSeal.into(), 500, "server_error", false),
            (IntrospectError::Unsigned, 500, "server_error", false),
            (unreachable().into(), 503, "temporarily_unavailable", false),
        ];
        for (error, status, code, challenges) in table {
            let refusal = error.refusal();
            assert_eq!((refusal.status(), refusal.kind()), (status, code), "{error}");
            assert_eq!(refusal.challenge.is_some(), challenges, "{error}");
        }
    }
}

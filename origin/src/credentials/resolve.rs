//! `POST /internal/credentials/resolve`: whose credential hashes to this, said in a signed statement; that there is none is said in
//! one too, so that an edge can remember it. One indexed query. It may not be told the credential itself.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use shared::{
    address_range::AddressRange,
    base64url,
    credential::{CredentialKind, CredentialStatement, Resolved},
    decide::Refusal,
    problem::ProblemType,
    scope::Scopes,
    time::UnixMillis,
};
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{Actor, Component, DatabaseError},
    http::{EdgeCaller, Origin, Refused},
};

/// Why an edge gets no statement.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveRefused {
    /// It did not ask by a hash.
    #[error("the body is not {{\"sha256\": …}} with a SHA-256 in base64url")]
    Malformed,
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The statement could not be signed.
    #[error("the statement cannot be signed")]
    Unsigned,
}

impl From<sqlx::Error> for ResolveRefused {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl IntoResponse for ResolveRefused {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed => {
                let detail = "The body must be {\"sha256\": …} with the credential's SHA-256 in base64url.";
                Refused::from(Refusal::problem(ProblemType::RequestMalformed, detail)).into_response()
            }
            Self::Database(error) => Refused::from(error).into_response(),
            Self::Unsigned => {
                tracing::error!("a statement about a credential could not be signed");
                Refused::internal().into_response()
            }
        }
    }
}

/// What the edge asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sha256: String,
}

/// The handler.
pub(super) async fn resolve(
    State(origin): State<Origin>,
    _: EdgeCaller,
    body: Bytes,
) -> Result<Response, ResolveRefused> {
    let Question { sha256 } = serde_json::from_slice(&body).map_err(|_| ResolveRefused::Malformed)?;
    let hash: [u8; 32] = base64url::decode_array(&sha256).ok_or(ResolveRefused::Malformed)?;
    // Before the rows are read: what is committed by now is in them.
    let made_at = UnixMillis(origin.clock.unix_millis());
    let credential = in_force(&origin, &hash).await?;
    let statement = CredentialStatement { iss: origin.issuer().to_owned(), sha256, made_at, credential };
    let statement = statement.sign(origin.policy.statement_key()).ok_or(ResolveRefused::Unsigned)?;
    Ok(Json(json!({ "statement": statement })).into_response())
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    workspace_id: Uuid,
    project: String,
    subject: String,
    created_at: OffsetDateTime,
    client_id: Option<String>,
    scopes: Vec<String>,
    expires_at: Option<OffsetDateTime>,
    addresses: Vec<String>,
    epoch: i64,
}

/// By the unique index on the hash; everything else hangs on the one row by primary keys.
pub(super) const LOOK_UP: &str =
    "SELECT k.id, k.kind, k.workspace_id, p.slug AS project,
            coalesce(k.subject, k.user_id::text, k.kind || ':' || k.id) AS subject,
            k.created_at, k.client_id, k.scopes, k.expires_at, k.addresses::text[] AS addresses, p.credential_epoch AS epoch
     FROM api_keys AS k
     JOIN security_service.projects AS s ON s.id = k.project_id
     JOIN auth_gateway.projects AS p ON p.id = s.gateway_project_id
     LEFT JOIN user_accounts AS u ON u.id = k.user_id
     WHERE k.key_hash = $1 AND k.status <> 'revoked' AND (k.expires_at IS NULL OR k.expires_at > $2)
       AND p.enabled AND (u.id IS NULL OR u.status = 'active')";

/// The credential of this hash, if it is in force now: neither revoked nor expired, of an enabled project, and of a person, if of one,
/// whose account is active.
pub(crate) async fn in_force(origin: &Origin, hash: &[u8; 32]) -> Result<Option<Resolved>, DatabaseError> {
    let mut scope = origin.database.scope(Actor::System(Component::Authenticator)).await?;
    let row: Option<Row> = sqlx::query_as(LOOK_UP)
        .bind(&hash[..])
        .bind(origin.clock.now())
        .fetch_optional(scope.connection())
        .await?;
    // Read only: nothing is kept of it.
    scope.rollback().await?;
    let Some(row) = row else { return Ok(None) };
    let id = row.id;
    let resolved = read(row);
    if resolved.is_none() {
        tracing::error!(%id, "a credential's row cannot be read: it is refused");
    }
    Ok(resolved)
}

fn read(row: Row) -> Option<Resolved> {
    Some(Resolved {
        id: row.id.to_string(),
        kind: match row.kind.as_str() {
            "api_key" => CredentialKind::ApiKey,
            "opaque_token" => CredentialKind::OpaqueToken,
            _ => return None,
        },
        workspace_id: row.workspace_id.to_string(),
        project: row.project,
        subject: row.subject,
        issued_at: unix_seconds(row.created_at)?,
        client_id: row.client_id,
        scopes: Scopes::parse(&row.scopes.join(" "))?,
        // Rounded down: never a moment longer.
        expires_at: match row.expires_at {
            Some(at) => Some(unix_seconds(at)?),
            None => None,
        },
        addresses: row.addresses.iter().map(|range| AddressRange::parse(range)).collect::<Option<_>>()?,
        epoch: u64::try_from(row.epoch).ok()?,
    })
}

fn unix_seconds(at: OffsetDateTime) -> Option<u64> {
    u64::try_from(at.unix_timestamp()).ok()
}

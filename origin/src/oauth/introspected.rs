//! What is known of a token that somebody asks about (RFC 7662 §2.2), by the database: one that has expired, was revoked, or whose grant,
//! client, project or person is gone, is none. Whether the caller may know is [`super::introspect`]'s.

use serde::Serialize;
use shared::{
    api_key::ApiKey,
    jwt::{Audience, Claims, TokenType},
    policy::ActivePolicy,
    refresh_token::RefreshToken,
    scope::Scopes,
    time::UnixMillis,
};
use sqlx::FromRow;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::issue::seconds;
use crate::{
    credentials,
    database::{DatabaseError, Scope},
    http::Origin,
    operators,
};

/// A token that is active, and whose business it is.
pub(super) struct Introspected {
    /// The client it was issued to, if to one.
    pub(super) client_id: Option<String>,
    /// The workspace it acts in.
    pub(super) workspace_id: Option<String>,
    /// What it may be presented to; for a refresh token, nothing.
    pub(super) projects: Vec<String>,
    pub(super) answer: Active,
}

/// The members of the answer (RFC 7662 §2.2, RFC 9068 §5, RFC 9470 §6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the members are RFC 7662's")]
pub(super) struct Active {
    pub(super) active: bool,
    pub(super) iss: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<Audience>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_id: Option<String>,
    #[serde(skip_serializing_if = "Scopes::is_empty")]
    pub(super) scope: Scopes,
    /// `Bearer`; a refresh token is presented to nobody but the token endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exp: Option<u64>,
    pub(super) iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workspace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) amr: Vec<String>,
}

/// A token by its form.
pub(super) enum Asked {
    Refresh(RefreshToken),
    Jwt(TokenType, Box<Claims>),
    ApiKey([u8; 32]),
    /// None of ours, or one that was never good or is not any more.
    Unknown,
}

/// Finds out what a text is. The signature, type, times and issuer of a JWT are judged here.
pub(super) fn read(policy: &ActivePolicy, text: &str, now: UnixMillis) -> Asked {
    if let Some(token) = RefreshToken::parse(text) {
        return Asked::Refresh(token);
    }
    if let Some(key) = ApiKey::parse(text) {
        return Asked::ApiKey(key.sha256());
    }
    match operators::bearer::verify(policy, text, now) {
        Ok((token_type, claims)) => Asked::Jwt(token_type, Box::new(claims)),
        Err(_) => Asked::Unknown,
    }
}

/// What there is to say of it; `None` when it is not active.
pub(super) async fn find(
    scope: &mut Scope,
    origin: &Origin,
    asked: Asked,
) -> Result<Option<Introspected>, DatabaseError> {
    match asked {
        Asked::Refresh(token) => refresh_token(scope, origin, &token).await,
        Asked::Jwt(TokenType::Access, claims) => access_token(scope, *claims).await,
        Asked::Jwt(TokenType::Service, claims) => service_token(scope, *claims).await,
        // Looked up before, in a transaction of its own.
        Asked::Jwt(TokenType::UpstreamAssertion, _) | Asked::ApiKey(_) | Asked::Unknown => Ok(None),
    }
}

/// The same of an API key, which is looked up as the edges have it looked up. Opens a transaction of its own.
pub(super) async fn find_api_key(
    origin: &Origin,
    hash: &[u8; 32],
) -> Result<Option<Introspected>, DatabaseError> {
    let Some(key) = credentials::in_force(origin, hash).await? else { return Ok(None) };
    let project = format!("{}/{}", origin.issuer(), key.project);
    Ok(Some(Introspected {
        client_id: key.client_id.clone(),
        workspace_id: Some(key.workspace_id.clone()),
        projects: vec![key.project],
        answer: Active {
            active: true,
            iss: origin.issuer().to_owned(),
            sub: Some(key.subject),
            aud: Some(Audience::One(project)),
            client_id: key.client_id,
            scope: key.scopes,
            token_type: Some("Bearer"),
            exp: key.expires_at,
            iat: key.issued_at,
            jti: Some(key.id),
            workspace_id: Some(key.workspace_id),
            ..Active::default()
        },
    }))
}

async fn access_token(scope: &mut Scope, claims: Claims) -> Result<Option<Introspected>, DatabaseError> {
    let Ok(jti) = Uuid::parse_str(&claims.jti) else { return Ok(None) };
    // A client's own has no person; a person's must have one who is active.
    let goes_on: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM oauth_tokens AS t
             JOIN oauth_grants AS g ON g.id = t.grant_id
             JOIN oauth_clients AS c ON c.client_id = t.client_id
             JOIN projects AS p ON p.id = c.project_id
             LEFT JOIN user_accounts AS u ON u.id = t.user_id
             WHERE t.jti = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND g.revoked_at IS NULL
               AND c.enabled AND p.enabled AND (t.user_id IS NULL OR u.status = 'active'))",
    )
    .bind(jti)
    .bind(scope.clock().now())
    .fetch_one(scope.connection())
    .await?;
    if !goes_on || operators::is_revoked(scope, &claims).await? {
        return Ok(None);
    }
    Ok(Some(of_claims(claims)))
}

async fn service_token(scope: &mut Scope, claims: Claims) -> Result<Option<Introspected>, DatabaseError> {
    let Ok(jti) = Uuid::parse_str(&claims.jti) else { return Ok(None) };
    let goes_on: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM gateway_tokens AS t JOIN projects AS p ON p.id = t.project_id
             WHERE t.jti = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND p.enabled)",
    )
    .bind(jti)
    .bind(scope.clock().now())
    .fetch_one(scope.connection())
    .await?;
    if !goes_on || operators::is_revoked(scope, &claims).await? {
        return Ok(None);
    }
    Ok(Some(of_claims(claims)))
}

/// The answer that a JWT itself gives.
fn of_claims(claims: Claims) -> Introspected {
    let issuer = claims.iss.clone().unwrap_or_default();
    let named: Vec<String> = match &claims.aud {
        None => Vec::new(),
        Some(Audience::One(one)) => vec![one.clone()],
        Some(Audience::Many(many)) => many.clone(),
    };
    // `{issuer}/{project}` and `{issuer}/{project}/{service}` are of the project.
    let of_audience = named.iter().filter_map(|name| {
        name.strip_prefix(&issuer)?.strip_prefix('/')?.split('/').next().map(ToOwned::to_owned)
    });
    let projects = of_audience.chain(claims.project.clone()).collect();
    let sub = claims.sub.or_else(|| claims.service.as_ref().map(|service| format!("service:{service}")));
    Introspected {
        client_id: claims.client_id.clone(),
        workspace_id: claims.workspace_id.clone(),
        projects,
        answer: Active {
            active: true,
            iss: issuer,
            sub,
            aud: claims.aud,
            client_id: claims.client_id,
            scope: claims.scope,
            token_type: Some("Bearer"),
            exp: Some(claims.exp),
            iat: claims.iat,
            jti: Some(claims.jti),
            sid: claims.sid,
            workspace_id: claims.workspace_id,
            auth_time: claims.auth_time,
            acr: claims.acr,
            amr: claims.amr,
        },
    }
}

#[derive(FromRow)]
struct Family {
    workspace_id: Uuid,
    user_id: Uuid,
    client_id: String,
    scopes: Vec<String>,
    generation: i64,
    refresh_secret_hash: Vec<u8>,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

/// A refresh token is active while it is the one in use.
async fn refresh_token(
    scope: &mut Scope,
    origin: &Origin,
    token: &RefreshToken,
) -> Result<Option<Introspected>, DatabaseError> {
    let grant_id = Uuid::from_bytes(token.grant_id);
    let family: Option<Family> = sqlx::query_as(
        "SELECT g.workspace_id, g.user_id, g.client_id, g.scopes, g.generation, g.refresh_secret_hash, g.created_at, g.expires_at
         FROM oauth_grants AS g
         JOIN user_accounts AS u ON u.id = g.user_id
         JOIN oauth_clients AS c ON c.client_id = g.client_id
         JOIN projects AS p ON p.id = c.project_id
         LEFT JOIN sessions AS s ON s.id = g.session_id
         WHERE g.id = $1 AND g.refresh_secret_hash IS NOT NULL AND g.revoked_at IS NULL AND g.expires_at > $2
           AND u.status = 'active' AND c.enabled AND p.enabled AND s.ended_at IS NULL",
    )
    .bind(grant_id)
    .bind(scope.clock().now())
    .fetch_optional(scope.connection())
    .await?;
    let Some(family) = family else { return Ok(None) };
    let is_current = i64::from(token.generation) == family.generation
        && bool::from(token.secret_hash()[..].ct_eq(family.refresh_secret_hash.as_slice()));
    let Some(scopes) = Scopes::parse(&family.scopes.join(" ")).filter(|_| is_current) else {
        return Ok(None);
    };
    let workspace_id = Some(family.workspace_id.to_string());
    Ok(Some(Introspected {
        client_id: Some(family.client_id.clone()),
        workspace_id: workspace_id.clone(),
        projects: Vec::new(),
        answer: Active {
            active: true,
            iss: origin.issuer().to_owned(),
            sub: Some(family.user_id.to_string()),
            client_id: Some(family.client_id),
            scope: scopes,
            exp: Some(seconds(family.expires_at)),
            iat: seconds(family.created_at),
            sid: Some(grant_id.to_string()),
            workspace_id,
            ..Active::default()
        },
    }))
}

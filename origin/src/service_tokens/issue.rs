//! Issues a service token: `typ: service+jwt`, with the claims `{iss, jti, project, service, iat, exp, scope, workspace_id}`.

use std::time::Duration;

use shared::jwt::{Claims, TokenType};
use shared::scope::Scopes;
use time::OffsetDateTime;
use uuid::Uuid;

use super::ServiceTokenError;
use crate::configuration::Issuer;
use crate::database::{Actor, Component, Database};
use crate::events::NewEvent;
use crate::events::field::{Identifier, Moment, Name};
use crate::events::payload::ServiceTokenIssued;
use crate::signing_keys::{self, Sealer};

/// A year: after that a new one must be asked for.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The project's slug.
    pub project: String,
    /// The service that will present it; what it calls sees it as `service:NAME`.
    pub service: String,
    /// What it may do; empty means whatever the project's services ask of a service.
    pub scopes: Scopes,
    /// How long it lives, to the second.
    pub lifetime: Duration,
    /// Who asks, for the record.
    pub issued_by: String,
}

/// The token itself. It is a secret: it has no `Debug`.
pub struct ServiceToken(String);

impl ServiceToken {
    /// The token, to be handed to whoever asked and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A token that was issued.
pub struct Issued {
    /// The token; there is no second look at it.
    pub token: ServiceToken,
    /// Its id.
    pub jti: Uuid,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// Issues a token and records it.
pub async fn issue(
    database: &Database,
    sealer: &Sealer,
    issuer: &Issuer,
    request: &TokenRequest,
) -> Result<Issued, ServiceTokenError> {
    let faulty = |field, why| Err(ServiceTokenError::Faulty { field, why });
    let named = (1..=63).contains(&request.service.len())
        && request.service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !named {
        return faulty("the service", "must have 1 to 63 letters, digits, dots, dashes or underscores");
    }
    if request.lifetime < Duration::from_secs(1) || request.lifetime > LONGEST {
        return faulty("the lifetime", "must be between one second and 366 days");
    }
    let key = signing_keys::active(database, sealer).await?;

    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let project: Option<(Uuid, Uuid)> =
        sqlx::query_as("SELECT id, workspace_id FROM projects WHERE slug = $1 AND enabled")
            .bind(&request.project)
            .fetch_optional(scope.connection())
            .await?;
    let Some((project_id, workspace_id)) = project else {
        return Err(ServiceTokenError::NoProject { slug: request.project.clone() });
    };
    let jti = scope.new_id();
    // Claims count whole seconds; the row says the same as the token.
    let issued_at = scope.clock().now().replace_nanosecond(0).unwrap_or_else(|_| scope.clock().now());
    let expires_at = issued_at + Duration::from_secs(request.lifetime.as_secs());
    let claims = Claims {
        cnf: None,
        iss: Some(issuer.as_str().to_owned()),
        sub: None,
        aud: None,
        exp: unix_seconds(expires_at),
        nbf: None,
        iat: unix_seconds(issued_at),
        jti: jti.to_string(),
        client_id: None,
        scope: request.scopes.clone(),
        sid: None,
        workspace_id: Some(workspace_id.to_string()),
        project: Some(request.project.clone()),
        service: Some(request.service.clone()),
        acr: None,
        auth_time: None,
        amr: Vec::new(),
    };
    let token = key.sign(TokenType::Service.typ(), &claims).ok_or(ServiceTokenError::Unsigned)?;

    let scopes: Vec<&str> = request.scopes.iter().collect();
    sqlx::query(
        "INSERT INTO gateway_tokens
             (jti, workspace_id, project_id, service, scopes, issued_by, issued_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(jti)
    .bind(workspace_id)
    .bind(project_id)
    .bind(&request.service)
    .bind(scopes)
    .bind(&request.issued_by)
    .bind(issued_at)
    .bind(expires_at)
    .execute(scope.connection())
    .await?;
    let event = ServiceTokenIssued {
        project_id,
        service: Identifier::of(&request.service),
        scopes: request.scopes.clone(),
        issued_by: Name::of(&request.issued_by),
        expires_at: Moment(expires_at),
    };
    scope.append(NewEvent::of(workspace_id, jti, &event)).await?;
    scope.commit().await?;
    Ok(Issued { token: ServiceToken(token), jti, expires_at })
}

fn unix_seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or(0)
}

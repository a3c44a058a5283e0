//! Who may use the operators' interface, `/v1/…`: a service token of the workspace, or an access token for the gateway itself of a
//! person who is owner or admin of it. Both need a scope that says so. The edge only forwards these requests: the token is judged here,
//! by the rules of [`shared::jwt`], the policy in force, and the revocations as the database has them.
//!
//! A handler takes [`Operator`] as an argument, asks [`Operator::require`], and works in [`Operator::scope`], which sees the operator's
//! workspace only. It may not take a workspace from anywhere else.

pub(crate) mod bearer;
#[cfg(test)]
pub(crate) mod test_tokens;
#[cfg(test)]
mod tests;

use axum::{extract::FromRequestParts, http::request::Parts};
use shared::{
    decide::Refusal,
    jwt::{Audience, Claims, TokenFault, TokenType},
    problem::ProblemType,
    scope::Scopes,
    time::UnixMillis,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::{Actor, Component, DatabaseError, Scope},
    http::{EdgeCaller, Origin, Refused, ServiceName},
    policy::PolicyError,
};

/// Somebody or something that may act for a workspace, as far as its scopes go. Only a verified token makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    workspace_id: Uuid,
    user_id: Option<Uuid>,
    /// The service or client that asks, by its token.
    name: String,
    /// What it calls itself, where it does: `X-Service-Name`.
    service_name: Option<String>,
    scopes: Scopes,
    request_id: Uuid,
}

impl Operator {
    /// The workspace it acts for.
    pub fn workspace_id(&self) -> Uuid {
        self.workspace_id
    }

    /// Lets it go on if it has one of these scopes; the first is the one it is told to ask for.
    pub fn require(&self, any_of: &[&str]) -> Result<(), Refused> {
        if any_of.iter().any(|scope| self.scopes.iter().any(|held| held == *scope)) {
            return Ok(());
        }
        let needed: Scopes = any_of.iter().take(1).copied().collect();
        Err(Refusal::insufficient_scope(&needed, &needed).into())
    }

    /// A transaction on its behalf.
    pub async fn scope(&self, origin: &Origin) -> Result<Scope, DatabaseError> {
        let actor = Actor::Workspace {
            workspace_id: self.workspace_id,
            user_id: self.user_id,
            service_name: self.name.clone(),
        };
        let scope = origin.database.scope(actor).await?.correlated(self.request_id);
        Ok(match &self.service_name {
            Some(service_name) => scope.named(service_name.clone()),
            None => scope,
        })
    }
}

impl FromRequestParts<Origin> for Operator {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, origin: &Origin) -> Result<Self, Refused> {
        let caller = EdgeCaller::from_request_parts(parts, origin).await?;
        let service_name = ServiceName::from_request_parts(parts, origin).await?.into_inner();
        let token = bearer::token_of(&parts.headers)?;
        let compiled = origin.policy.current(&origin.database).await.map_err(without_policy)?;
        let now = UnixMillis(origin.clock.unix_millis());
        let (token_type, claims) = bearer::verify(&compiled, token, now).map_err(Refusal::token)?;
        if claims.cnf.is_some() {
            let detail =
                "The token is bound to a key or certificate, which is not proved here. Use one that is not.";
            return Err(Refusal::invalid_token(ProblemType::TokenBinding, detail).into());
        }
        let mut scope = origin.database.scope(Actor::System(Component::Authenticator)).await?;
        if is_revoked(&mut scope, &claims).await? {
            let detail = "The token, its session, its subject or its client was revoked.";
            return Err(Refusal::invalid_token(ProblemType::TokenRevoked, detail).into());
        }
        let uuid = |text: &Option<String>| text.as_deref().and_then(|text| Uuid::parse_str(text).ok());
        let missing = || Refused::from(Refusal::token(TokenFault::MissingClaim));
        let workspace_id = uuid(&claims.workspace_id).ok_or_else(missing)?;
        let (user_id, name) = match token_type {
            TokenType::Service => {
                let service = claims.service.as_ref().filter(|_| claims.project.is_some());
                (None, format!("service:{}", service.ok_or_else(missing)?))
            }
            TokenType::Access => {
                let client_id = claims.client_id.clone().ok_or_else(missing)?;
                if !compiled.policy.clients.contains_key(&client_id) {
                    let detail = "The client of this token has been disabled.";
                    return Err(Refusal::invalid_token(ProblemType::TokenRevoked, detail).into());
                }
                if !is_for_the_gateway(&claims, origin.issuer()) {
                    return Err(Refusal::token(TokenFault::WrongAudience).into());
                }
                let user_id = uuid(&claims.sub).ok_or_else(missing)?;
                if !administers(&mut scope, user_id, workspace_id).await? {
                    let detail = "Only an owner or admin of the workspace may do this.";
                    return Err(Refusal::problem(ProblemType::CredentialNotAccepted, detail).into());
                }
                (Some(user_id), client_id)
            }
            TokenType::UpstreamAssertion => return Err(Refusal::token(TokenFault::WrongType).into()),
        };
        scope.rollback().await?;
        let request_id = caller.correlation_id();
        Ok(Self { workspace_id, user_id, name, service_name, scopes: claims.scope, request_id })
    }
}

fn without_policy(error: PolicyError) -> Refused {
    match error {
        PolicyError::Database(error) => error.into(),
        error => {
            tracing::error!(%error, "no policy to judge a token by");
            Refused::internal()
        }
    }
}

/// The audience is this gateway and nothing else: a token for a project opens that project only.
fn is_for_the_gateway(claims: &Claims, issuer: &str) -> bool {
    match &claims.aud {
        Some(Audience::One(one)) => one == issuer,
        Some(Audience::Many(many)) => matches!(many.as_slice(), [one] if one == issuer),
        None => false,
    }
}

/// What was revoked a moment ago is refused here at once: the table is asked, not the policy.
pub(crate) async fn is_revoked(scope: &mut Scope, claims: &Claims) -> Result<bool, DatabaseError> {
    let issued_at = i64::try_from(claims.iat)
        .ok()
        .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let now = scope.clock().now();
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM revocations WHERE expires_at > $1 AND (
             (kind = 'jti' AND value = $2) OR (kind = 'grant' AND value = $3)
             OR (kind = 'subject' AND value = $4 AND $6 < not_before)
             OR (kind = 'client' AND value = $5 AND $6 < not_before)))",
    )
    .bind(now)
    .bind(&claims.jti)
    .bind(&claims.sid)
    .bind(&claims.sub)
    .bind(&claims.client_id)
    .bind(issued_at)
    .fetch_one(scope.connection())
    .await?)
}

async fn administers(scope: &mut Scope, user_id: Uuid, workspace_id: Uuid) -> Result<bool, DatabaseError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM workspace_memberships AS m JOIN user_accounts AS u ON u.id = m.user_id
         WHERE m.workspace_id = $1 AND m.user_id = $2 AND m.role IN ('owner', 'admin') AND u.status = 'active')",
    )
    .bind(workspace_id)
    .bind(user_id)
    .fetch_one(scope.connection())
    .await?)
}

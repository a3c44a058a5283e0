//! Access tokens (RFC 9068): the JWT, and the row that says it was issued. It may not decide what is granted.

use std::sync::{PoisonError, RwLock};

use shared::{
    jwt::{Audience, Claims, SigningKey, TokenType},
    scope::Scopes,
    time::UnixMillis,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    configuration::KeyBytes,
    database::{DatabaseError, Scope},
    http::Origin,
    signing_keys::{self, Sealer, SigningKeyError},
};

/// How long the active key is used without a look at the database, in milliseconds. A key that is no longer active is believed for
/// far longer than this.
const KEY_KEPT_MILLIS: u64 = 5_000;

/// The active signing key, looked up now and then.
pub struct Signer {
    sealer: Sealer,
    held: RwLock<Option<(SigningKey, UnixMillis)>>,
}

impl Signer {
    /// A signer that opens keys sealed under this key.
    pub fn new(key: &KeyBytes) -> Self {
        Self { sealer: Sealer::new(key), held: RwLock::new(None) }
    }

    /// The key that signs now; made where there is none yet. Opens a transaction of its own when it has to look, so call it before yours.
    pub(crate) async fn key(&self, origin: &Origin) -> Result<SigningKey, SigningKeyError> {
        let now = UnixMillis(origin.clock.unix_millis());
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((key, since)) = &held
            && *since <= now
            && now.since(*since) < KEY_KEPT_MILLIS
        {
            return Ok(key.clone());
        }
        let key = signing_keys::active(&origin.database, &self.sealer).await?;
        if held.is_none_or(|(held, _)| held.kid() != key.kid()) {
            // The edges must hear of it before a token that it signed comes back.
            origin.policy.mark_changed();
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), now));
        Ok(key)
    }
}

/// What an access token says.
pub(super) struct AccessToken<'a> {
    pub(super) grant_id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) client_id: &'a str,
    pub(super) scopes: Scopes,
    pub(super) audience: Vec<String>,
    pub(super) auth_time: OffsetDateTime,
    pub(super) amr: Vec<String>,
}

/// A token that was issued.
pub(super) struct Issued {
    /// The JWT.
    pub(super) jwt: String,
    pub(super) jti: Uuid,
    /// Its scopes.
    pub(super) scopes: Scopes,
    pub(super) expires_at: OffsetDateTime,
}

/// Why none was.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssueError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the access token could not be signed")]
    Unsigned,
}

impl AccessToken<'_> {
    /// Signs it and stores its row, in the caller's transaction.
    pub(super) async fn issue(
        self,
        scope: &mut Scope,
        origin: &Origin,
        key: &SigningKey,
    ) -> Result<Issued, IssueError> {
        let jti = origin.policy.fresh_id("jti", scope);
        let now = scope.clock().now();
        // Claims have whole seconds, and the row says what the token says.
        let issued_at = now.replace_nanosecond(0).unwrap_or(now);
        let expires_at = issued_at + origin.configuration.lifetimes.access_token;
        let claims = Claims {
            cnf: None,
            iss: Some(origin.issuer().to_owned()),
            sub: Some(self.user_id.to_string()),
            aud: Some(match <[String; 1]>::try_from(self.audience) {
                Ok([one]) => Audience::One(one),
                Err(many) => Audience::Many(many),
            }),
            exp: seconds(expires_at),
            nbf: None,
            iat: seconds(issued_at),
            jti: jti.to_string(),
            client_id: Some(self.client_id.to_owned()),
            scope: self.scopes,
            sid: Some(self.grant_id.to_string()),
            workspace_id: Some(self.workspace_id.to_string()),
            project: None,
            service: None,
            auth_time: Some(seconds(self.auth_time)),
            amr: self.amr,
        };
        let jwt = key.sign(TokenType::Access.typ(), &claims).ok_or(IssueError::Unsigned)?;
        let scopes: Vec<&str> = claims.scope.iter().collect();
        sqlx::query(
            "INSERT INTO oauth_tokens (jti, workspace_id, grant_id, user_id, client_id, scopes, issued_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(jti)
        .bind(self.workspace_id)
        .bind(self.grant_id)
        .bind(self.user_id)
        .bind(self.client_id)
        .bind(scopes)
        .bind(issued_at)
        .bind(expires_at)
        .execute(scope.connection())
        .await
        .map_err(DatabaseError::from)?;
        Ok(Issued { jwt, jti, scopes: claims.scope, expires_at })
    }
}

fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or_default()
}

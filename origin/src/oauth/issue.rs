//! The one place where tokens come from, whatever the flow: a *subject* is tied by a *grant* to a client, a workspace, scopes, an
//! audience and how it was proven, and what a token says is what the grant says, as far as the client may still have it. A flow may
//! find out that there is a grant; it may not issue, nor widen one.

use serde::Serialize;
use shared::{
    authorization_request::OPENID,
    client::GrantType,
    jwt::{Audience, Claims, SigningKey, TokenType},
    metadata::ONE_FACTOR,
    refresh_token::RefreshToken,
    scope::Scopes,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{client::Client, target::Target, token::TokenError};
use crate::{
    database::{DatabaseError, Scope},
    http::Origin,
};

/// Generation of a family's first refresh token.
pub(super) const FIRST_GENERATION: u32 = 1;

/// Who asks for tokens, and with what they are made.
pub(super) struct Request<'a> {
    pub(super) origin: &'a Origin,
    /// The client, which has authenticated.
    pub(super) client: &'a Client,
    /// The key to sign with.
    pub(super) key: &'a SigningKey,
    /// The part of the grant's audience that is asked for.
    pub(super) target: Option<&'a Target<'a>>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A person, who has proved who they are.
    Person(Authenticated),
    /// The client itself.
    Client,
}

/// A person, and how they proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authenticated {
    pub(super) user_id: Uuid,
    /// The session in which they did, if it is known.
    pub(super) session_id: Option<Uuid>,
    /// When (`auth_time`).
    pub(super) auth_time: OffsetDateTime,
    /// How (RFC 8176).
    pub(super) amr: Vec<String>,
}

impl Subject {
    /// `sub`. A person's is a UUID, and no `client_id` has a colon: one can never be the other (RFC 9068 §5).
    pub(super) fn sub(&self, client_id: &str) -> String {
        match self {
            Self::Person(person) => person.user_id.to_string(),
            Self::Client => format!("client:{client_id}"),
        }
    }

    const fn person(&self) -> Option<&Authenticated> {
        match self {
            Self::Person(person) => Some(person),
            Self::Client => None,
        }
    }

    fn user_id(&self) -> Option<Uuid> {
        self.person().map(|person| person.user_id)
    }
}

/// What ties a subject to a client.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) id: Uuid,
    pub(super) workspace_id: Uuid,
    pub(super) subject: Subject,
    /// What was granted.
    pub(super) scopes: Scopes,
    /// For what.
    pub(super) audience: Vec<String>,
}

/// What a client gets.
pub(super) struct Tokens {
    pub(super) access: Issued,
    pub(super) refresh: Option<RefreshToken>,
    /// The ID token, where the scopes have `openid` and the subject is a person.
    pub(super) id_token: Option<String>,
}

/// An access token that was issued.
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
    #[error("the token could not be signed")]
    Unsigned,
}

impl Request<'_> {
    /// What the next token may do: what was granted, while the client may still have it. `asked` only narrows.
    pub(super) fn authorize(&self, granted: &Scopes, asked: Option<&Scopes>) -> Result<Scopes, TokenError> {
        let granted = granted.intersection(&self.client.registered.scopes);
        match asked {
            None => Ok(granted),
            Some(asked) if granted.contains_all(asked) => Ok(asked.clone()),
            Some(_) => Err(TokenError::ScopeTooWide),
        }
    }

    /// Begins a grant: stores it, and issues its first tokens. Only a person's has a refresh token, and only if the client may use it.
    /// `nonce` is that of the authorization request.
    pub(super) async fn open(
        &self,
        scope: &mut Scope,
        grant: &Grant,
        nonce: Option<String>,
    ) -> Result<Tokens, TokenError> {
        let lifetimes = &self.origin.configuration.lifetimes;
        let refreshes =
            grant.subject.person().is_some() && self.client.registered.may_use(GrantType::RefreshToken);
        let refresh = refreshes.then(|| self.refresh_token(grant, FIRST_GENERATION));
        let lifetime = if refreshes { lifetimes.refresh_token } else { lifetimes.access_token };
        let now = scope.clock().now();
        let scopes = self.authorize(&grant.scopes, None)?;
        let stored: Vec<&str> = scopes.iter().collect();
        let person = grant.subject.person();
        sqlx::query(
            "INSERT INTO oauth_grants (id, workspace_id, user_id, client_id, session_id, scopes, audience, generation,
                                       refresh_secret_hash, auth_time, amr, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(grant.id)
        .bind(grant.workspace_id)
        .bind(grant.subject.user_id())
        .bind(&self.client.client_id)
        .bind(person.and_then(|person| person.session_id))
        .bind(stored)
        .bind(&grant.audience)
        .bind(i64::from(FIRST_GENERATION))
        .bind(refresh.as_ref().map(|token| token.secret_hash().to_vec()))
        .bind(person.map_or(now, |person| person.auth_time))
        .bind(person.map(|person| person.amr.as_slice()).unwrap_or_default())
        .bind(now)
        .bind(now + lifetime)
        .execute(scope.connection())
        .await?;
        let access = self.access_token(scope, grant, scopes).await?;
        let id_token = self.id_token(scope, grant, &access, nonce)?;
        Ok(Tokens { access, refresh, id_token })
    }

    /// Goes on with a grant whose refresh token is rotated to `refresh`.
    pub(super) async fn renew(
        &self,
        scope: &mut Scope,
        grant: &Grant,
        asked: Option<&Scopes>,
        refresh: RefreshToken,
    ) -> Result<Tokens, TokenError> {
        let scopes = self.authorize(&grant.scopes, asked)?;
        let access = self.access_token(scope, grant, scopes).await?;
        // Without the nonce: the client has checked it (OpenID Connect Core §12.2).
        let id_token = self.id_token(scope, grant, &access, None)?;
        Ok(Tokens { access, refresh: Some(refresh), id_token })
    }

    /// The refresh token of a generation.
    pub(super) fn refresh_token(&self, grant: &Grant, generation: u32) -> RefreshToken {
        self.origin.refresh_secrets.issue(grant.id, generation, &self.origin.randomness)
    }

    /// Signs an ID token (OpenID Connect Core §2), where one was asked for. It is for the client alone, so that there is no `azp`; and it
    /// comes beside the access token over one connection, so that there is no `at_hash`.
    fn id_token(
        &self,
        scope: &Scope,
        grant: &Grant,
        access: &Issued,
        nonce: Option<String>,
    ) -> Result<Option<String>, IssueError> {
        let Subject::Person(person) = &grant.subject else { return Ok(None) };
        if !access.scopes.iter().any(|scope| scope == OPENID) {
            return Ok(None);
        }
        let claims = IdToken {
            iss: self.origin.issuer(),
            sub: grant.subject.sub(&self.client.client_id),
            aud: &self.client.client_id,
            exp: seconds(access.expires_at),
            iat: seconds(scope.clock().now()),
            auth_time: seconds(person.auth_time),
            nonce,
            acr: ONE_FACTOR,
            amr: &person.amr,
            sid: grant.id.to_string(),
        };
        self.key.sign(ID_TOKEN_TYPE, &claims).map(Some).ok_or(IssueError::Unsigned)
    }

    /// Signs an access token (RFC 9068) and stores its row.
    async fn access_token(
        &self,
        scope: &mut Scope,
        grant: &Grant,
        scopes: Scopes,
    ) -> Result<Issued, TokenError> {
        let Self { origin, client, key, target } = self;
        let audience = super::target::narrow(&grant.audience, *target)?;
        let jti = origin.policy.fresh_id("jti", scope);
        let now = scope.clock().now();
        // Claims have whole seconds, and the row says what the token says.
        let issued_at = now.replace_nanosecond(0).unwrap_or(now);
        let expires_at = issued_at + origin.configuration.lifetimes.access_token;
        let person = grant.subject.person();
        let claims = Claims {
            iss: Some(origin.issuer().to_owned()),
            sub: Some(grant.subject.sub(&client.client_id)),
            aud: Some(match <[String; 1]>::try_from(audience) {
                Ok([one]) => Audience::One(one),
                Err(many) => Audience::Many(many),
            }),
            exp: seconds(expires_at),
            iat: seconds(issued_at),
            jti: jti.to_string(),
            client_id: Some(client.client_id.clone()),
            scope: scopes,
            sid: Some(grant.id.to_string()),
            workspace_id: Some(grant.workspace_id.to_string()),
            auth_time: person.map(|person| seconds(person.auth_time)),
            acr: person.map(|_| ONE_FACTOR.to_owned()),
            amr: person.map(|person| person.amr.clone()).unwrap_or_default(),
            ..Claims::default()
        };
        let jwt = key.sign(TokenType::Access.typ(), &claims).ok_or(IssueError::Unsigned)?;
        let scopes: Vec<&str> = claims.scope.iter().collect();
        sqlx::query(
            "INSERT INTO oauth_tokens (jti, workspace_id, grant_id, user_id, client_id, scopes, issued_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(jti)
        .bind(grant.workspace_id)
        .bind(grant.id)
        .bind(grant.subject.user_id())
        .bind(&client.client_id)
        .bind(scopes)
        .bind(issued_at)
        .bind(expires_at)
        .execute(scope.connection())
        .await?;
        Ok(Issued { jwt, jti, scopes: claims.scope, expires_at })
    }
}

/// `typ` of an ID token: that of no token that opens anything (RFC 9068 §4).
const ID_TOKEN_TYPE: &str = "JWT";

/// Claims of an ID token.
#[derive(Serialize)]
struct IdToken<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: u64,
    iat: u64,
    auth_time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    acr: &'a str,
    amr: &'a [String],
    sid: String,
}

/// A moment as claims have it.
pub(super) fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or_default()
}

//! Makes an API key. The text leaves this module once, in [`CreatedKey`], and is stored nowhere.

use std::time::Duration;

use shared::{
    address_range::AddressRange,
    api_key::{self, ApiKey, Environment},
    scope::Scopes,
};
use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{CredentialError, project};
use crate::{
    database::{Actor, Component, Database, Scope, sqlstate},
    events::{
        NewEvent,
        field::{Identifier, Moment, Name},
        payload::ApiKeyCreated,
    },
};

/// Ten years: who wants longer wants for ever, and says so by naming no end.
const LONGEST: Duration = Duration::from_hours(3_660 * 24);
/// How many ranges of addresses a credential may name.
const MOST_ADDRESSES: usize = 64;

/// What is asked for, of either kind of credential.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// The project's slug.
    pub project: String,
    /// What people know it by.
    pub name: String,
    /// Who acts with it, as upstreams see it; without it the credential itself.
    pub subject: Option<String>,
    /// What it may do.
    pub scopes: Scopes,
    /// How long it lives; for ever without it.
    pub lifetime: Option<Duration>,
    /// Where it may come from; anywhere without one.
    pub addresses: Vec<AddressRange>,
    /// Who asks, for the record.
    pub created_by: String,
}

impl KeyRequest {
    pub(super) fn check(&self) -> Result<(), CredentialError> {
        let faulty = |field, why| Err(CredentialError::Faulty { field, why });
        if !(1..=200).contains(&self.name.chars().count()) || self.name.chars().any(char::is_control) {
            return faulty("the name", "must have 1 to 200 characters, none of them a control character");
        }
        let is_visible =
            |text: &str| (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if self.subject.as_deref().is_some_and(|subject| !is_visible(subject)) {
            return faulty(
                "the subject",
                "must have 1 to 200 visible ASCII characters: it goes into a header",
            );
        }
        let is_possible = |lifetime| (Duration::from_secs(1)..=LONGEST).contains(&lifetime);
        if self.lifetime.is_some_and(|lifetime| !is_possible(lifetime)) {
            return faulty("the lifetime", "must be between one second and 3660 days, or not be given");
        }
        if self.addresses.len() > MOST_ADDRESSES {
            return faulty("the addresses", "are more than 64 ranges");
        }
        Ok(())
    }
}

/// The key itself. A secret: it has no `Debug` and is wiped when dropped.
pub struct ApiKeyText(Zeroizing<String>);

impl ApiKeyText {
    /// The key, to be handed to whoever asked and to nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A key that was made.
pub struct CreatedKey {
    /// The key; there is no second look at it.
    pub key: ApiKeyText,
    /// Its id.
    pub id: Uuid,
    /// When it ends, if it does.
    pub expires_at: Option<OffsetDateTime>,
}

/// Makes a key and records it.
pub async fn create(
    database: &Database,
    environment: Environment,
    request: &KeyRequest,
) -> Result<CreatedKey, CredentialError> {
    request.check()?;
    let secret = Zeroizing::new(database.randomness().bytes::<32>());
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let id = scope.new_id();
    let text = Zeroizing::new(api_key::issue(environment, *id.as_bytes(), *secret));
    let sha256 = ApiKey::parse(&text).map(|key| key.sha256()).ok_or(CredentialError::Faulty {
        field: "the key",
        why: "came out malformed; report this as a fault",
    })?;
    let row = NewRow {
        id,
        kind: "api_key",
        environment: Some(environment),
        prefix: api_key::display_prefix(environment, *id.as_bytes()),
        sha256,
        client_id: None,
    };
    let (project_id, workspace_id, expires_at) = insert(&mut scope, &row, request).await?;
    let event = ApiKeyCreated {
        project_id,
        name: Name::of(&request.name),
        environment: Identifier::of(environment.name()),
        scopes: request.scopes.clone(),
        created_by: Name::of(&request.created_by),
        expires_at: expires_at.map(Moment),
    };
    scope.append(NewEvent::of(workspace_id, id, &event)).await?;
    scope.commit().await?;
    Ok(CreatedKey { key: ApiKeyText(text), id, expires_at })
}

/// What tells the two kinds apart.
pub(super) struct NewRow<'a> {
    pub(super) id: Uuid,
    pub(super) kind: &'static str,
    pub(super) environment: Option<Environment>,
    pub(super) prefix: String,
    pub(super) sha256: [u8; 32],
    pub(super) client_id: Option<&'a str>,
}

/// Writes the row and moves the epoch; gives the project, its workspace and when the credential ends.
pub(super) async fn insert(
    scope: &mut Scope,
    row: &NewRow<'_>,
    request: &KeyRequest,
) -> Result<(Uuid, Uuid, Option<OffsetDateTime>), CredentialError> {
    let project = project::begin_change(scope, &request.project).await?;
    let security_project_id = project::security_project(scope, &project).await?;
    // What edges compare counts whole seconds.
    let now = scope.clock().now();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let expires_at = request.lifetime.map(|lifetime| now + Duration::from_secs(lifetime.as_secs()));
    let addresses: Vec<String> = request.addresses.iter().map(ToString::to_string).collect();
    let scopes: Vec<&str> = request.scopes.iter().collect();
    sqlx::query(
        "INSERT INTO api_keys
             (id, workspace_id, project_id, name, prefix, key_hash, scopes, created_at, expires_at, kind, environment,
              addresses, subject, client_id, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::text[]::cidr[], $13, $14, $15)",
    )
    .bind(row.id)
    .bind(project.workspace_id)
    .bind(security_project_id)
    .bind(&request.name)
    .bind(&row.prefix)
    .bind(&row.sha256[..])
    .bind(scopes)
    .bind(now)
    .bind(expires_at)
    .bind(row.kind)
    .bind(row.environment.map(Environment::name))
    .bind(addresses)
    .bind(&request.subject)
    .bind(row.client_id)
    .bind(&request.created_by)
    .execute(scope.connection())
    .await
    .map_err(|error| match sqlstate(&error).as_deref() {
        // unique_violation: of the hash, since the id is new.
        Some("23505") => CredentialError::Known,
        _ => error.into(),
    })?;
    Ok((project.id, project.workspace_id, expires_at))
}

//! Erases a person: whatever says who they were goes, whatever they could still do ends, and the account's id stays, so that it is
//! never given to somebody else and the log goes on telling what happened. Events hold salted commitments only; the salt goes, and
//! with it the only way to open them.

use uuid::Uuid;

use crate::credentials::{self, CredentialError, Revoked};
use crate::database::{Actor, Component, Database, DatabaseError, PLATFORM, Scope};
use crate::events::payload::{GrantEnd, UserErased};
use crate::events::{AppendError, NewEvent};
use crate::oauth;
use crate::sessions::{self, End, SessionError};
use crate::sign_in::EmailAddress;

/// Longer than a token that is issued in the moment of the erasure lives.
const CUT_OFF: std::time::Duration = std::time::Duration::from_hours(2);

/// Who is to be erased.
#[derive(Clone, Debug)]
pub enum Person {
    /// Whoever has this address now.
    Email(EmailAddress),
    /// The account of this id.
    Id(Uuid),
}

/// What an erasure did.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Erased {
    /// The account, which stays as an id.
    pub user_id: Uuid,
    /// Whether there was nothing left to do.
    pub was_erased_before: bool,
    /// Sessions that were open.
    pub sessions: u32,
    /// Grants that went on.
    pub grants: u32,
    /// API keys and tokens of theirs that were good.
    pub credentials: u32,
    /// Workspaces that have no owner now.
    pub workspaces_without_owner: Vec<String>,
}

/// Why a person was not erased. Nothing of theirs is gone then, but credentials that were revoked stay revoked.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// An event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A session could not be ended.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// An API key could not be revoked.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl From<sqlx::Error> for EraseError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Erases a person, in one transaction but for the revoking of their credentials, which comes first. Doing it again does nothing.
pub async fn erase(database: &Database, person: &Person) -> Result<Erased, EraseError> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    let (user_id, _) = find(&mut scope, person).await?;
    let keys: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM api_keys WHERE user_id = $1 AND status <> 'revoked' ORDER BY id")
            .bind(user_id)
            .fetch_all(scope.connection())
            .await?;
    scope.rollback().await?;
    let mut erased = Erased { user_id, ..Erased::default() };
    for key in keys {
        let revoked = credentials::revoke(database, key, "gateward person erase", "person erased").await?;
        erased.credentials += u32::from(revoked == Revoked::Now);
    }

    let mut scope = database.scope(Actor::System(Component::Operator)).await?;
    // The strongest lock of a row: whoever is about to give this person something refers to the row, and waits.
    let (_, status) = find(&mut scope, &Person::Id(user_id)).await?;
    if status == "erased" {
        erased.was_erased_before = true;
        return Ok(erased);
    }
    end_what_goes_on(&mut scope, &mut erased).await?;
    erased.workspaces_without_owner = leave_workspaces(&mut scope, user_id).await?;
    forget(&mut scope, user_id).await?;
    let event =
        UserErased { sessions: erased.sessions, grants: erased.grants, credentials: erased.credentials };
    scope.append(NewEvent::of_platform(user_id, &event)).await?;
    scope.commit().await?;
    Ok(erased)
}

/// The account, locked.
async fn find(scope: &mut Scope, person: &Person) -> Result<(Uuid, String), EraseError> {
    let found = match person {
        Person::Email(email) => {
            sqlx::query_as("SELECT id, status FROM user_accounts WHERE email = $1 FOR UPDATE")
                .bind(email.as_str())
                .fetch_optional(scope.connection())
                .await?
        }
        Person::Id(id) => {
            sqlx::query_as("SELECT id, status FROM user_accounts WHERE id = $1 FOR UPDATE")
                .bind(id)
                .fetch_optional(scope.connection())
                .await?
        }
    };
    found.ok_or_else(|| {
        EraseError::NoAccount(match person {
            Person::Email(email) => format!("with the address {}", email.as_str()),
            Person::Id(id) => id.to_string(),
        })
    })
}

/// Ends sessions and grants, and has the edges refuse whatever is being issued right now.
async fn end_what_goes_on(scope: &mut Scope, erased: &mut Erased) -> Result<(), EraseError> {
    let user_id = erased.user_id;
    let now = scope.clock().now();
    let open: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL ORDER BY id")
            .bind(user_id)
            .fetch_all(scope.connection())
            .await?;
    for session in open {
        erased.sessions += u32::from(sessions::end(scope, session, user_id, End::Revoked).await?);
    }
    let open: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM oauth_grants WHERE user_id = $1 AND revoked_at IS NULL ORDER BY id",
    )
    .bind(user_id)
    .fetch_all(scope.connection())
    .await?;
    for grant in open {
        erased.grants += u32::from(oauth::end_grant(scope, grant, GrantEnd::OperatorRequest).await?);
    }
    // The moment lies ahead: nothing that was already under way when the row was locked outlives it.
    sqlx::query(
        "INSERT INTO revocations (kind, value, workspace_id, not_before, expires_at, reason, actor, created_at)
         VALUES ('subject', $1, $2, $3, $4, 'erased', $5, $6)
         ON CONFLICT (kind, value) DO UPDATE SET not_before = excluded.not_before, expires_at = excluded.expires_at,
             reason = excluded.reason",
    )
    .bind(user_id.to_string())
    .bind(PLATFORM)
    .bind(now + CUT_OFF)
    .bind(now + CUT_OFF * 2)
    .bind(scope.actor().to_json())
    .bind(now)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Takes the person out of every workspace. Says which have no owner any more.
async fn leave_workspaces(scope: &mut Scope, user_id: Uuid) -> Result<Vec<String>, EraseError> {
    let left: Vec<Uuid> = sqlx::query_scalar(
        "DELETE FROM workspace_memberships WHERE user_id = $1 AND role IN ('owner', 'admin', 'member') RETURNING workspace_id",
    )
    .bind(user_id)
    .fetch_all(scope.connection())
    .await?;
    let ownerless = sqlx::query_scalar(
        "SELECT slug FROM workspaces WHERE id = ANY ($1)
           AND NOT EXISTS (SELECT FROM workspace_memberships AS m WHERE m.workspace_id = workspaces.id AND m.role = 'owner')
         ORDER BY slug",
    )
    .bind(left)
    .fetch_all(scope.connection())
    .await?;
    Ok(ownerless)
}

/// Takes out whatever says who it was. A row that only holds ids stays until the sweep.
async fn forget(scope: &mut Scope, user_id: Uuid) -> Result<(), EraseError> {
    let now = scope.clock().now();
    let statements = [
        // The challenges first, while the address is still known: their salts open the commitments in their events.
        "DELETE FROM sign_in_challenges
         WHERE user_id = $1 OR email = (SELECT email FROM user_accounts WHERE id = $1)",
        "DELETE FROM oauth_consents WHERE user_id = $1",
        "DELETE FROM oauth_authorization_codes WHERE user_id = $1",
        "DELETE FROM authorization_requests WHERE session_id IN (SELECT id FROM sessions WHERE user_id = $1)",
        "UPDATE sessions SET address = NULL, user_agent = NULL WHERE user_id = $1",
        "UPDATE api_keys SET name = 'erased', created_by = '' WHERE user_id = $1",
    ];
    for statement in statements {
        sqlx::query(statement).bind(user_id).execute(scope.connection()).await?;
    }
    sqlx::query(
        "UPDATE user_accounts SET status = 'erased', email = NULL, email_salt = NULL, display_name = NULL,
                last_sign_in_at = NULL, metadata = '{}', updated_at = $2
         WHERE id = $1",
    )
    .bind(user_id)
    .bind(now)
    .execute(scope.connection())
    .await?;
    Ok(())
}

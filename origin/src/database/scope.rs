//! A transaction on behalf of one actor. Dropping it stores nothing; so does committing it after a failed statement, but that is
//! an error here, where plain SQL would answer a COMMIT of an aborted transaction with a silent rollback.
//!
//! A scope costs two round trips besides what is done in it: one that begins and takes the role, one that checks and commits.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection as _, Database, Postgres, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;
use uuid::Uuid;

use super::{Actor, DatabaseError, PLATFORM, sqlstate};
use crate::clock::{Clock, Randomness};
use crate::failpoint;

/// What sqlx counts open transactions with.
type Transactions = <Postgres as Database>::TransactionManager;

/// An open transaction with its actor's role, workspace and person set for its duration.
#[derive(Debug)]
pub struct Scope {
    connection: PoolConnection<Postgres>,
    actor: Actor,
    service_name: Option<String>,
    correlation_id: Option<Uuid>,
    causation_id: Option<Uuid>,
    clock: Clock,
    randomness: Randomness,
}

impl Scope {
    pub(super) async fn open(
        pool: &PgPool,
        actor: Actor,
        clock: Clock,
        randomness: Randomness,
    ) -> Result<Self, DatabaseError> {
        if matches!(actor, Actor::Workspace { workspace_id, .. } if workspace_id == PLATFORM) {
            return Err(DatabaseError::PlatformIsNoTenant);
        }
        // A connection that lay idle may have died, which shows at its first statement: then nothing has happened yet, and another is
        // taken. When every one of them may have been dead, the last try is on a new one, or says why there is none.
        let mut tries_left = pool.options().get_max_connections();
        let connection = loop {
            let mut connection = pool.acquire().await?;
            let error = match begin(&mut connection, &actor).await {
                Ok(()) => break connection,
                Err(error) => error,
            };
            // Whatever state it is in, nobody else gets it.
            drop(connection.detach().close_hard().await);
            match DatabaseError::from_begin(error, &actor) {
                DatabaseError::Unreachable(_) if tries_left > 0 => tries_left -= 1,
                error => return Err(error),
            }
        };
        Ok(Self {
            connection,
            actor,
            service_name: None,
            correlation_id: None,
            causation_id: None,
            clock,
            randomness,
        })
    }

    /// Names the service that asks, as it names itself, in what is appended in this scope.
    #[must_use]
    pub fn named(mut self, service_name: String) -> Self {
        self.service_name = Some(service_name);
        self
    }

    /// Ties what is appended in this scope to the request it came from.
    #[must_use]
    pub fn correlated(mut self, request_id: Uuid) -> Self {
        self.correlation_id = Some(request_id);
        self
    }

    /// Ties what is appended in this scope from here on to the event it follows from.
    pub fn caused_by(&mut self, event_id: Uuid) {
        self.causation_id = Some(event_id);
    }

    /// The connection, to run statements on: `sqlx::query("…").execute(scope.connection())`. Roles and settings are the scope's
    /// business: a statement may not change them, nor end the transaction.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// On whose behalf this is.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The clock that stamps events, for columns that must say the same.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A new identifier of version 7.
    pub fn new_id(&self) -> Uuid {
        self.randomness.uuid(&self.clock)
    }

    /// What the service that asks calls itself, where it does.
    pub fn service_name(&self) -> Option<&str> {
        self.service_name.as_deref()
    }

    /// The request this belongs to.
    pub fn correlation_id(&self) -> Option<Uuid> {
        self.correlation_id
    }

    /// The event this follows from.
    pub fn causation_id(&self) -> Option<Uuid> {
        self.causation_id
    }

    /// Stores everything the scope did, or nothing.
    pub async fn commit(mut self) -> Result<(), DatabaseError> {
        failpoint::reach("scope.before_commit");
        // The first statement fails with 25P02 where an earlier one failed; COMMIT alone would not say so. What follows the commit is
        // a transaction that does nothing, without any role: dropping ends it, together with whatever did not get so far.
        sqlx::raw_sql("SELECT; COMMIT AND CHAIN").execute(&mut *self.connection).await?;
        failpoint::reach("scope.after_commit");
        Ok(())
    }

    /// Undoes everything at once. Dropping the scope does the same, later.
    pub async fn rollback(mut self) -> Result<(), DatabaseError> {
        Transactions::rollback(&mut self.connection).await?;
        Ok(())
    }
}

impl Drop for Scope {
    /// The rollback goes out when the connection returns to the pool.
    fn drop(&mut self) {
        Transactions::start_rollback(&mut self.connection);
    }
}

/// Begins and takes the role in one round trip. All settings are one statement, so that there is no moment with the role taken and
/// the tenant not set.
async fn begin(connection: &mut PgConnection, actor: &Actor) -> Result<(), sqlx::Error> {
    // None of the values is anybody's text: names of roles and schemas, and identifiers.
    let statement = format!(
        "BEGIN; SELECT set_config('role', '{}', true), set_config('app.workspace_id', '{}', true),
                       set_config('app.user_id', '{}', true), set_config('search_path', '{}', true)",
        actor.role(),
        actor.workspace_setting(),
        actor.user_setting(),
        actor.search_path()
    );
    Transactions::begin(connection, Some(AssertSqlSafe(statement).into_sql_str())).await
}

impl DatabaseError {
    fn from_begin(error: sqlx::Error, actor: &Actor) -> Self {
        match sqlstate(&error).as_deref() {
            // insufficient_privilege, undefined_object, invalid_parameter_value: what SET ROLE answers.
            Some("42501" | "42704" | "22023") => Self::RoleDenied { role: actor.role() },
            _ => error.into(),
        }
    }
}

//! A transaction on behalf of one actor. Dropping it stores nothing; so does committing it after a failed statement, but that is
//! an error here, where plain SQL would answer a COMMIT of an aborted transaction with a silent rollback.

use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::{Actor, DatabaseError, PLATFORM, sqlstate};
use crate::clock::{Clock, Randomness};
use crate::failpoint;

/// An open transaction with its actor's role, workspace and person set for its duration.
#[derive(Debug)]
pub struct Scope {
    transaction: Transaction<'static, Postgres>,
    actor: Actor,
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
        let mut transaction = pool.begin().await?;
        // One statement, so that there is no moment with the role taken and the tenant not set.
        sqlx::query(
            "SELECT set_config('role', $1, true), set_config('app.workspace_id', $2, true),
                    set_config('app.user_id', $3, true), set_config('search_path', $4, true)",
        )
        .bind(actor.role())
        .bind(actor.workspace_setting())
        .bind(actor.user_setting())
        .bind(actor.search_path())
        .execute(&mut *transaction)
        .await
        .map_err(|error| match sqlstate(&error).as_deref() {
            // insufficient_privilege, undefined_object, invalid_parameter_value: what SET ROLE answers.
            Some("42501" | "42704" | "22023") => DatabaseError::RoleDenied { role: actor.role() },
            _ => error.into(),
        })?;
        Ok(Self { transaction, actor, correlation_id: None, causation_id: None, clock, randomness })
    }

    /// Ties what is appended in this scope to the request it came from.
    #[must_use]
    pub fn correlated(mut self, request_id: Uuid) -> Self {
        self.correlation_id = Some(request_id);
        self
    }

    /// Ties what is appended in this scope to the event it follows from.
    #[must_use]
    pub fn caused_by(mut self, event_id: Uuid) -> Self {
        self.causation_id = Some(event_id);
        self
    }

    /// The connection, to run statements on: `sqlx::query("…").execute(scope.connection())`. Roles and settings are the scope's
    /// business: a statement may not change them, nor end the transaction.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
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
        // Fails with 25P02 where an earlier statement failed; COMMIT alone would not say so.
        sqlx::query("SELECT").execute(&mut *self.transaction).await?;
        failpoint::reach("scope.before_commit");
        self.transaction.commit().await?;
        failpoint::reach("scope.after_commit");
        Ok(())
    }

    /// Undoes everything at once. Dropping the scope does the same, later.
    pub async fn rollback(self) -> Result<(), DatabaseError> {
        self.transaction.rollback().await?;
        Ok(())
    }
}

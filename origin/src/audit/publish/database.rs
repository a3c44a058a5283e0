//! A table in a database of somebody else's, by a login that may insert and nothing else: not even we can take a checkpoint back.

use shared::tlog::{Checkpoint, base64};

use super::PublishError;
use crate::audit::checkpoints::StoredCheckpoint;
use crate::audit::tree::TreeError;
use crate::database::{Actor, Component, Database, DatabaseError, sqlstate};

/// What an administrator of that database runs once.
pub fn checkpoint_table() -> &'static str {
    include_str!("checkpoint_table.sql")
}

/// The database.
#[derive(Debug)]
pub struct DatabasePublisher {
    database: Database,
}

impl DatabasePublisher {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    pub(super) async fn publish(&self, latest: &StoredCheckpoint) -> Result<(), PublishError> {
        let (checkpoint, _) = Checkpoint::unverified(&latest.note).map_err(|_| TreeError::State)?;
        match self.insert(&checkpoint, &latest.note).await {
            Ok(()) => Ok(()),
            // It is there already. One of the same size with another root has a row of its own, beside it.
            Err(DatabaseError::Refused(error)) if sqlstate(&error).as_deref() == Some("23505") => Ok(()),
            Err(error) => Err(PublishError::Database(error)),
        }
    }

    async fn insert(&self, checkpoint: &Checkpoint, note: &str) -> Result<(), DatabaseError> {
        let mut scope = self.database.scope(Actor::System(Component::CheckpointPublisher)).await?;
        sqlx::query("INSERT INTO gateward_checkpoints (origin, size, root, note) VALUES ($1, $2, $3, $4)")
            .bind(&checkpoint.origin)
            .bind(i64::try_from(checkpoint.size).unwrap_or(i64::MAX))
            .bind(base64(&checkpoint.root))
            .bind(note)
            .execute(scope.connection())
            .await?;
        scope.commit().await
    }

    pub(super) async fn close(&self) {
        self.database.close().await;
    }
}

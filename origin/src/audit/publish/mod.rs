//! Places that checkpoints are published to, where whoever owns the command database cannot write. What is there already is never
//! replaced by something smaller or by something that does not begin with it: then the place keeps what it has, as evidence, and the
//! fault is reported.

mod database;
mod file;
pub(super) mod publications;
mod witness;

use std::path::PathBuf;

use self::database::DatabasePublisher;
pub use self::database::checkpoint_table;
use self::file::FilePublisher;
use self::witness::WitnessPublisher;
use super::checkpoints::StoredCheckpoint;
use super::tree::TreeError;
use crate::configuration::AuditConfiguration;
use crate::database::{Database, DatabaseError};

/// Why a place does not have the latest checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The log is not what was published there before, or cannot be read.
    #[error(transparent)]
    Log(#[from] TreeError),
    /// What is there is no checkpoint.
    #[error("{place} has something that is no checkpoint ({reason}); look at it before it is moved away")]
    Foreign {
        /// Where.
        place: String,
        /// Why it is none.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Others published at the same time, again and again.
    #[error("others publish to the same file all the time")]
    Contended,
    /// The database that keeps checkpoints failed.
    #[error("the database of checkpoints: {0}")]
    Database(DatabaseError),
    /// The witness could not be asked, or did not cosign.
    #[error("the witness: {0}")]
    Witness(String),
}

impl From<DatabaseError> for PublishError {
    /// A fault of the command database.
    fn from(error: DatabaseError) -> Self {
        Self::Log(error.into())
    }
}

/// A place.
#[derive(Debug)]
pub enum Publisher {
    /// A file with the latest, and a file a day with all of them.
    File(FilePublisher),
    /// A table in a database of somebody else's.
    Database(DatabasePublisher),
    /// A witness over HTTP, which cosigns.
    Witness(Box<WitnessPublisher>),
}

impl Publisher {
    /// Every place that is configured. `command` is where the proofs come from.
    pub(super) fn all(configuration: &AuditConfiguration, command: &Database) -> Vec<Self> {
        let file = configuration.file.as_ref().map(|path| Self::file(path.clone(), command));
        let database = configuration.database.as_ref().map(|url| {
            let (clock, randomness) = (command.clock().clone(), command.randomness().clone());
            Self::database(Database::new(url.options(), 1, clock, randomness))
        });
        let witness = configuration
            .witness
            .as_ref()
            .map(|witness| Self::Witness(Box::new(WitnessPublisher::new(witness.clone(), command.clone()))));
        [file, database, witness].into_iter().flatten().collect()
    }

    /// A file.
    pub fn file(path: PathBuf, command: &Database) -> Self {
        Self::File(FilePublisher::new(path, command.clone()))
    }

    /// A database, by a login that may act as the publisher.
    pub fn database(database: Database) -> Self {
        Self::Database(DatabasePublisher::new(database))
    }

    /// What it is called in messages and in `audit_publications`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Database(_) => "database",
            Self::Witness(_) => "witness",
        }
    }

    /// Sees to it that this checkpoint is there, or a later one.
    pub(super) async fn publish(&self, latest: &StoredCheckpoint) -> Result<(), PublishError> {
        match self {
            Self::File(file) => file.publish(latest).await,
            Self::Database(database) => database.publish(latest).await,
            Self::Witness(witness) => witness.publish(latest).await,
        }
    }

    pub(super) async fn close(&self) {
        if let Self::Database(database) = self {
            database.close().await;
        }
    }
}

//! The audit log as the forwarder runs it: the sealer, which is the destination, and the keeper beside it.

use tokio::sync::watch;

use super::keeper::{Keeper, KeeperError, KeeperSettings};
use super::publish::Publisher;
use super::sealer::Sealer;
use crate::configuration::AuditConfiguration;
use crate::database::Database;
use crate::outbox::Delivery;
use crate::outbox::destination::{Destination, Undelivered};

/// Sealer and keeper.
#[derive(Debug)]
pub struct AuditLog {
    sealer: Sealer,
    keeper: Keeper,
}

impl AuditLog {
    /// Seals into the command database and publishes where the configuration says. Connects to nothing yet.
    pub fn new(command: Database, configuration: AuditConfiguration) -> Self {
        let sealer = Sealer::new(command.clone());
        let publishers = Publisher::all(&configuration, &command);
        let settings = KeeperSettings { interval: configuration.interval, events: configuration.events };
        let keeper =
            Keeper::new(command, configuration.signer, publishers, settings).told_by(sealer.growth());
        Self { sealer, keeper }
    }

    /// Signs and publishes until `stop` says so. Nothing that fails here holds up the sealer.
    pub async fn keep(&self, stop: watch::Receiver<bool>) {
        Box::pin(self.keeper.run(stop)).await;
    }

    /// Signs a checkpoint of what is sealed, if there is more than in the last one, and publishes it everywhere once.
    pub async fn keep_once(&self) -> Result<(), KeeperError> {
        self.keeper.once().await
    }

    /// Closes the connections that are its own.
    pub async fn close(&self) {
        self.keeper.close().await;
    }
}

impl Destination for AuditLog {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        self.sealer.deliver(batch).await
    }
}

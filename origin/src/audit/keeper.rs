//! The keeper: signs a checkpoint whenever the log has grown, and sees to it that each place they are published to has the latest. It
//! signs nothing that does not begin with what it signed before. Any number may run at once: they sign the same.

use std::time::Duration;

use shared::tlog::{Checkpoint, NoteSigner};
use tokio::sync::watch;

use super::checkpoints::{self, StoredCheckpoint, latest_checkpoint};
use super::growth::Growth;
use super::publish::{Publisher, publications};
use super::tree::{self, TreeError};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};

/// The longest wait between attempts.
const MOST_BACKOFF: Duration = Duration::from_mins(1);
/// One checkpoint in so many prunes old ones.
const PRUNE_EVERY: u64 = 100;

/// When checkpoints are made.
#[derive(Clone, Copy, Debug)]
pub struct KeeperSettings {
    /// So long after the last look, if there is anything new.
    pub interval: Duration,
    /// Earlier, once so many events were sealed.
    pub events: u64,
}

/// Why there is no new checkpoint, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The log cannot be signed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Places did not take the checkpoint.
    #[error("the checkpoint is not published everywhere: {0}")]
    Unpublished(String),
}

impl From<DatabaseError> for KeeperError {
    fn from(error: DatabaseError) -> Self {
        Self::Tree(error.into())
    }
}

/// Signs and publishes.
#[derive(Debug)]
pub struct Keeper {
    command: Database,
    signer: NoteSigner,
    /// At most three.
    publishers: Vec<Publisher>,
    settings: KeeperSettings,
    growth: Growth,
}

impl Keeper {
    /// Signs what is in `command`, whose login may act as the sealer. The signer's name is the log's origin.
    pub fn new(
        command: Database,
        signer: NoteSigner,
        publishers: Vec<Publisher>,
        settings: KeeperSettings,
    ) -> Self {
        Self { command, signer, publishers, settings, growth: Growth::default() }
    }

    pub(super) fn told_by(mut self, growth: &Growth) -> Self {
        self.growth = growth.clone();
        self
    }

    /// Runs until `stop` says so. Each publisher has a loop of its own, so that a slow one holds up no other.
    pub(super) async fn run(&self, stop: watch::Receiver<bool>) {
        if let Err(error) = self.forget_others().await {
            tracing::warn!(%error, "places that are no longer published to may still be listed");
        }
        let [first, second, third] = [0, 1, 2].map(|slot| self.publish_until(slot, stop.clone()));
        tokio::join!(self.sign_until(stop), first, second, third);
    }

    /// Makes a checkpoint if there is anything new, and publishes the latest everywhere.
    pub async fn once(&self) -> Result<(), KeeperError> {
        self.forget_others().await?;
        self.checkpoint().await?;
        let mut faults = Vec::new();
        for publisher in &self.publishers {
            if let Err(error) = self.publish(publisher, &mut None).await {
                faults.push(format!("{}: {error}", publisher.name()));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(KeeperError::Unpublished(faults.join("; "))) }
    }

    /// Signs the log as it is, unless the latest checkpoint is of that. Nothing while the log is empty.
    pub async fn checkpoint(&self) -> Result<Option<Checkpoint>, TreeError> {
        let mut scope = self.scope().await?;
        let frontier = tree::frontier(&mut scope).await?;
        let before = latest_checkpoint(&mut scope).await?;
        let (size, root) = (frontier.size(), frontier.root());
        let place = "audit_checkpoints";
        if let Some(before) = &before {
            tree::extends(&mut scope, (before.size, &before.root), (size, &root), place).await?;
        }
        if before.as_ref().map_or(0, |before| before.size) == size {
            return Ok(None);
        }
        let checkpoint = Checkpoint { origin: self.signer.verifier().name().to_owned(), size, root };
        checkpoints::insert(&mut scope, &checkpoint, &checkpoint.sign(&self.signer)).await?;
        if u64::from(root[0]) % PRUNE_EVERY == 0 {
            checkpoints::prune(&mut scope).await?;
        }
        scope.commit().await?;
        Ok(Some(checkpoint))
    }

    async fn sign_until(&self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        while !*stop.borrow() {
            self.growth.begin();
            let grown = match self.checkpoint().await {
                Ok(_) => {
                    failures = 0;
                    true
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::error!(%error, failures, "no checkpoint of the audit log was made");
                    false
                }
            };
            tokio::select! {
                () = tokio::time::sleep(backoff(self.settings.interval, failures)) => {}
                () = self.growth.reached(self.settings.events), if grown => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn publish_until(&self, slot: usize, mut stop: watch::Receiver<bool>) {
        let Some(publisher) = self.publishers.get(slot) else { return };
        let (mut failures, mut sent) = (0_u32, None);
        while !*stop.borrow() {
            match self.publish(publisher, &mut sent).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let publisher = publisher.name();
                    tracing::error!(%publisher, %error, failures, "the checkpoint was not published");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff(self.settings.interval, failures)) => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Publishes the latest checkpoint to one place, unless that was `sent` there before, and writes down what came of it.
    async fn publish(&self, publisher: &Publisher, sent: &mut Option<u64>) -> Result<(), String> {
        let latest = match self.latest().await {
            Ok(Some(latest)) if *sent != Some(latest.size) => latest,
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let result = publisher.publish(&latest).await.map_err(|error| error.to_string());
        if result.is_ok() {
            *sent = Some(latest.size);
        }
        let size = result.as_ref().map(|()| latest.size).map_err(String::as_str);
        let recorded = async {
            let mut scope = self.scope().await?;
            publications::record(&mut scope, publisher.name(), size).await?;
            scope.commit().await
        };
        if let Err(error) = recorded.await {
            tracing::warn!(%error, "whether the checkpoint was published could not be written down");
        }
        result
    }

    async fn latest(&self) -> Result<Option<StoredCheckpoint>, TreeError> {
        latest_checkpoint(&mut self.scope().await?).await
    }

    /// Forgets how places were doing that are not published to any more.
    async fn forget_others(&self) -> Result<(), DatabaseError> {
        let names: Vec<&str> = self.publishers.iter().map(Publisher::name).collect();
        let mut scope = self.scope().await?;
        publications::forget_all_but(&mut scope, &names).await?;
        scope.commit().await
    }

    async fn scope(&self) -> Result<Scope, DatabaseError> {
        self.command.scope(Actor::System(Component::Sealer)).await
    }

    pub(super) async fn close(&self) {
        for publisher in &self.publishers {
            publisher.close().await;
        }
    }
}

/// The interval, doubled for each failure, up to a minute.
fn backoff(interval: Duration, failures: u32) -> Duration {
    if failures == 0 {
        interval
    } else {
        interval.saturating_mul(1 << failures.min(12)).min(MOST_BACKOFF.max(interval))
    }
}

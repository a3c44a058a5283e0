//! The forwarder: leases lanes, carries what is in them, gives them back. Any number of them can run at once, and any of them can be
//! killed at any time.

use std::time::Duration;

use tokio::sync::watch;

use super::breaker;
use super::delivery::Delivery;
use super::destination::Destination;
use super::halving::{self, Outcome, Patience, Stopped};
use super::lease::{self, Lane};
use super::metrics::Counters;
use super::queue;
use super::settlement::{self, Backoff, Settled};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::failpoint;

/// How many lanes one turn takes.
const LANES_PER_TURN: i64 = 16;
/// Rows in the first batch of a turn; the largest is the destination's to say.
const FIRST_BATCH: usize = 50;
/// Batches in a turn, after which others get a chance at the lanes.
const BATCHES_PER_TURN: usize = 50;

/// How a forwarder behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose leases these are; unique among the forwarders that run.
    pub name: String,
    /// The destination's row in `outbox_destinations`.
    pub destination_id: i16,
    /// How long a lane is kept without a sign of life.
    pub lease: Duration,
    /// How long to wait when there was nothing to do.
    pub poll_interval: Duration,
    /// The wait after a first failure; it doubles up to five minutes.
    pub first_backoff: Duration,
}

impl Settings {
    /// For one destination, at usual speeds.
    pub fn new(name: String, destination_id: i16, lease: Duration, poll_interval: Duration) -> Self {
        Self { name, destination_id, lease, poll_interval, first_backoff: Duration::from_secs(1) }
    }

    fn backoff(&self) -> Backoff {
        Backoff { first: self.first_backoff, most: Duration::from_mins(5) }
    }
}

/// Carries the outbox to one destination.
#[derive(Debug)]
pub struct Forwarder<D> {
    command: Database,
    destination: D,
    settings: Settings,
    counters: Option<Counters>,
}

/// What draining did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Drained {
    /// Events delivered.
    pub delivered: u64,
    /// Times the destination refused one.
    pub refused: u64,
    /// Events set aside with their aggregates.
    pub parked: u64,
    /// Events still queued behind one that waits for its next attempt.
    pub waiting: u64,
}

impl Drained {
    /// Whether everything that was queued has arrived.
    pub fn is_complete(&self) -> bool {
        self.refused == 0 && self.parked == 0 && self.waiting == 0
    }
}

/// Why draining stopped early.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderError {
    /// The command database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The destination is away. Nothing is lost: what is queued stays queued.
    #[error("the destination cannot take anything now: {0}")]
    Outage(String),
    /// The destination wants nothing any more, and is disabled. What is queued stays queued.
    #[error("the destination wants nothing any more and is disabled: {0}")]
    Gone(String),
    /// Everything arrived, and what the destination does with it afterwards failed.
    #[error("{0}")]
    Beside(String),
    /// The forwarder itself failed.
    #[error("the forwarder died: {0}")]
    Died(String),
}

/// What one turn came to.
#[derive(Debug, Default)]
struct Turn {
    settled: Settled,
    /// Whether there was anything to carry.
    busy: bool,
    stopped: Option<Stopped>,
}

impl<D: Destination> Forwarder<D> {
    /// Carries from `command` to `destination`.
    pub fn new(command: Database, destination: D, settings: Settings) -> Self {
        Self { command, destination, settings, counters: None }
    }

    /// Counts what it does.
    #[must_use]
    pub(super) fn counted(mut self, counters: Counters) -> Self {
        self.counters = Some(counters);
        self
    }

    /// Where it carries to.
    pub fn destination(&self) -> &D {
        &self.destination
    }

    /// Runs until `stop` says so. Faults are logged and waited out; what was leased is given back at the end.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut failures = 0_u32;
        while !*stop.borrow() {
            let pause = match self.turn(&stop, false).await {
                Ok(Turn { busy: true, stopped: None, .. }) => {
                    failures = 0;
                    continue;
                }
                Ok(Turn { stopped, .. }) => {
                    failures = 0;
                    if let Some(stopped) = stopped {
                        stopped.log(self.settings.destination_id);
                    }
                    self.settings.poll_interval
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::error!(%error, failures, "the command database failed the forwarder");
                    self.settings
                        .poll_interval
                        .saturating_mul(1 << failures.min(6))
                        .min(Duration::from_secs(10))
                }
            };
            // A closed channel means that nobody can tell us to stop any more: treat it as being told.
            if let Ok(Err(_)) = tokio::time::timeout(pause, stop.changed()).await {
                return;
            }
        }
    }

    /// Carries everything that can be carried now, then returns. Waits for lanes that other forwarders hold. An open breaker does
    /// not stop it: somebody asked for it now.
    pub async fn drain(&self) -> Result<Drained, ForwarderError> {
        let (_keep, stop) = watch::channel(false);
        let mut drained = Drained::default();
        loop {
            let turn = self.turn(&stop, true).await?;
            drained.delivered += turn.settled.delivered;
            drained.refused += turn.settled.refused;
            drained.parked += turn.settled.parked;
            match turn.stopped {
                Some(Stopped::Outage { reason, .. }) => return Err(ForwarderError::Outage(reason)),
                Some(Stopped::Gone(reason)) => return Err(ForwarderError::Gone(reason)),
                None if turn.busy => continue,
                None => {}
            }
            let mut scope = self.scope().await?;
            if let Some(named) = breaker::named_time(&mut scope, self.settings.destination_id).await? {
                return Err(ForwarderError::Outage(named));
            }
            let remaining = queue::remaining(&mut scope, self.settings.destination_id).await?;
            if remaining.queued == remaining.waiting {
                drained.waiting = u64::try_from(remaining.waiting).unwrap_or(0);
                return Ok(drained);
            }
            drop(scope);
            tokio::time::sleep(self.settings.poll_interval).await;
        }
    }

    /// Leases lanes, carries batches until they are empty, gives them back.
    async fn turn(&self, stop: &watch::Receiver<bool>, despite_breaker: bool) -> Result<Turn, DatabaseError> {
        let Settings { destination_id, lease, .. } = self.settings;
        let most = self.destination.most_rows().max(1);
        let first = FIRST_BATCH.min(most);
        let mut size = first;
        let mut scope = self.scope().await?;
        let mut lanes = lease::acquire(
            &mut scope,
            destination_id,
            &self.settings.name,
            lease,
            LANES_PER_TURN,
            despite_breaker,
        )
        .await?;
        if lanes.is_empty() {
            return Ok(Turn::default());
        }
        let mut batch = queue::next(&mut scope, destination_id, &lanes, share(size, lanes.len())).await?;
        if batch.is_empty() {
            // All of it waits for another attempt. The lease is undone with the scope.
            return Ok(Turn::default());
        }
        scope.commit().await?;
        let mut turn = Turn { busy: true, ..Turn::default() };

        for _ in 0..BATCHES_PER_TURN {
            if batch.is_empty() {
                break;
            }
            let full = is_full(&batch, &lanes, size);
            let (aside, rows): (Vec<Delivery>, Vec<Delivery>) = batch.into_iter().partition(|row| row.parked);
            let tried = !rows.is_empty();
            failpoint::reach("forwarder.before_delivery");
            let outcome = self.deliver(rows).await;
            failpoint::reach("forwarder.after_delivery");
            size = next_size(size, full, tried, (first, most), &outcome);

            let mut scope = self.scope().await?;
            let (held, settled) = settlement::settle(
                &mut scope,
                destination_id,
                &lanes,
                lease,
                self.settings.backoff(),
                &aside,
                &outcome,
            )
            .await?;
            turn.add(settled);
            if let Some(counters) = &self.counters {
                counters.settled(&settled);
            }
            lanes = held;
            match &outcome.stopped {
                Some(Stopped::Outage { reason, retry_after }) => {
                    let backoff = self.settings.backoff();
                    breaker::trip(&mut scope, destination_id, reason, *retry_after, backoff).await?;
                }
                Some(Stopped::Gone(reason)) => breaker::disable(&mut scope, destination_id, reason).await?,
                None if settled.tripped && !outcome.delivered.is_empty() => {
                    breaker::reset(&mut scope, destination_id).await?;
                }
                None => {}
            }
            if let (Some(counters), Some(_)) = (&self.counters, &outcome.stopped) {
                counters.stopped();
            }
            turn.stopped = outcome.stopped;
            let over = turn.stopped.is_some() || *stop.borrow() || lanes.is_empty();
            batch = if over {
                Vec::new()
            } else {
                queue::next(&mut scope, destination_id, &lanes, share(size, lanes.len())).await?
            };
            failpoint::reach("forwarder.in_acknowledgement");
            scope.commit().await?;
            failpoint::reach("forwarder.after_acknowledgement");
        }
        let mut scope = self.scope().await?;
        lease::release(&mut scope, destination_id, &lanes).await?;
        scope.commit().await?;
        Ok(turn)
    }

    /// Takes at most three quarters of a lease: then the lease must be renewed, or somebody else would take over.
    async fn deliver(&self, rows: Vec<Delivery>) -> Outcome {
        let patience = Patience { call: self.settings.lease / 4, batch: self.settings.lease / 2 };
        halving::deliver(&self.destination, rows, patience, self.command.clock()).await
    }

    async fn scope(&self) -> Result<Scope, DatabaseError> {
        self.command.scope(Actor::System(Component::Forwarder)).await
    }
}

impl Turn {
    fn add(&mut self, settled: Settled) {
        self.settled.delivered += settled.delivered;
        self.settled.refused += settled.refused;
        self.settled.parked += settled.parked;
        if settled.lost_lanes > 0 {
            tracing::warn!(lanes = settled.lost_lanes, "leases ran out before the delivery was acknowledged");
        }
    }
}

/// Each lane's part of a batch.
fn share(size: usize, lanes: usize) -> i64 {
    i64::try_from(size.div_ceil(lanes.max(1))).unwrap_or(i64::MAX)
}

/// Whether some lane had as much as it was asked for, and so may have more.
fn is_full(batch: &[Delivery], lanes: &[Lane], size: usize) -> bool {
    let part = usize::try_from(share(size, lanes.len())).unwrap_or(usize::MAX);
    lanes.iter().any(|lane| batch.iter().filter(|row| row.lane == lane.lane).count() >= part)
}

/// Twice as much where a lane had more than its part and all went well; back to the start where something went wrong; less where
/// there was no time to find out what.
fn next_size(
    size: usize,
    full: bool,
    tried: bool,
    (first, most): (usize, usize),
    outcome: &Outcome,
) -> usize {
    if outcome.stopped.is_some() || !outcome.refused.is_empty() {
        return first;
    }
    if tried && outcome.delivered.is_empty() {
        return (size / 2).max(1);
    }
    if full { (size * 2).min(most) } else { size }
}

impl Stopped {
    fn log(&self, destination_id: i16) {
        match self {
            Self::Outage { reason, .. } => {
                tracing::warn!(destination_id, %reason, "the destination is away; its breaker is open");
            }
            Self::Gone(reason) => {
                tracing::error!(destination_id, %reason, "the destination wants nothing any more; it is disabled");
            }
        }
    }
}

//! All destinations in one process: a forwarder for each enabled one, independent of each other, so that one that is slow or away
//! holds up no other. They share the connections to the command database, which none of them holds while it delivers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::destination::{AnyDestination, Registered, Surroundings, registered};
use super::forwarder::{Drained, Forwarder, ForwarderError, Settings};
use super::metrics::Metrics;
use crate::configuration::Faults;
use crate::database::{Actor, Component, DatabaseError};

/// How all of them behave.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose leases these are; unique among the processes that forward.
    pub name: String,
    /// How long a lane is kept without a sign of life.
    pub lease: Duration,
    /// How long to wait when there was nothing to do.
    pub poll_interval: Duration,
    /// How often to look which destinations there are: one that is added, enabled or disabled is noticed within this.
    pub look: Duration,
    /// The destinations to carry to; none: every enabled one.
    pub only: Vec<String>,
}

/// A forwarder for each destination.
pub struct Forwarders {
    surroundings: Surroundings,
    options: Options,
    metrics: Arc<Metrics>,
}

/// Why nothing is forwarded at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Credentials are missing or faulty.
    #[error(transparent)]
    Credentials(#[from] Faults),
    /// A destination was named that does not exist.
    #[error("there is no destination {name}; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A destination was named that is disabled.
    #[error("destination {name} is disabled")]
    Disabled {
        /// What was asked for.
        name: String,
    },
    /// The command database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What became of one destination's queue.
#[derive(Debug)]
pub struct Emptied {
    /// The destination.
    pub destination: String,
    /// What was done, or why it stopped.
    pub result: Result<Drained, ForwarderError>,
}

/// A forwarder that runs, and what it was started from.
struct Running {
    registered: Registered,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Forwarders {
    /// For the destinations that `options` name.
    pub fn new(surroundings: Surroundings, options: Options) -> Self {
        Self { surroundings, options, metrics: Arc::default() }
    }

    /// What they count.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Whether everything is there that is needed to begin; says everything that is not.
    pub async fn check(&self) -> Result<(), StartError> {
        self.open().await.map(drop)
    }

    /// Carries what is queued now to every destination, all of them at once. One that fails keeps no other from being emptied.
    pub async fn drain(&self) -> Result<Vec<Emptied>, StartError> {
        let opened = self.open().await?;
        let mut tasks = Vec::with_capacity(opened.len());
        for (registered, destination) in opened {
            let forwarder = self.forwarder(&registered, destination);
            let task = tokio::spawn(async move {
                let mut result = forwarder.drain().await;
                if let Err(error) = forwarder.destination().conclude().await
                    && result.is_ok()
                {
                    result = Err(ForwarderError::Beside(error.to_string()));
                }
                forwarder.destination().close().await;
                result
            });
            tasks.push((registered.name, task));
        }
        let mut emptied = Vec::with_capacity(tasks.len());
        for (destination, task) in tasks {
            let result = task.await.unwrap_or_else(|error| Err(ForwarderError::Died(error.to_string())));
            emptied.push(Emptied { destination, result });
        }
        Ok(emptied)
    }

    /// Runs until `stop` says so. Destinations that are added, enabled, changed or disabled meanwhile are noticed; one whose
    /// credentials are missing by then is reported and left alone.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let mut running: HashMap<i16, Running> = HashMap::new();
        let mut reported: HashMap<i16, Registered> = HashMap::new();
        while !*stop.borrow() {
            match self.wanted().await {
                Ok(wanted) => self.follow(&mut running, &mut reported, wanted).await,
                Err(error) => tracing::error!(%error, "cannot see which destinations there are"),
            }
            if let Ok(Err(_)) = tokio::time::timeout(self.options.look, stop.changed()).await {
                break;
            }
        }
        for forwarder in running.values() {
            // Where it has ended already there is nobody to tell.
            let _ = forwarder.stop.send(true);
        }
        for (_, forwarder) in running {
            forwarder.join().await;
        }
    }

    /// Starts what is wanted and does not run, stops what runs and is not wanted any more, or not as it is.
    async fn follow(
        &self,
        running: &mut HashMap<i16, Running>,
        reported: &mut HashMap<i16, Registered>,
        wanted: Vec<Registered>,
    ) {
        let over: Vec<i16> = running
            .iter()
            .filter(|(_, runs)| runs.task.is_finished() || !wanted.contains(&runs.registered))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            let Some(forwarder) = running.remove(&id) else { continue };
            tracing::info!(destination = forwarder.registered.name, "stops being forwarded to as it was");
            let _ = forwarder.stop.send(true);
            forwarder.join().await;
        }
        reported.retain(|_, faulty| wanted.contains(faulty));
        for registered in wanted {
            if running.contains_key(&registered.id) || reported.contains_key(&registered.id) {
                continue;
            }
            match AnyDestination::open(&registered, &self.surroundings) {
                Ok(destination) => {
                    tracing::info!(destination = registered.name, kind = registered.kind, "forwarding");
                    running.insert(registered.id, self.start(registered, destination));
                }
                Err(faults) => {
                    tracing::error!(destination = registered.name, %faults, "cannot be forwarded to");
                    reported.insert(registered.id, registered);
                }
            }
        }
    }

    fn start(&self, registered: Registered, destination: AnyDestination) -> Running {
        let forwarder = self.forwarder(&registered, destination);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            tokio::join!(forwarder.run(stopped.clone()), forwarder.destination().run_beside(stopped));
            forwarder.destination().close().await;
        });
        Running { registered, stop, task }
    }

    fn forwarder(&self, registered: &Registered, destination: AnyDestination) -> Forwarder<AnyDestination> {
        let Options { name, lease, poll_interval, .. } = &self.options;
        let settings = Settings::new(name.clone(), registered.id, *lease, *poll_interval);
        let forwarder = Forwarder::new(self.surroundings.command.clone(), destination, settings);
        forwarder.counted(self.metrics.of(&registered.name))
    }

    /// Opens all of them, or says everything that keeps any of them from it.
    async fn open(&self) -> Result<Vec<(Registered, AnyDestination)>, StartError> {
        let mut opened = Vec::new();
        let mut faults = Vec::new();
        let all = self.all().await?;
        for name in &self.options.only {
            match all.iter().find(|registered| registered.name == *name) {
                None => {
                    let known: Vec<&str> = all.iter().map(|registered| registered.name.as_str()).collect();
                    return Err(StartError::Unknown { name: name.clone(), known: known.join(", ") });
                }
                Some(registered) if !registered.enabled => {
                    return Err(StartError::Disabled { name: name.clone() });
                }
                Some(_) => {}
            }
        }
        for registered in all.into_iter().filter(|registered| self.wants(registered)) {
            match AnyDestination::open(&registered, &self.surroundings) {
                Ok(destination) => opened.push((registered, destination)),
                Err(Faults(found)) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(opened) } else { Err(Faults(faults).into()) }
    }

    async fn wanted(&self) -> Result<Vec<Registered>, DatabaseError> {
        Ok(self.all().await?.into_iter().filter(|registered| self.wants(registered)).collect())
    }

    async fn all(&self) -> Result<Vec<Registered>, DatabaseError> {
        let mut scope = self.surroundings.command.scope(Actor::System(Component::Forwarder)).await?;
        registered(&mut scope).await
    }

    fn wants(&self, registered: &Registered) -> bool {
        registered.enabled && (self.options.only.is_empty() || self.options.only.contains(&registered.name))
    }
}

impl Running {
    async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(destination = self.registered.name, %error, "a forwarder died");
        }
    }
}

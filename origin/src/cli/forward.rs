//! `gateward forward`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{ForwardConfiguration, Source};
use crate::database::{Database, DatabaseError};
use crate::outbox::destination::Surroundings;
use crate::outbox::{self, Drained, Emptied, Forwarders, Options, StartError};

/// Connections to the command database, for all destinations together. None is held while something is being delivered.
const CONNECTIONS: u32 = 6;

/// How often to look which destinations there are.
const LOOK: Duration = Duration::from_secs(2);
/// How long to wait before the command database is tried again at the start.
const WAIT: Duration = Duration::from_secs(1);

/// Carry events to every enabled destination. Any number may run at once; one that is killed is taken over from after its lease.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    FORWARDER_DATABASE_URL=postgres://gateward_forward:…@127.0.0.1/gateward \\\n  \
    READ_DATABASE_URL=postgres://gateward_project:…@127.0.0.1/gateward_read gateward forward\n  \
    gateward forward --once --json                     # from cron: empty every queue, then exit\n  \
    gateward forward --destination read-database       # this one only")]
pub(super) struct Arguments {
    /// Carry to this destination only; can be given several times.
    #[arg(long = "destination", value_name = "NAME")]
    destinations: Vec<String>,
    /// Carry what is queued now and exit; non-zero when something did not arrive.
    #[arg(long)]
    once: bool,
    /// With --once: print what was done as JSON, one object for each destination.
    #[arg(long, requires = "once")]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = ForwardConfiguration::read(source)?;
    logging::start(configuration.log_format);
    let randomness = Randomness::System;
    let name = format!("{}-{:08x}", std::process::id(), u32::from_be_bytes(randomness.bytes()));
    let command =
        Database::new(configuration.command.options(), CONNECTIONS, Clock::System, randomness.clone());
    let surroundings =
        Surroundings { source: source.clone(), command: command.clone(), clock: Clock::System, randomness };
    let options = Options {
        name: name.clone(),
        lease: configuration.lease,
        poll_interval: configuration.poll_interval,
        look: LOOK,
        only: arguments.destinations.clone(),
    };
    let forwarders = Forwarders::new(surroundings, options);
    let result = if arguments.once {
        once(&forwarders, arguments.json).await
    } else {
        tracing::info!(%name, lease_seconds = configuration.lease.as_secs(), "starting");
        serve(&forwarders, configuration.metrics_address).await
    };
    command.close().await;
    result
}

/// One destination's line of `--once --json`.
#[derive(serde::Serialize)]
struct Report<'a> {
    destination: &'a str,
    #[serde(flatten)]
    drained: Option<&'a Drained>,
    error: Option<String>,
}

async fn once(forwarders: &Forwarders, json: bool) -> Result<(), Failure> {
    let emptied = forwarders.drain().await?;
    if json {
        let reports: Vec<Report<'_>> = emptied.iter().map(report).collect();
        output::json(&reports)?;
    } else {
        for Emptied { destination, result } in &emptied {
            match result {
                Ok(drained) => output::line(&format!("{destination}: {} delivered", drained.delivered))?,
                Err(error) => output::line(&format!("{destination}: {error}"))?,
            }
        }
    }
    let left: Vec<String> = emptied.iter().filter_map(shortfall).collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::runtime(format!(
        "not everything arrived: {}; `gateward outbox stats` shows what is left",
        left.join("; ")
    )))
}

fn report(emptied: &Emptied) -> Report<'_> {
    Report {
        destination: &emptied.destination,
        drained: emptied.result.as_ref().ok(),
        error: emptied.result.as_ref().err().map(ToString::to_string),
    }
}

/// What did not arrive, where something did not.
fn shortfall(Emptied { destination, result }: &Emptied) -> Option<String> {
    match result {
        Ok(drained) if drained.is_complete() => None,
        Ok(Drained { refused, parked, waiting, .. }) => Some(format!(
            "{destination}: {refused} refused, {parked} set aside with their aggregates, {waiting} waiting for another attempt"
        )),
        Err(error) => Some(format!("{destination}: {error}")),
    }
}

async fn serve(forwarders: &Forwarders, metrics_address: Option<SocketAddr>) -> Result<(), Failure> {
    let metrics =
        match metrics_address {
            Some(address) => {
                let serving = outbox::serve_metrics(address, forwarders.metrics()).await;
                Some(serving.map_err(|error| {
                    Failure::runtime(format!("FORWARDER_METRICS_ADDRESS {address}: {error}"))
                })?)
            }
            None => None,
        };
    let (stop, mut stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: giving the leases back");
        // The forwarders end once they see this; if they have ended already there is nobody to tell.
        let _ = stop.send(true);
    };
    let work = async {
        // What is missing ends the process at once; a database that is not up yet is waited for, as it is later on.
        loop {
            match forwarders.check().await {
                Ok(()) => break,
                Err(StartError::Database(error @ DatabaseError::Unreachable(_))) => {
                    tracing::warn!(%error, "waiting for the command database");
                    if let Ok(Ok(()) | Err(_)) = tokio::time::timeout(WAIT, stopped.changed()).await {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        forwarders.run(stopped).await;
        Ok(())
    };
    // Ends with the process; where it is not wanted it never begins.
    let metrics = async {
        if let Some(serving) = metrics {
            let result = serving.await;
            tracing::error!(?result, "the metrics are served no more");
        }
        std::future::pending::<()>().await;
    };
    let work = async {
        tokio::select! {
            result = work => result,
            () = metrics => Ok(()),
        }
    };
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = signals => {}
    }
    work.await
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Credentials(faults) => Self::Configuration(faults),
            StartError::Unknown { .. } | StartError::Disabled { .. } => Self::Usage(error.to_string()),
            StartError::Database(error) => Self::runtime(error),
        }
    }
}

//! `gateward forward`.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{ForwardConfiguration, Source};
use crate::database::Database;
use crate::outbox::{Forwarder, ReadDatabase, Settings};

/// Carry events to the read database. Any number may run at once; one that is killed is taken over from after its lease.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    FORWARDER_DATABASE_URL=postgres://gateward_forward:…@127.0.0.1/gateward \\\n  \
    READ_DATABASE_URL=postgres://gateward_project:…@127.0.0.1/gateward_read gateward forward")]
pub(super) struct Arguments {
    /// Carry what is queued now and exit; non-zero when something did not arrive.
    #[arg(long)]
    once: bool,
    /// With --once: print what was done as JSON.
    #[arg(long, requires = "once")]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = ForwardConfiguration::read(source)?;
    logging::start(configuration.log_format);
    let randomness = Randomness::System;
    let name = format!("{}-{:08x}", std::process::id(), u32::from_be_bytes(randomness.bytes()));
    let open = |options| Database::new(options, 4, Clock::System, randomness.clone());
    let (command, read) = (open(configuration.command.options()), open(configuration.read.options()));
    let settings = Settings::new(name.clone(), configuration.lease, configuration.poll_interval);
    let forwarder = Forwarder::new(command.clone(), ReadDatabase::new(read.clone()), settings);
    let result = if arguments.once {
        once(&forwarder, arguments.json).await
    } else {
        tracing::info!(%name, lease_seconds = configuration.lease.as_secs(), "forwarding");
        serve(&forwarder).await
    };
    command.close().await;
    read.close().await;
    result
}

async fn once(forwarder: &Forwarder<ReadDatabase>, json: bool) -> Result<(), Failure> {
    let drained = forwarder.drain().await.map_err(Failure::runtime)?;
    if json {
        output::json(&drained)?;
    } else {
        output::line(&format!("{} delivered", drained.delivered))?;
    }
    if drained.is_complete() {
        return Ok(());
    }
    Err(Failure::runtime(format!(
        "not everything arrived: {} refused, {} set aside with their aggregates, {} waiting for another attempt; \
         `gateward outbox stats` shows what is left",
        drained.refused, drained.parked, drained.waiting
    )))
}

async fn serve(forwarder: &Forwarder<ReadDatabase>) -> Result<(), Failure> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: giving the leases back");
        // The forwarder ends once it sees this; if it has ended already there is nobody to tell.
        let _ = stop.send(true);
    };
    tokio::join!(forwarder.run(stopped), signals);
    Ok(())
}

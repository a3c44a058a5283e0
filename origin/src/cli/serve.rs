//! `gateward serve`.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Failure, logging};
use crate::{
    clock::{Clock, Randomness},
    configuration::{ServeConfiguration, Source},
    database::Database,
    external_issuers::{self, Fetcher},
    http::{self, Origin},
    retention,
};

/// Connections to the command database. Every request holds one at most, and most hold none.
const CONNECTIONS: u32 = 24;

/// Serve the edges: sign-in, OAuth, and the policy they decide by. Stops on SIGTERM or Ctrl-C, after what is in flight.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward check && gateward serve")]
pub(super) struct Arguments {}

pub(super) async fn run(_: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = ServeConfiguration::read(source)?;
    logging::start(configuration.log_format);
    let (clock, randomness) = (Clock::System, Randomness::System);
    let database =
        Database::new(configuration.database.options(), CONNECTIONS, clock.clone(), randomness.clone());
    let fetcher = Fetcher::new(&configuration.private_issuer_hosts).map_err(Failure::runtime)?;
    let origin = Origin::new(configuration, database, clock, randomness);
    let mut terminated = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let (stopping, stopped) = watch::channel(());
    let stop = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        drop(stopping);
    };
    // An error is how the other end says that it is gone: the server stops, or has ended by itself.
    let stopped = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.changed().await) }
    };
    let keys = tokio::spawn(external_issuers::keep_fresh(origin.clone(), fetcher, stopped()));
    let sweeper = tokio::spawn(retention::keep_swept(origin.clone(), stopped()));
    let served = http::serve(origin, stop).await;
    if let Err(error) = keys.await {
        tracing::error!(%error, "the refreshing of external issuers' keys had ended early");
    }
    if let Err(error) = sweeper.await {
        tracing::error!(%error, "the sweeping of rows that are over had ended early");
    }
    served.map_err(Failure::runtime)
}

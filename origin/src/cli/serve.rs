//! `gateward serve`.

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, logging};
use crate::{
    clock::{Clock, Randomness},
    configuration::{ServeConfiguration, Source},
    database::Database,
    http::{self, Origin},
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
    let origin = Origin::new(configuration, database, clock, randomness);
    let mut terminated = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let stop = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    http::serve(origin, stop).await.map_err(Failure::runtime)
}

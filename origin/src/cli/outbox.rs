//! `gateward outbox`.

use clap::Subcommand;

use super::{Failure, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{Source, StatisticsConfiguration};
use crate::database::Database;
use crate::outbox::statistics;

/// Look at what is on its way.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show each destination's queue: how much, how old, what failed.
    #[command(after_help = "Example:\n  gateward outbox stats --json | jq '.[].queued'")]
    Stats {
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let Command::Stats { json } = arguments.command;
    let configuration = StatisticsConfiguration::read(source)?;
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let destinations = statistics(&database).await.map_err(Failure::runtime)?;
    database.close().await;
    if json {
        return output::json(&destinations);
    }
    for d in destinations {
        output::line(&format!(
            "{}: {} queued (oldest {:.1} s), {} backing off, {} failed, {} aggregates parked, {} lanes leased{}",
            d.destination,
            d.queued,
            d.oldest_seconds,
            d.backing_off,
            d.failed,
            d.parked_aggregates,
            d.leased_lanes,
            d.breaker_error.map_or_else(String::new, |error| format!("; away: {error}"))
        ))?;
    }
    Ok(())
}

//! `gateward edges`.

use super::{Failure, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{Source, StatisticsConfiguration};
use crate::database::Database;
use crate::policy::propagation;

/// Show which policy each isolate of each edge said it decides by, in the last ten minutes.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward edges --json | jq '.isolates | map(.policy_version) | min'")]
pub(super) struct Arguments {
    /// Print an object: the newest version and a list of isolates.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = StatisticsConfiguration::read(source)?;
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let propagation = propagation(&database).await.map_err(Failure::runtime)?;
    database.close().await;
    if arguments.json {
        return output::json(&propagation);
    }
    output::line(&format!("newest policy: version {}", propagation.policy_version))?;
    for one in &propagation.isolates {
        output::line(&format!(
            "{} {}: version {}, {} s ago{}",
            one.edge,
            if one.isolate.is_empty() { "(unnamed)" } else { &one.isolate },
            one.policy_version,
            one.age_seconds,
            if one.policy_version < propagation.policy_version { ", behind" } else { "" }
        ))?;
    }
    Ok(())
}

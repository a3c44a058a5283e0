//! `gateward sweep`.

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{LogFormat, Source, SweepConfiguration};
use crate::database::Database;
use crate::retention;

/// Delete rows that are long over: expired codes, challenges, tokens and revocations, ended sessions and grants. `gateward serve` does
/// it by itself every five minutes. Events are never deleted.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  RETENTION_ENDED=7d gateward sweep --json | jq .deleted")]
pub(super) struct Arguments {
    /// Print how many rows of each table went as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = SweepConfiguration::read(source)?;
    logging::start(LogFormat::Text);
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let swept = retention::sweep(&database, configuration.retention).await;
    database.close().await;
    if arguments.json {
        output::json(&swept)?;
    } else {
        for (table, rows) in swept.deleted.iter().filter(|(_, rows)| **rows > 0) {
            output::line(&format!("{table}: {rows} deleted"))?;
        }
        output::line(&format!("{} rows in all", swept.total()))?;
    }
    if swept.failed.is_empty() {
        return Ok(());
    }
    let failed: Vec<String> = swept.failed.iter().map(|(table, error)| format!("{table}: {error}")).collect();
    Err(Failure::runtime(format!("not everything could be swept: {}", failed.join("; "))))
}

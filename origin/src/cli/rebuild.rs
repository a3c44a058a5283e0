//! `gateward project rebuild`.

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{LogFormat, RebuildConfiguration, Source};
use crate::database::Database;
use crate::projection::Store;
use crate::projection::rebuild::{self, Progress};

/// Make the stores that are made of events again, in tables beside those in use, and swap them in. Forwarders go on meanwhile.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    gateward project rebuild                        # both stores\n  \
    gateward project rebuild --store read --json")]
pub(super) struct Arguments {
    /// Only this store; can be given several times.
    #[arg(long = "store", value_enum, value_name = "STORE")]
    stores: Vec<Store>,
    /// Print a list of objects, one for each store.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let stores = if arguments.stores.is_empty() { &Store::ALL[..] } else { &arguments.stores };
    let configuration = RebuildConfiguration::read(source, stores)?;
    logging::start(LogFormat::Text);
    let command = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let mut all = Vec::new();
    for (store, url) in &configuration.stores {
        let database = Database::new(url.options(), 1, Clock::System, Randomness::System);
        let rebuilt = rebuild::run(*store, &command, &database, &|progress| tell(*store, progress)).await;
        database.close().await;
        let rebuilt = rebuilt.map_err(Failure::runtime)?;
        if !arguments.json {
            let aside = match rebuilt.set_aside {
                0 => String::new(),
                events => format!("; {events} events that it will not take had been set aside"),
            };
            output::line(&format!(
                "{}: rebuilt from {} events, {} of them delivered meanwhile, in {} ms{aside}",
                store.name(),
                rebuilt.events,
                rebuilt.taken_over,
                rebuilt.milliseconds,
            ))?;
        }
        all.push(rebuilt);
    }
    command.close().await;
    if arguments.json { output::json(&all) } else { Ok(()) }
}

/// Progress goes where logs go, every tenth page or when something happens.
fn tell(store: Store, progress: Progress) {
    let store = store.name();
    match progress {
        Progress::Copied { events, about } if events % 10_000 == 0 => {
            tracing::info!(store, events, about, "copying");
        }
        Progress::Copied { .. } => {}
        Progress::CaughtUp { events } => tracing::info!(store, events, "caught up"),
        Progress::Waiting { tries } => tracing::warn!(store, tries, "somebody reads the table; trying again"),
    }
}

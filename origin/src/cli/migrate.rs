//! `gateward migrate`.

use super::{Failure, logging, output};
use crate::clock::Randomness;
use crate::configuration::{LogFormat, MigrateConfiguration, Source};
use crate::database::migrate;

/// Create databases, roles and tables, or bring them up to date. Safe to run again, and by several at once.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    MIGRATION_DATABASE_URL=postgres://postgres@127.0.0.1/gateward \\\n  \
    READ_MIGRATION_DATABASE_URL=postgres://postgres@127.0.0.1/gateward_read \\\n  \
    DATABASE_URL=postgres://gateward_serve:…@127.0.0.1/gateward \\\n  \
    FORWARDER_DATABASE_URL=postgres://gateward_forward:…@127.0.0.1/gateward \\\n  \
    READ_DATABASE_URL=postgres://gateward_project:…@127.0.0.1/gateward_read \\\n  \
    REGISTRY_MIGRATION_DATABASE_URL=postgres://postgres@127.0.0.1/gateward_registry \\\n  \
    REGISTRY_DATABASE_URL=postgres://gateward_register:…@127.0.0.1/gateward_registry gateward migrate")]
pub(super) struct Arguments {
    /// Print what is there afterwards as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let configuration = MigrateConfiguration::read(source)?;
    logging::start(LogFormat::Text);
    let migrated = migrate::run(&configuration, &Randomness::System).await.map_err(Failure::runtime)?;
    if arguments.json {
        return output::json(&migrated);
    }
    for state in [&migrated.command, &migrated.read, &migrated.registry] {
        output::line(&format!("{} is at migration {}", state.database, state.version))?;
    }
    Ok(())
}

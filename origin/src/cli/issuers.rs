//! `gateward issuers`.

use clap::Subcommand;

use super::{Failure, logging, output};
use crate::{
    clock::{Clock, Randomness},
    configuration::{IssuersConfiguration, LogFormat, Source},
    database::Database,
    external_issuers::{self, Fetcher, Outcome},
};

/// List the external issuers that projects trust, or fetch their keys now.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch the keys of every issuer now instead of within five minutes. Fails when one of them does.
    #[command(after_help = "Example:\n  gateward issuers refresh --project notes")]
    Refresh {
        /// Of this project only.
        #[arg(long)]
        project: Option<String>,
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// List the issuers with their keys, and what went wrong the last time.
    #[command(after_help = "Example:\n  gateward issuers list --json")]
    List {
        /// Of this project only.
        #[arg(long)]
        project: Option<String>,
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    logging::start(LogFormat::Text);
    let configuration = IssuersConfiguration::read(source)?;
    let database = Database::new(configuration.database.options(), 9, Clock::System, Randomness::System);
    match &arguments.command {
        Command::Refresh { project, json } => {
            let fetcher = Fetcher::new(&configuration.private_issuer_hosts).map_err(Failure::runtime)?;
            refresh(&database, &fetcher, project.as_deref(), *json).await
        }
        Command::List { project, json } => list(&database, project.as_deref(), *json).await,
    }
}

async fn refresh(
    database: &Database,
    fetcher: &Fetcher,
    project: Option<&str>,
    as_json: bool,
) -> Result<(), Failure> {
    external_issuers::request_all(database, project).await.map_err(Failure::runtime)?;
    let refreshed = external_issuers::refresh_due(database, fetcher).await.map_err(Failure::runtime)?;
    database.close().await;
    if as_json {
        output::json(&refreshed)?;
    } else {
        for one in &refreshed {
            let outcome = match &one.outcome {
                Outcome::Changed { keys } => format!("{} keys, changed", keys.len()),
                Outcome::Same { keys } => format!("{} keys, as before", keys.len()),
                Outcome::Superseded => "was changed meanwhile".to_owned(),
                Outcome::Failed { reason } => format!("failed, the last keys stay: {reason}"),
            };
            output::line(&format!("{} {} {outcome}", one.project, one.issuer))?;
        }
    }
    let failed = refreshed.iter().filter(|one| matches!(one.outcome, Outcome::Failed { .. })).count();
    if failed > 0 {
        return Err(Failure::runtime(format!("{failed} of {} issuers failed", refreshed.len())));
    }
    Ok(())
}

async fn list(database: &Database, project: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let issuers = external_issuers::list(database, project).await.map_err(Failure::runtime)?;
    database.close().await;
    if as_json {
        return output::json(&issuers);
    }
    for issuer in issuers {
        let failure = issuer.failure.map(|failure| format!(", failing: {failure}")).unwrap_or_default();
        output::line(&format!("{} {} {} keys{failure}", issuer.project, issuer.issuer, issuer.keys.len()))?;
    }
    Ok(())
}

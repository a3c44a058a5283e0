//! `gateward person`.

use clap::Subcommand;
use uuid::Uuid;

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{LogFormat, Source, StatisticsConfiguration};
use crate::database::Database;
use crate::retention::{EraseError, Person, erase};
use crate::sign_in::EmailAddress;

/// Look after the accounts of people.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Erase a person: end their sessions, grants and keys, and forget address, name and whatever else says who they are. The log
    /// keeps what happened, by an id that leads nowhere. It cannot be undone.
    #[command(
        group(clap::ArgGroup::new("person").required(true)),
        after_help = "Examples:\n  gateward person erase --email ann@example.com --yes\n  \
            gateward person erase --id 01923b6e-0000-7000-8000-000000000000 --yes --json"
    )]
    Erase {
        /// Whoever has this address now.
        #[arg(long, group = "person")]
        email: Option<String>,
        /// The account of this id.
        #[arg(long, group = "person")]
        id: Option<Uuid>,
        /// Do it. Without this, nothing is done.
        #[arg(long)]
        yes: bool,
        /// Print what was ended as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let Command::Erase { email, id, yes, json } = &arguments.command;
    let configuration = StatisticsConfiguration::read(source)?;
    let person = match (email, id) {
        (Some(email), _) => Person::Email(
            EmailAddress::parse(email)
                .map_err(|fault| Failure::Usage(format!("--email {email:?}: {fault}")))?,
        ),
        (None, Some(id)) => Person::Id(*id),
        (None, None) => return Err(Failure::Usage("name the person by --email or --id".to_owned())),
    };
    if !yes {
        return Err(Failure::Usage(
            "an erased person cannot be brought back; give --yes to go on. Nothing was done".to_owned(),
        ));
    }
    logging::start(LogFormat::Text);
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let erased = erase(&database, &person).await;
    database.close().await;
    let erased = erased.map_err(|error| match error {
        EraseError::NoAccount(_) => Failure::Usage(error.to_string()),
        _ => Failure::runtime(error),
    })?;
    if *json {
        return output::json(&erased);
    }
    if erased.was_erased_before {
        return output::line(&format!("{} had been erased before", erased.user_id));
    }
    output::line(&format!(
        "{} is erased: {} sessions, {} grants and {} keys have ended",
        erased.user_id, erased.sessions, erased.grants, erased.credentials
    ))?;
    for workspace in &erased.workspaces_without_owner {
        output::line(&format!("workspace {workspace} has no owner now"))?;
    }
    Ok(())
}

//! `gateward outbox`.

use clap::{ArgGroup, Subcommand};
use uuid::Uuid;

use super::{Failure, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{Source, StatisticsConfiguration};
use crate::database::Database;
use crate::outbox::{self, DestinationStatistics, FailedFilter, SetAsideError, Which};

/// Look at what is on its way, and decide about what a destination would not take.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show each destination's queue: how much, how old and why, what failed, when it is tried again.
    #[command(after_help = "Example:\n  gateward outbox stats --json | jq '.[].queued'")]
    Stats {
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// List the events that were set aside, with the reason.
    #[command(after_help = "Examples:\n  gateward outbox failed\n  \
        gateward outbox failed --destination read-database --json | jq -r '.[] | select(.error_class == \"refused\").event_id'")]
    Failed {
        /// Of this destination only.
        #[arg(long, value_name = "NAME")]
        destination: Option<String>,
        /// Of this aggregate only.
        #[arg(long, value_name = "ID")]
        aggregate: Option<Uuid>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=100_000))]
        limit: i64,
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Queue again what was set aside, in its order and ahead of what came later. Takes whole aggregates.
    #[command(after_help = "Examples:\n  \
        gateward outbox replay --destination read-database --event 019aa5d0-6c1e-7b5e-9d3e-0c2f6a1b7e55\n  \
        gateward outbox replay --destination read-database --all")]
    Replay {
        #[command(flatten)]
        selection: Selection,
        /// Print what was done as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give up what was set aside, for good: it will never reach the destination. The event itself stays in the log.
    #[command(after_help = "Example:\n  \
        gateward outbox discard --destination read-database --event 019aa5d0-6c1e-7b5e-9d3e-0c2f6a1b7e55 --yes")]
    Discard {
        #[command(flatten)]
        selection: Selection,
        /// Do it. Without it nothing is done.
        #[arg(long)]
        yes: bool,
        /// Print what was done as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What to replay or discard.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("which").required(true))]
struct Selection {
    /// The destination that did not take it.
    #[arg(long, value_name = "NAME")]
    destination: String,
    /// One event.
    #[arg(long, value_name = "ID", group = "which")]
    event: Option<Uuid>,
    /// All of an aggregate.
    #[arg(long, value_name = "ID", group = "which")]
    aggregate: Option<Uuid>,
    /// All of the destination.
    #[arg(long, group = "which")]
    all: bool,
}

impl Selection {
    fn which(&self) -> Which {
        match (self.event, self.aggregate) {
            (Some(event_id), _) => Which::Event(event_id),
            (None, Some(aggregate_id)) => Which::Aggregate(aggregate_id),
            (None, None) => Which::All,
        }
    }
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    if let Command::Discard { yes: false, .. } = &arguments.command {
        return Err(Failure::Usage(
            "what is discarded never reaches its destination; add --yes to do it. `gateward outbox failed` lists what is set aside"
                .to_owned(),
        ));
    }
    let configuration = StatisticsConfiguration::read(source)?;
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let result = match &arguments.command {
        Command::Stats { json } => stats(&database, *json).await,
        Command::Failed { destination, aggregate, limit, json } => {
            let filter =
                FailedFilter { destination: destination.clone(), aggregate_id: *aggregate, limit: *limit };
            failed(&database, &filter, *json).await
        }
        Command::Replay { selection, json } => replay(&database, selection, *json).await,
        Command::Discard { selection, json, .. } => discard(&database, selection, *json).await,
    };
    database.close().await;
    result
}

async fn stats(database: &Database, json: bool) -> Result<(), Failure> {
    let destinations = outbox::statistics(database).await.map_err(Failure::runtime)?;
    if json {
        return output::json(&destinations);
    }
    for destination in &destinations {
        output::line(&summary(destination))?;
    }
    Ok(())
}

fn summary(d: &DestinationStatistics) -> String {
    let mut parts = vec![format!(
        "{}: {} queued (oldest {:.1} s), {} backing off, {} failed, {} aggregates parked, {} lanes leased",
        d.destination,
        d.queued,
        d.oldest_seconds,
        d.backing_off,
        d.failed,
        d.parked_aggregates,
        d.leased_lanes,
    )];
    if let Some(reason) = &d.oldest_error {
        parts.push(format!("the oldest was refused: {reason}"));
    }
    if !d.enabled {
        parts.push(format!("disabled: {}", d.disabled_reason.as_deref().unwrap_or("by an operator")));
    }
    if let Some(error) = &d.breaker_error {
        parts.push(format!("away ({} times in a row): {error}", d.breaker_failures));
    }
    if let Some(seconds) = d.breaker_seconds {
        parts.push(format!("tried again in {seconds:.0} s"));
    }
    parts.join("; ")
}

async fn failed(database: &Database, filter: &FailedFilter, json: bool) -> Result<(), Failure> {
    let events = outbox::failed(database, filter).await.map_err(Failure::runtime)?;
    if json {
        return output::json(&events);
    }
    for e in events {
        output::line(&format!(
            "{} {} {} {} {} v{}: {}{}",
            e.destination,
            e.event_id,
            e.event_type,
            e.aggregate_type,
            e.aggregate_id,
            e.version,
            if e.error_class == "refused" {
                format!("refused {} times", e.attempts)
            } else {
                "behind one that was refused".to_owned()
            },
            e.reason.map_or_else(String::new, |reason| format!(": {reason}")),
        ))?;
    }
    Ok(())
}

async fn replay(database: &Database, selection: &Selection, json: bool) -> Result<(), Failure> {
    let done = outbox::replay(database, &selection.destination, selection.which()).await?;
    if json {
        return output::json(&done);
    }
    output::line(&format!("{} events of {} aggregates are queued again", done.events, done.aggregates))
}

async fn discard(database: &Database, selection: &Selection, json: bool) -> Result<(), Failure> {
    let done = outbox::discard(database, &selection.destination, selection.which()).await?;
    if json {
        return output::json(&done);
    }
    output::line(&format!(
        "{} events of {} aggregates are given up; {} behind them are queued again",
        done.events, done.aggregates, done.released
    ))
}

impl From<SetAsideError> for Failure {
    fn from(error: SetAsideError) -> Self {
        match error {
            SetAsideError::UnknownDestination(_) => Self::Usage(error.to_string()),
            _ => Self::runtime(error),
        }
    }
}

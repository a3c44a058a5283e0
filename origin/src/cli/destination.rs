//! `gateward destination`.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{Failure, logging, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{
    ApplyConfiguration, ForwardConfiguration, LogFormat, Source, destination_variable,
};
use crate::database::{Actor, Component, Database};
use crate::outbox::destination::{
    self, Addition, AnyDestination, Listed, Registered, RegistrationError, Surroundings, registered,
};

/// Say where events go: add, list, check, disable and remove destinations. Credentials never stand here: they come from the
/// environment of `gateward forward`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a destination; what happens from now on is queued for it.
    #[command(after_help = "Examples:\n  \
        gateward destination add supabase --kind postgrest --backfill\n  \
        gateward destination add billing --kind webhook --url https://billing.example.com/hooks --aggregate api_key\n  \
        gateward destination add bus --kind nats --prefix acme.gateward\n\n\
        `gateward destination check NAME` says what is missing for it.")]
    Add(Box<AddArguments>),
    /// List the destinations with their queues.
    #[command(
        after_help = "Example:\n  gateward destination list --json | jq '.[] | select(.enabled) | .name'"
    )]
    List {
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Show one destination, and the variables that hold its credentials.
    #[command(after_help = "Example:\n  gateward destination show supabase")]
    Show {
        /// Its name.
        name: String,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    /// Let events go to a destination again.
    #[command(after_help = "Example:\n  gateward destination enable billing --backfill")]
    Enable {
        /// Its name.
        name: String,
        /// Queue all events that ever happened, in order, in place of what is queued: those of the time in which it was disabled never
        /// were. It has to take an event that it has already as such.
        #[arg(long)]
        backfill: bool,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    /// Queue nothing further for a destination and deliver nothing to it. What is queued stays.
    #[command(after_help = "Example:\n  gateward destination disable billing")]
    Disable {
        /// Its name.
        name: String,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    /// Remove a destination that has got everything.
    #[command(after_help = "Example:\n  gateward destination remove billing --drop-queued")]
    Remove {
        /// Its name.
        name: String,
        /// Remove it although there are events that it has not got; they are dropped.
        #[arg(long)]
        drop_queued: bool,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    /// Connect to a destination the way `gateward forward` does, and say what is wrong: credentials, names, table, stream. A webhook is
    /// sent a signed message of type `test`.
    #[command(after_help = "Example:\n  gateward destination check supabase")]
    Check {
        /// Its name.
        name: String,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct AddArguments {
    /// Its name, which stands in the names of its variables: lower-case letters, digits and dashes.
    name: String,
    /// postgres, postgrest, webhook or nats.
    #[arg(long)]
    kind: String,
    /// Of a webhook: where it is. Leave it out where the URL is a secret, and set `DESTINATION_<NAME>_URL` for the forwarder.
    #[arg(long)]
    url: Option<String>,
    /// Of a webhook: how long a request may take, 1 to 30 seconds.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Of a webhook: how many requests may be under way at once, 1 to 64.
    #[arg(long, value_name = "REQUESTS")]
    concurrency: Option<u64>,
    /// Of postgrest: the table, where it is not `auth_events`.
    #[arg(long)]
    table: Option<String>,
    /// Of postgrest: the table's schema, where it is not the first that is exposed.
    #[arg(long)]
    schema: Option<String>,
    /// Of postgrest: what stands before the table, where it is not `/rest/v1`; empty for a PostgREST of your own.
    #[arg(long, value_name = "PATH")]
    base_path: Option<String>,
    /// Of nats: the first part of every subject, where it is not `gateward`.
    #[arg(long)]
    prefix: Option<String>,
    /// The aggregates whose events it gets, such as `api_key`; can be given several times. All, where none is given.
    #[arg(long = "aggregate", value_name = "TYPE")]
    aggregates: Vec<String>,
    /// Queue all events that ever happened for it, too.
    #[arg(long)]
    backfill: bool,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

impl AddArguments {
    fn addition(&self) -> Addition {
        let given = [
            ("url", self.url.clone().map(Value::from)),
            ("timeout_seconds", self.timeout.map(Value::from)),
            ("concurrency", self.concurrency.map(Value::from)),
            ("table", self.table.clone().map(Value::from)),
            ("schema", self.schema.clone().map(Value::from)),
            ("base_path", self.base_path.clone().map(Value::from)),
            ("prefix", self.prefix.clone().map(Value::from)),
        ];
        let options: Map<String, Value> =
            given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Addition {
            name: self.name.clone(),
            kind: self.kind.clone(),
            options: options.into(),
            aggregate_types: (!self.aggregates.is_empty()).then(|| self.aggregates.clone()),
            backfill: self.backfill,
        }
    }
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    logging::start(LogFormat::Text);
    if let Command::Check { name, json } = &arguments.command {
        return check(name, *json, source).await;
    }
    let configuration = ApplyConfiguration::read(source)?;
    let database = Database::new(configuration.database.options(), 2, Clock::System, Randomness::System);
    let result = with_database(&arguments.command, &database).await;
    database.close().await;
    result
}

async fn with_database(command: &Command, database: &Database) -> Result<(), Failure> {
    match command {
        Command::Add(arguments) => {
            let added = destination::add(database, &arguments.addition()).await?;
            if arguments.json {
                return output::json(&added);
            }
            output::line(&format!("{} added; {} past events queued", added.name, added.backfilled))?;
            output::line(&format!("now run: gateward destination check {}", added.name))
        }
        Command::List { json } => {
            let listed = destination::list(database, None).await?;
            if *json {
                return output::json(&listed);
            }
            listed.iter().try_for_each(|one| output::line(&in_words(one)))
        }
        Command::Show { name, json } => {
            let listed = destination::list(database, Some(name)).await?;
            for one in &listed {
                let variables = variables(one);
                if *json {
                    let mut whole = serde_json::to_value(one).map_err(Failure::runtime)?;
                    if let Value::Object(members) = &mut whole {
                        members.insert("variables".to_owned(), json!(variables));
                    }
                    return output::json(&whole);
                }
                output::line(&in_words(one))?;
                output::line(&format!("options: {}", one.options))?;
                let aggregates = one.aggregate_types.as_ref().map(|types| types.join(", "));
                output::line(&format!("aggregates: {}", aggregates.as_deref().unwrap_or("all")))?;
                output::line(&format!("variables: {}", variables.join(", ")))?;
            }
            Ok(())
        }
        Command::Enable { name, backfill, json } => {
            let enabled = destination::enable(database, name, *backfill).await?;
            if *json {
                return output::json(&enabled);
            }
            let what = if enabled.changed { "is enabled" } else { "was enabled already" };
            output::line(&format!("{name} {what}; {} past events queued", enabled.backfilled))
        }
        Command::Disable { name, json } => {
            let changed = destination::disable(database, name).await?;
            if *json {
                return output::json(&json!({ "changed": changed }));
            }
            output::line(&format!("{name} {}", if changed { "is disabled" } else { "was disabled already" }))
        }
        Command::Remove { name, drop_queued, json } => {
            let removed = destination::remove(database, name, *drop_queued).await?;
            if *json {
                return output::json(&removed);
            }
            output::line(&format!("{name} is removed; {} events dropped", removed.dropped))
        }
        // It needs another login.
        Command::Check { .. } => Ok(()),
    }
}

async fn check(name: &str, as_json: bool, source: &Source) -> Result<(), Failure> {
    let configuration = ForwardConfiguration::read(source)?;
    let (clock, randomness) = (Clock::System, Randomness::System);
    let command = Database::new(configuration.command.options(), 2, clock.clone(), randomness.clone());
    let surroundings = Surroundings { source: source.clone(), command, clock, randomness };
    let known = async {
        let mut scope = surroundings.command.scope(Actor::System(Component::Forwarder)).await?;
        registered(&mut scope).await
    };
    let known: Vec<Registered> = known.await.map_err(Failure::runtime)?;
    let found = known.iter().find(|one| one.name == name);
    let found = found.ok_or_else(|| RegistrationError::Unknown(name.to_owned()))?;
    let destination = AnyDestination::open(found, &surroundings)?;
    let checked = destination.check(&surroundings).await;
    destination.close().await;
    surroundings.command.close().await;
    if as_json {
        output::json(&match &checked {
            Ok(found) => json!({"destination": name, "ok": true, "found": found}),
            Err(fault) => json!({"destination": name, "ok": false, "fault": fault.to_string()}),
        })?;
    } else if let Ok(found) = &checked {
        output::line(&format!("{name}: {found}"))?;
    }
    checked.map(drop).map_err(|fault| Failure::runtime(format!("{name}: {fault}")))
}

fn in_words(one: &Listed) -> String {
    let state = match (one.enabled, &one.disabled_reason, &one.outage) {
        (false, Some(reason), _) => format!("disabled: {reason}"),
        (false, None, _) => "disabled".to_owned(),
        (true, _, _) if one.is_backfilling => {
            "its backfill has not finished: if none runs, enable it with --backfill or remove it".to_owned()
        }
        (true, _, Some(outage)) => format!("away: {outage}"),
        (true, _, None) => "enabled".to_owned(),
    };
    let Listed { id, name, kind, queued, failed, .. } = one;
    format!("{id} {name} ({kind}): {queued} queued, {failed} failed; {state}")
}

/// Where its credentials are read from.
fn variables(one: &Listed) -> Vec<String> {
    let what: &[&str] = match one.kind.as_str() {
        "postgres" | "registry" => &["URL"],
        "postgrest" => &["URL", "SERVICE_KEY"],
        "webhook" if one.options.get("url").is_some() => &["SECRETS"],
        "webhook" => &["SECRETS", "URL"],
        "nats" => &["URL", "CREDENTIALS"],
        _ => &[],
    };
    what.iter().map(|what| destination_variable(&one.name, what).into_owned()).collect()
}

impl From<RegistrationError> for Failure {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Options(faults) => Self::Configuration(faults),
            RegistrationError::Name(_) | RegistrationError::Kind(_) | RegistrationError::AggregateType(_) => {
                Self::Usage(error.to_string())
            }
            _ => Self::runtime(error),
        }
    }
}

//! `gateward project`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::{Failure, logging, output, rebuild};
use crate::clock::{Clock, Randomness};
use crate::configuration::{ApplyConfiguration, LogFormat, Source};
use crate::database::{Actor, Component, Database, Scope};
use crate::projects::{self, Change, Changed, Declaration, Terms};

/// List, show and compare projects, roll them back to an earlier revision, and rebuild what is projected from events.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List all projects.
    #[command(after_help = "Example:\n  gateward project list --json")]
    List {
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Show what is declared of a project, in the shape of the file that `gateward apply` reads.
    #[command(
        after_help = "Examples:\n  gateward project show notes\n  gateward project show notes --revision 3 --json"
    )]
    Show {
        /// The project's slug.
        project: String,
        /// As it was at this revision, instead of what is in force.
        #[arg(long)]
        revision: Option<i64>,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    /// Compare a file with what is in force: what `gateward apply` would change of its projects. Nothing is changed.
    ///
    /// Exit code 0: they are the same. 3: they differ. 1: it failed. 2: wrong usage, or the file has faults.
    #[command(after_help = "Example:\n  gateward project diff demo.toml && echo 'nothing to apply'")]
    Diff {
        /// The file, in TOML.
        file: PathBuf,
        /// Print a list of objects, one for each project.
        #[arg(long)]
        json: bool,
    },
    /// List a project's revisions, newest first.
    #[command(after_help = "Example:\n  gateward project history notes")]
    History {
        /// The project's slug.
        project: String,
        /// Only those before this one.
        #[arg(long)]
        before: Option<i64>,
        /// Print a list of objects.
        #[arg(long)]
        json: bool,
    },
    /// Make a project what it was at an earlier revision, as a new one. Clients, tokens and keys stay as they are.
    #[command(
        after_help = "Examples:\n  gateward project rollback notes 3 --dry-run\n  gateward project rollback notes 3"
    )]
    Rollback {
        /// The project's slug.
        project: String,
        /// The revision, as `history` lists it.
        revision: i64,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
        /// Print an object.
        #[arg(long)]
        json: bool,
    },
    Rebuild(rebuild::Arguments),
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    if let Command::Rebuild(arguments) = &arguments.command {
        return rebuild::run(arguments, source).await;
    }
    let configuration = ApplyConfiguration::read(source)?;
    logging::start(LogFormat::Text);
    // Before the database is asked: a file with faults is one whether it can be reached or not.
    let declaration = match &arguments.command {
        Command::Diff { file, .. } => Some(read(file).await?),
        _ => None,
    };
    let database = Database::new(configuration.database.options(), 1, Clock::System, Randomness::System);
    let outcome = run_in(&database, &arguments.command, declaration.as_ref()).await;
    database.close().await;
    outcome
}

async fn run_in(
    database: &Database,
    command: &Command,
    declaration: Option<&Declaration>,
) -> Result<(), Failure> {
    let mut scope = database.scope(Actor::System(Component::Operator)).await.map_err(Failure::runtime)?;
    match command {
        Command::List { json } => list(&mut scope, *json).await,
        Command::Show { project, revision, json } => show(&mut scope, project, *revision, *json).await,
        Command::Diff { json, .. } => match declaration {
            Some(declaration) => diff(&mut scope, declaration, *json).await,
            None => Ok(()),
        },
        // Needs no scope, and has been run.
        Command::Rebuild(_) => Ok(()),
        Command::History { project, before, json } => history(&mut scope, project, *before, *json).await,
        Command::Rollback { project, revision, dry_run, json } => {
            let terms = Terms { expected: None, dry_run: *dry_run };
            let changed =
                projects::roll_back(&mut scope, project, *revision, terms).await.map_err(Failure::runtime)?;
            scope.commit().await.map_err(Failure::runtime)?;
            if *json {
                return output::json(&changed);
            }
            print_changes(&changed)?;
            output::line(&match (*dry_run, changed.changes.is_empty()) {
                (_, true) => format!("{project} is as it was at revision {revision}"),
                (true, false) => format!("{project} would be as it was at revision {revision}"),
                (false, false) => {
                    format!(
                        "{project} is as it was at revision {revision}, now as revision {}",
                        changed.revision
                    )
                }
            })
        }
    }
}

async fn read(file: &Path) -> Result<Declaration, Failure> {
    let name = file.display();
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
    Declaration::parse(&text).map_err(|faults| Failure::Usage(format!("{name}: {faults}")))
}

async fn list(scope: &mut Scope, as_json: bool) -> Result<(), Failure> {
    let projects = projects::list(scope).await.map_err(Failure::runtime)?;
    if as_json {
        return output::json(&projects);
    }
    for project in projects {
        let state = if project.enabled { "enabled" } else { "disabled" };
        let updated_at = project.updated_at.format(&Rfc3339).map_err(Failure::runtime)?;
        output::line(&format!(
            "{} of {}, revision {}, {state}, changed {updated_at}",
            project.slug, project.workspace, project.revision
        ))?;
    }
    Ok(())
}

async fn show(scope: &mut Scope, project: &str, revision: Option<i64>, as_json: bool) -> Result<(), Failure> {
    let declaration = match revision {
        None => projects::show(scope, project).await.map_err(Failure::runtime)?.declaration.to_json(),
        Some(revision) => {
            projects::revision(scope, project, revision).await.map_err(Failure::runtime)?.declaration
        }
    };
    if as_json {
        return output::json(&declaration);
    }
    let file = serde_json::json!({"project": [declaration]});
    output::line(toml::to_string(&file).map_err(Failure::runtime)?.trim_end())
}

async fn diff(scope: &mut Scope, declaration: &Declaration, as_json: bool) -> Result<(), Failure> {
    let compared = projects::compare(scope, declaration).await.map_err(Failure::runtime)?;
    if as_json {
        output::json(&compared)?;
    } else {
        for changed in &compared {
            print_changes(changed)?;
        }
    }
    let differ = compared.iter().any(|changed| changed.created || !changed.changes.is_empty());
    if differ { Err(Failure::Differs) } else { Ok(()) }
}

async fn history(
    scope: &mut Scope,
    project: &str,
    before: Option<i64>,
    as_json: bool,
) -> Result<(), Failure> {
    let revisions = projects::history(scope, project, before).await.map_err(Failure::runtime)?;
    if as_json {
        return output::json(&revisions);
    }
    for revision in revisions {
        let created_at = revision.created_at.format(&Rfc3339).map_err(Failure::runtime)?;
        let text = |name: &str| revision.actor.get(name).and_then(Value::as_str);
        let by =
            text("component").or_else(|| text("service_name")).unwrap_or("an earlier version of Gateward");
        let again = revision.restored_from.map(|earlier| format!(", again {earlier}")).unwrap_or_default();
        output::line(&format!("{} {created_at} by {by}{again}", revision.revision))?;
    }
    Ok(())
}

/// `notes: service[api].timeout: nothing → "5s"`.
fn print_changes(Changed { project, changes, .. }: &Changed) -> Result<(), Failure> {
    for Change { path, before, after } in changes {
        let of = |value: &Value| if value.is_null() { "nothing".to_owned() } else { value.to_string() };
        output::line(&format!("{project}: {path}: {} → {}", of(before), of(after)))?;
    }
    Ok(())
}

//! `gateward audit prove`, `checkpoint`, `status`, `key` and `checkpoint-table`.

use serde_json::json;
use uuid::Uuid;

use crate::audit::{
    AuditStatus, Leaf, PublicationStatus, checkpoint_table, latest_checkpoint, prove, status,
};
use crate::cli::{Failure, output};
use crate::clock::{Clock, Randomness};
use crate::configuration::{AuditKeyConfiguration, Source, StatisticsConfiguration};
use crate::database::{Actor, Component, Database};

/// Prove that an event is in the log, to somebody who has the log's key: prints a proof that stands by itself.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward audit prove 0193a1b2-… > event.tlog-proof")]
pub(super) struct ProveArguments {
    /// The event's id.
    event: Uuid,
    /// Print the proof and its parts as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn prove_event(arguments: &ProveArguments, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let proof = prove(&database, arguments.event).await.map_err(Failure::runtime)?;
    database.close().await;
    if !arguments.json {
        // The proof ends with a newline of its own.
        return output::line(proof.to_string().trim_end());
    }
    let body = Leaf::from_bytes(&proof.leaf).map(|leaf| leaf.body).unwrap_or_default();
    output::json(&json!({
        "event_id": arguments.event,
        "position": proof.index,
        "event": serde_json::from_slice::<serde_json::Value>(&body).ok(),
        "path": proof.path.iter().map(|hash| shared::tlog::base64(hash)).collect::<Vec<_>>(),
        "checkpoint": proof.checkpoint,
        "proof": proof.to_string(),
    }))
}

/// Print the latest checkpoint, with the cosignatures of witnesses.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward audit checkpoint > checkpoint")]
pub(super) struct CheckpointArguments {}

pub(super) async fn checkpoint(_: &CheckpointArguments, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let mut scope = database.scope(Actor::System(Component::Auditor)).await.map_err(Failure::runtime)?;
    let latest = latest_checkpoint(&mut scope).await.map_err(Failure::runtime)?;
    drop(scope);
    database.close().await;
    let latest = latest.ok_or_else(|| {
        Failure::runtime("there is no checkpoint yet: nothing is sealed, or `gateward forward` does not run")
    })?;
    output::line(latest.cosigned().trim_end())
}

/// Show how far the log is, how old its checkpoint is, and how each place it is published to is doing.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward audit status --json | jq .checkpoint.age_seconds")]
pub(super) struct StatusArguments {
    /// Print an object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn show_status(arguments: &StatusArguments, source: &Source) -> Result<(), Failure> {
    let database = open(source)?;
    let status = status(&database).await.map_err(Failure::runtime)?;
    database.close().await;
    if arguments.json {
        return output::json(&status);
    }
    let AuditStatus { size, queued, oldest_queued_seconds, checkpoint, publications } = status;
    output::line(&format!("{size} events sealed, {queued} queued (oldest {oldest_queued_seconds:.1} s)"))?;
    match checkpoint {
        Some(latest) => output::line(&format!(
            "latest checkpoint: {} events, {:.1} s old, {} cosignatures",
            latest.size, latest.age_seconds, latest.cosignatures
        ))?,
        None => output::line("no checkpoint yet")?,
    }
    if publications.is_empty() {
        output::line("published nowhere: nobody could tell if the log and its checkpoints were made anew")?;
    }
    for PublicationStatus { publisher, size, published_seconds, behind_seconds, failures, error } in
        publications
    {
        let size = size.map_or_else(|| "nothing".to_owned(), |size| format!("{size} events"));
        let age = published_seconds.map_or_else(String::new, |age| format!(", published {age:.1} s ago"));
        let fault = error.map_or_else(String::new, |error| {
            format!("; behind for {behind_seconds:.1} s, {failures} failures: {error}")
        });
        output::line(&format!("{publisher}: {size}{age}{fault}"))?;
    }
    Ok(())
}

/// Print the key that the log's checkpoints are checked with. Keep it where they are published, out of the database's reach.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  gateward audit key > log.key")]
pub(super) struct KeyArguments {
    /// Print an object.
    #[arg(long)]
    json: bool,
}

pub(super) fn key(arguments: &KeyArguments, source: &Source) -> Result<(), Failure> {
    let AuditKeyConfiguration { verifier } = AuditKeyConfiguration::read(source)?;
    if arguments.json {
        return output::json(&json!({"origin": verifier.name(), "key": verifier.to_string()}));
    }
    output::line(&verifier.to_string())
}

/// Print the SQL that makes the table for `AUDIT_CHECKPOINT_DATABASE_URL`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  gateward audit checkpoint-table | psql postgres://admin@elsewhere/checkpoints"
)]
pub(super) struct CheckpointTableArguments {}

pub(super) fn table(_: &CheckpointTableArguments) -> Result<(), Failure> {
    output::line(checkpoint_table().trim_end())
}

fn open(source: &Source) -> Result<Database, Failure> {
    let configuration = StatisticsConfiguration::read(source)?;
    Ok(Database::new(configuration.database.options(), 1, Clock::System, Randomness::System))
}

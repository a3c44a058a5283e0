//! `gateward audit`.

mod export;
mod keys;
mod look;
mod verify;

use clap::Subcommand;

use super::Failure;
use crate::configuration::Source;

/// Check that the record of events is what it was.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Export(export::Arguments),
    Verify(verify::Arguments),
    Prove(look::ProveArguments),
    VerifyProof(verify::ProofArguments),
    Checkpoint(look::CheckpointArguments),
    Status(look::StatusArguments),
    Key(look::KeyArguments),
    CheckpointTable(look::CheckpointTableArguments),
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    match &arguments.command {
        Command::Export(arguments) => export::run(arguments, source).await,
        Command::Verify(arguments) => verify::run(arguments),
        Command::Prove(arguments) => look::prove_event(arguments, source).await,
        Command::VerifyProof(arguments) => verify::run_proof(arguments),
        Command::Checkpoint(arguments) => look::checkpoint(arguments, source).await,
        Command::Status(arguments) => look::show_status(arguments, source).await,
        Command::Key(arguments) => look::key(arguments, source),
        Command::CheckpointTable(arguments) => look::table(arguments),
    }
}

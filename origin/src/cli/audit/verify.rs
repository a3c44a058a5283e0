//! `gateward audit verify` and `verify-proof`: they read files, and nothing else.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::keys;
use crate::audit::verify::{AnchorError, Report, published_checkpoints, verify};
use crate::audit::verify_proof;
use crate::cli::{Failure, output};

/// Check an exported log against checkpoints from where they were published. Offline: reads the log, the checkpoints and the key.
///
/// Rebuilds the tree and every aggregate's chain, and prints every fault with its position. Exit code 1 when there is one.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    gateward audit verify audit.ndjson --checkpoint checkpoint --key auth.example.com+1a2b3c4d+AbCd…\n  \
    gateward audit verify - --checkpoint checkpoint.2026-11-21 --checkpoint checkpoint --key log.key --json < audit.ndjson\n\n\
    The key is what `gateward audit key` printed when the log was set up: keep it where the checkpoints are.")]
pub(super) struct Arguments {
    /// The exported log; `-` reads standard input.
    log: PathBuf,
    /// A file of checkpoints, from where they were published; can be given several times.
    #[arg(long = "checkpoint", value_name = "FILE", required = true)]
    checkpoints: Vec<PathBuf>,
    /// The log's key, or a file that has it; several after a change of keys.
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// The key of a witness, or a file that has it: the last checkpoint of each file must be cosigned by it.
    #[arg(long, value_name = "KEY")]
    witness_key: Option<String>,
    /// Print the whole report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let log_keys = keys::of_log(&arguments.keys)?;
    let witness = keys::of_witness(arguments.witness_key.as_ref())?;
    let mut published = Vec::new();
    for path in &arguments.checkpoints {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
        let place = path.display().to_string();
        match published_checkpoints(&place, &text, witness.as_ref()) {
            Ok(found) => published.extend(found),
            Err(error @ AnchorError::Witness { .. }) => return Err(Failure::runtime(error)),
            Err(error) => return Err(Failure::Usage(error.to_string())),
        }
    }
    let report = if arguments.log.as_os_str() == "-" {
        verify(&mut std::io::stdin().lock(), &log_keys, &published)
    } else {
        let file = File::open(&arguments.log).map_err(|error| unreadable(&arguments.log, &error))?;
        verify(&mut BufReader::with_capacity(1 << 16, file), &log_keys, &published)
    };
    let report = report.map_err(|error| Failure::runtime(format!("{}: {error}", arguments.log.display())))?;
    if arguments.json {
        output::json(&report)?;
    } else {
        for fault in &report.faults {
            output::line(&fault.to_string())?;
        }
        if report.is_whole() {
            output::line(&summary(&report))?;
        }
    }
    if report.is_whole() {
        return Ok(());
    }
    let more = match report.more_faults {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Failure::runtime(format!(
        "the log is not what it was, or the file is damaged: {} faults{more}",
        report.faults.len()
    )))
}

fn summary(report: &Report) -> String {
    let Report { origin, events, aggregates, checkpoints, published_size, size, root, .. } = report;
    let rest = match size - published_size {
        0 => String::new(),
        rest => format!(
            "; the last {rest} events are vouched for by the log's own checkpoints, no published one has them"
        ),
    };
    format!(
        "the log of {origin} is whole: {events} events of {aggregates} aggregates, {checkpoints} checkpoints compared, root {root}{rest}"
    )
}

/// Check a proof that `gateward audit prove` made. Offline.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  gateward audit verify-proof event.tlog-proof --key auth.example.com+1a2b3c4d+AbCd…"
)]
pub(super) struct ProofArguments {
    /// The proof.
    proof: PathBuf,
    /// The log's key, or a file that has it; several after a change of keys.
    #[arg(long = "key", value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// The key of a witness, or a file that has it: the proof's checkpoint must be cosigned by it.
    #[arg(long, value_name = "KEY")]
    witness_key: Option<String>,
    /// Print what is proved as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run_proof(arguments: &ProofArguments) -> Result<(), Failure> {
    let log_keys = keys::of_log(&arguments.keys)?;
    let witness = keys::of_witness(arguments.witness_key.as_ref())?;
    let path = &arguments.proof;
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let proved = verify_proof(&text, &log_keys, witness.as_ref())
        .map_err(|error| Failure::runtime(format!("{}: {error}", path.display())))?;
    if arguments.json {
        return output::json(&proved);
    }
    output::line(&format!(
        "at position {} of the {} events of {}: {}",
        proved.position, proved.size, proved.origin, proved.event
    ))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}

//! `cargo xtask bench`: speed as a ratio in one run, against real peers. It may not assert a time: it prints what it measured,
//! also when that falls short.

mod backend;
mod cast;
mod cold_start;
mod edge;
mod instructions;
mod load;
mod outbox;
mod process;
pub(crate) mod report;
mod size;
mod stage;
mod tokens;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::faults;
use crate::project::Project;

/// Measures speed as ratios against real peers, in one run.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench edge                        # about four minutes
  cargo xtask bench edge --rounds 3 --seconds 1 # a quick look, noisier
  cargo xtask bench outbox                      # about three minutes

Results go to the terminal, to docs/benchmarks.md and to target/gateward/bench/NAME.json.")]
pub(crate) struct Options {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    Edge(edge::Options),
    OutboxMemory(faults::MemoryOptions),
    Outbox(outbox::Options),
}

/// Runs the bench that was asked for.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    match &options.bench {
        Bench::Edge(options) => edge::run(project, options),
        Bench::OutboxMemory(options) => faults::memory(project, options),
        Bench::Outbox(options) => outbox::run(project, options),
    }
}

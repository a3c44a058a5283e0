//! Breaks a running Gateward on purpose, by a seed, and checks that no event is lost, doubled or out of order. `cargo xtask faults` and
//! `cargo xtask test --only faults` start it on a stage that they have prepared.

mod checker;
mod clock;
mod load;
mod memory;
mod plan;
mod process;
mod proxy;
mod run;
mod scenarios;
mod seed;
mod stage;
mod timeline;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};

use crate::checker::Counts;
use crate::clock::Stopwatch;
use crate::run::Outcome;
use crate::stage::{Prepared, Stage};

/// What breaks a running Gateward.
#[derive(Debug, Parser)]
enum Arguments {
    Runs(Runs),
    /// Plays what must be made to happen for sure.
    Scenarios {
        /// The stage, as JSON.
        #[arg(long)]
        stage: PathBuf,
    },
    Memory(memory::Options),
}

/// Plays runs one after the other; stops at the first that finds something.
#[derive(Debug, Args)]
struct Runs {
    /// The stage, as JSON.
    #[arg(long)]
    stage: PathBuf,
    /// The first seed.
    #[arg(long)]
    seed: u64,
    /// How many seeds, one after the other.
    #[arg(long = "runs", default_value_t = 1)]
    count: u64,
    /// Print each run as a line of JSON, with its plan and its timeline.
    #[arg(long)]
    json: bool,
    /// Say what happened and when, also where all went well.
    #[arg(long)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Box::pin(run(&arguments)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("    {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let file = match arguments {
        Arguments::Runs(Runs { stage, .. })
        | Arguments::Scenarios { stage }
        | Arguments::Memory(memory::Options { stage, .. }) => stage,
    };
    let text = std::fs::read(file).context("the stage's file cannot be read")?;
    let prepared: Prepared = serde_json::from_slice(&text).context("the stage's file is not understood")?;
    let mut stage = Stage::set(prepared).await?;
    let outcome = match arguments {
        Arguments::Runs(arguments) => Box::pin(runs(&mut stage, arguments)).await,
        Arguments::Scenarios { .. } => Box::pin(scenarios::play(&mut stage)).await,
        Arguments::Memory(options) => Box::pin(memory::run(&stage, options)).await,
    };
    let cleared = stage.clear().await;
    outcome.and(cleared)
}

async fn runs(stage: &mut Stage, arguments: &Runs) -> Result<()> {
    let began = Stopwatch::start();
    let (mut changes, mut unknown, mut restarts) = (0, 0, 0);
    let mut counts = Counts::default();
    for (done, seed) in (1..).zip(arguments.seed..arguments.seed.saturating_add(arguments.count)) {
        let outcome = match run::play(stage, seed).await {
            Ok(outcome) => outcome,
            Err(error) => {
                for entry in stage.timeline.entries() {
                    eprintln!("    {:>6} ms  {}", entry.at_ms, entry.what);
                }
                bail!(
                    "seed {seed} did not end well: {error:#}\n    run it again: cargo xtask faults --seed {seed}"
                );
            }
        };
        if arguments.json {
            println!("{}", serde_json::to_string(&outcome)?);
        }
        if arguments.verbose || !outcome.found.is_empty() {
            show(&outcome)?;
        }
        if !outcome.found.is_empty() {
            bail!(
                "seed {seed}: {}\n    run it again: cargo xtask faults --seed {seed}",
                outcome.found.join("\n    ")
            );
        }
        changes += outcome.acknowledged;
        unknown += outcome.unknown;
        restarts += outcome.restarts;
        counts = outcome.counts;
        if done == arguments.count || done % 10 == 0 {
            eprintln!(
                "    {done} of {} runs in {} s: {changes} changes acknowledged, {unknown} cut off, {restarts} restarts, {} lies; \
                 {} events, each in effect once and first in order, {} delivered again",
                arguments.count,
                began.elapsed().as_secs(),
                stage.lies(),
                counts.events,
                counts.redelivered,
            );
        }
    }
    eprintln!("    {}", stage.verify_log().await?);
    if arguments.count >= 20 {
        anyhow::ensure!(
            restarts > 0 && unknown > 0 && counts.redelivered > 0,
            "the faults hit nothing: this proves nothing"
        );
        anyhow::ensure!(stage.lies() > 0, "no lie was told: this proves nothing");
    }
    Ok(())
}

fn show(outcome: &Outcome) -> Result<()> {
    eprintln!("    seed {}: {} ms", outcome.plan.seed, outcome.took_ms);
    eprintln!("    {}", serde_json::to_string(&outcome.plan)?);
    for entry in &outcome.timeline {
        eprintln!("    {:>6} ms  {}", entry.at_ms, entry.what);
    }
    Ok(())
}

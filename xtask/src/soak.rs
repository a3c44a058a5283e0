//! `cargo xtask soak`: minutes of mixed load on a gateway whose origin is killed again and again, and what came of it in
//! `docs/benchmarks.md`. The load and its verdicts are `e2e/soak.test.mjs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use crate::bench::report::write_section;
use crate::project::Project;
use crate::test::e2e;

/// Runs mixed load for minutes while the origin is killed every 20 s.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask soak
  cargo xtask soak --minutes 1

The result goes to the terminal and to docs/benchmarks.md. It fails when one answer was wrong or memory grew.")]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    minutes: u16,
}

/// What the load reports.
#[derive(Deserialize)]
struct Outcome {
    seconds: u32,
    kills: u32,
    classes: BTreeMap<String, BTreeMap<String, u64>>,
    wrong: u32,
    memory_kib: Memory,
}

#[derive(Deserialize)]
struct Memory {
    after_warm_up: u64,
    at_end: u64,
    largest: u64,
}

/// Runs it.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let report = project.state().join("soak.json");
    fs::create_dir_all(project.state()).context("cannot create the folder of results")?;
    // The last run's result must not be taken for this one's.
    let _ = fs::remove_file(&report);
    let verdict = e2e::soak(project, u32::from(options.minutes) * 60, &report);
    if let Ok(text) = fs::read_to_string(&report) {
        let outcome: Outcome = serde_json::from_str(&text).context("the soak's result cannot be read")?;
        write_section(project, "soak", &section(&outcome, verdict.is_ok()))?;
    }
    verdict
}

fn section(outcome: &Outcome, passed: bool) -> String {
    let Outcome { seconds, kills, classes, wrong, memory_kib } = outcome;
    let mut text = format!(
        "## Mixed load while the origin is killed\n\n`cargo xtask soak`: {seconds} s of requests of every kind through one workerd, without a pause, and the origin killed \
         (SIGKILL) and started again {kills} times. {}: {wrong} wrong answers.\n\n| requests | answers |\n|---|---|\n",
        if passed { "Passed" } else { "Failed" }
    );
    for (class, statuses) in classes {
        let shown: Vec<String> =
            statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        let _ = writeln!(text, "| {class} | {} |", shown.join(", "));
    }
    let _ = writeln!(
        text,
        "\nMemory of the edge's process: {} MiB after warm-up, {} MiB at the end, {} MiB at most.",
        memory_kib.after_warm_up / 1024,
        memory_kib.at_end / 1024,
        memory_kib.largest / 1024
    );
    text
}

//! `cargo xtask test`: every test of the project, suite after suite. Goes on after a failure and says at the end what
//! failed.

mod corpus;
mod database;
pub(crate) mod e2e;
mod edge;
mod lint;
mod samples;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::clock::{Stopwatch, human};
use crate::exec;
use crate::faults;
use crate::fuzz;
use crate::progress::say;
use crate::project::Project;
use crate::setup::build::cargo;

/// Runs every test: format, lints, unit and property tests, the corpus natively and in wasm, the edge's in workerd, the database's, and the
/// black-box tests with a real browser.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --only shared --only corpus
  cargo xtask test --only e2e
  cargo xtask test --only faults")]
pub(crate) struct Options {
    /// Runs this suite and no other; may be given several times
    #[arg(long, value_enum, value_name = "SUITE")]
    only: Vec<Suite>,
}

/// What can be run on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// rustfmt
    Format,
    /// clippy natively and for wasm; cargo-deny where it is installed
    Lint,
    /// The rules, and what the fuzzer kept: needs no database, network or workerd
    Shared,
    /// The same corpus gives the same verdicts natively and in wasm
    Corpus,
    /// This tool's own tests
    Xtask,
    /// The edge's own parts, and the built worker in workerd
    Edge,
    /// The origin against a real Postgres
    Origin,
    /// Black-box tests of a whole gateway: browser, client libraries, attacks
    E2e,
    /// Processes killed and destinations that lie, by seeds: some of them with everything else, two hundred when asked for alone
    Faults,
}

impl Suite {
    /// `thorough` where it was asked for by name.
    fn run(self, project: &Project, thorough: bool) -> Result<()> {
        match self {
            Self::Format => {
                exec::stream(cargo(project).args(["fmt", "--all", "--check"]))?;
                exec::stream(cargo(project).args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
            }
            Self::Lint => lint::run(project),
            Self::Shared => {
                exec::stream(cargo(project).args(["test", "--package", "shared"]))?;
                fuzz::replay(project)
            }
            Self::Corpus => corpus::run(project),
            Self::Xtask => exec::stream(cargo(project).args(["test", "--package", "xtask"])),
            Self::Edge => edge::run(project),
            Self::Origin => database::run(project),
            Self::E2e => e2e::run(project),
            Self::Faults => faults::suite(project, thorough),
        }
    }
}

/// Runs the suites in order.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let suites = Suite::value_variants()
        .iter()
        .filter(|suite| options.only.is_empty() || options.only.contains(suite));
    let mut lines = Vec::new();
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for suite in suites {
        let name = suite.to_possible_value().context("a suite without a name")?.get_name().to_owned();
        say(&format!("\n── {name} ──"));
        let started = Stopwatch::start();
        let outcome = suite.run(project, !options.only.is_empty());
        let took = human(started.elapsed());
        match outcome {
            Ok(()) => {
                passed += 1;
                lines.push(format!("  ✓ {name} ({took})"));
            }
            Err(error) => {
                failed += 1;
                say(&format!("  ✗ {name}: {error:#}"));
                lines.push(format!("  ✗ {name} ({took})"));
            }
        }
    }
    say("");
    for line in lines {
        say(&line);
    }
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        bail!("{failed} of {} suites failed; what went wrong stands above", passed + failed);
    }
    Ok(())
}

//! What a developer of Gateward runs: `cargo xtask up`, `demo`, `test`, `bench`, `fuzz`, `soak`, `faults`, `gateward`, `build-edge`.

mod bench;
mod clock;
mod demo;
mod entropy;
mod exec;
mod faults;
mod fuzz;
mod gateward;
mod postgres;
mod progress;
mod project;
mod setup;
mod signals;
mod soak;
mod supervise;
mod test;
mod up;
mod workerd_config;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What a developer of Gateward runs.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 110)]
#[command(after_help = "Examples:
  cargo xtask up          # a whole gateway on this machine
  cargo xtask demo        # the story, played without a person
  cargo xtask test        # every test
  cargo xtask bench edge  # the edge beside JavaScript workers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Options),
    Demo(demo::Options),
    Test(test::Options),
    Bench(bench::Options),
    Fuzz(fuzz::Options),
    Soak(soak::Options),
    Faults(faults::Options),
    Gateward(gateward::Options),
    /// Builds the edge's modules into edge/dist; `wrangler` calls it.
    #[command(
        after_help = "The compiler for wasm is rustup's where it can be had, else Debian's packages with a standard library built here.
GATEWARD_WASM_TOOLCHAIN=rustup or =debian takes that one and no other.

Example:
  cargo xtask build-edge"
    )]
    BuildEdge,
    WorkerdConfig(workerd_config::Options),
    #[command(hide = true)]
    Supervise(supervise::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Supervise(options) = &cli.command {
        return supervise::run(options);
    }
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    signals::install()?;
    let project = project::Project::find()?;
    match command {
        Command::Up(options) => up::run(&project, &options),
        Command::Gateward(options) => gateward::run(&project, &options),
        Command::Bench(options) => bench::run(&project, &options),
        Command::Soak(options) => soak::run(&project, &options),
        Command::Faults(options) => faults::run(&project, &options),
        Command::Fuzz(options) => fuzz::run(&project, &options),
        Command::Demo(options) => demo::run(&project, &options),
        Command::Test(options) => test::run(&project, &options),
        Command::BuildEdge => {
            let _turn = setup::take_turn(&project)?;
            setup::edge::build(&project).map(|_| ())
        }
        Command::WorkerdConfig(options) => workerd_config::run(&project, &options),
        Command::Supervise(_) => Ok(()),
    }
}

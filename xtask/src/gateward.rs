//! `cargo xtask gateward`: the origin's tools against the gateway that `up` has running. It may not know any subcommand: it hands
//! over the environment and gets out of the way.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use crate::project::Project;
use crate::up::Record;

/// Runs `gateward` with the environment of the gateway that is up
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask gateward apply shop.toml
  cargo xtask gateward token issue --project notes --service worker
  cargo xtask gateward token list --json
  cargo xtask gateward outbox stats")]
pub(crate) struct Options {
    /// The up.json of the gateway that is meant [default: target/gateward/up.json]
    #[arg(long = "up-file", value_name = "PATH")]
    up_file: Option<PathBuf>,
    /// What `gateward` is to do; `gateward --help` says what it can
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "COMMAND")]
    arguments: Vec<String>,
}

/// Becomes `gateward`; returns only if that fails.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let path = options.up_file.clone().unwrap_or_else(|| project.state().join("up.json"));
    let text = std::fs::read(&path).with_context(|| {
        format!("no gateway is up: {} cannot be read; start one with `cargo xtask up`", path.display())
    })?;
    let record: Record = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what `up` writes", path.display()))?;
    let error = Command::new(&record.gateward).args(&options.arguments).envs(&record.environment).exec();
    Err(anyhow!(error).context(format!("{} cannot be started", record.gateward)))
}

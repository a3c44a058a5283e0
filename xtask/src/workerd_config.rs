//! `cargo xtask workerd-config`: the edge's modules and a configuration for workerd on a machine of one's own. Starts nothing.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::progress::say;
use crate::project::Project;
use crate::setup;
use crate::up::workerd::{self, BINDINGS, Layout};

/// Builds the edge and writes its modules and a configuration for workerd, to run it on a machine of one's own.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask workerd-config --out /srv/gateward/edge.capnp --address 127.0.0.1 --port 8787
  set -a; . /etc/gateward/edge.env; workerd serve /srv/gateward/edge.capnp

The configuration holds no secret: workerd reads the text bindings from its environment.")]
pub(crate) struct Options {
    /// The configuration to write; its modules go into a folder of the same name beside it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The address to listen on; keep it on loopback behind whatever ends TLS
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// The port to listen on
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// The folder that keeps what the exact limiter counted and the policy's last good copy [default: beside the configuration]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

/// Writes the configuration.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let configuration = std::path::absolute(&options.out).context("--out is not a usable path")?;
    let stem = configuration.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.context("--out must name a file, such as edge.capnp")?;
    let folder = configuration.parent().context("--out must name a file, such as edge.capnp")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let state = match &options.state {
        Some(state) => std::path::absolute(state).context("--state is not a usable path")?,
        None => folder.join(format!("{stem}-state")),
    };
    let modules = folder.join(format!("{stem}-modules"));
    let dist = {
        let _turn = setup::take_turn(project)?;
        setup::edge::build(project)?
    };
    let layout = Layout { configuration, modules, state, address: options.address, port: options.port };
    workerd::write(&dist, &layout)?;
    say(&format!("  ✓ {}", layout.configuration.display()));
    say(&format!("    its bindings come from the environment: {}", BINDINGS.join(", ")));
    Ok(())
}

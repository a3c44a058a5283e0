//! `cargo xtask up`: sets up what is missing, starts a whole gateway on this machine and keeps it running.

pub(crate) mod control;
mod gateward;
mod gateway;
pub(crate) mod part;
pub(crate) mod parts;
pub(crate) mod ports;
mod record;
pub(crate) mod secrets;
mod summary;
pub(crate) mod supervisor;
pub(crate) mod workerd;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

pub(crate) use gateway::Gateway;
pub(crate) use record::Record;
use supervisor::End;

use crate::progress::say;
use crate::project::Project;
use crate::setup;

/// Sets up what is missing, then runs the whole gateway until Ctrl-C: Postgres, origin, forwarder, edge, a demo
/// upstream, a mailbox and a demo app.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "Examples:
  cargo xtask up
  cargo xtask up --port-base 20000 --data /tmp/second --up-file /tmp/second.json
  cargo xtask up --database-url postgres://admin:secret@127.0.0.1:5432/postgres")]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) ports: ports::PortOptions,
    /// Folder for the database, keys and logs, kept between runs [default: target/gateward/data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to write what runs where, as JSON; may be given several times [default: target/gateward/up.json]
    #[arg(long = "up-file", value_name = "PATH")]
    pub(crate) up_files: Vec<PathBuf>,
    /// Use this server instead of the embedded Postgres: an administrator's URL. One gateway a server: the databases are
    /// called `gateward` and `gateward_read`
    #[arg(long, value_name = "URL", env = "GATEWARD_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Serve a loopback endpoint (`control_url` in up.json) that stops, kills and starts single parts: POST /stop/NAME,
    /// /kill/NAME, /start/NAME, GET /status. For tests
    #[arg(long)]
    pub(crate) control: bool,
    /// Do not wait for the disk: faster, and a crash of the machine may lose data. For tests
    #[arg(long)]
    pub(crate) no_fsync: bool,
}

/// Runs until a signal or a crash.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    // Before minutes of building, not after.
    gateway::check_ports(options)?;
    say("Gateward: setting up");
    let ready = setup::all(project)?;
    say("Gateward: starting");
    let mut gateway = Gateway::start(project, &ready, options)?;
    print!("{}", summary::text(gateway.record()));
    let end = gateway.run();
    let tail = match &end {
        Ok(End::Crash { name, .. }) => gateway.log_tail(name),
        _ => String::new(),
    };
    say("Gateward: stopping");
    gateway.stop()?;
    match end? {
        End::Signal(_) | End::Finished => {
            say("Gateward: stopped");
            Ok(())
        }
        crash @ End::Crash { .. } => bail!("{crash}; everything else was stopped\n{tail}"),
    }
}

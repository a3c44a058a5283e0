//! `cargo xtask demo`: a whole gateway of its own, and the story played on it without a person.

mod browser;
mod forms;
mod sign_in;
mod story;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::clock::{Stopwatch, human, unix_millis};
use crate::progress::say;
use crate::project::Project;
use crate::setup;
use crate::up::ports::PortOptions;
use crate::up::{self, Gateway};

/// Starts a gateway on free ports with data of its own and plays the story: sign in with PKCE, call a project, be
/// refused with a wrong verifier, revoke, be refused; see the event on the read side. Prints each step with its time.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --json > story.json")]
pub(crate) struct Options {
    /// Print the steps as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// Keep the data folder, with the logs
    #[arg(long)]
    keep: bool,
    /// Folder for the data, which must not exist yet and is removed afterwards [default: one in target/gateward]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Plays the story; an error says which step went wrong and why.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let started = Stopwatch::start();
    say("Gateward: setting up");
    let ready = setup::all(project)?;
    say("Gateward: starting");
    let default = || project.state().join(format!("demo-{}-{}", std::process::id(), unix_millis()));
    let data = options.data.clone().unwrap_or_else(default);
    if data.exists() {
        bail!(
            "{} exists; the demo removes its data folder afterwards, so it wants a new one",
            data.display()
        );
    }
    let up_options = up::Options {
        ports: PortOptions::free()?,
        up_files: vec![data.join("up.json")],
        data: Some(data),
        no_fsync: true,
        ..up::Options::default()
    };
    let mut gateway = Gateway::start(project, &ready, &up_options)?;
    let up_after = started.elapsed();
    say("Gateward: the story");
    let told = gateway.run_beside(|record| story::play(project, record));
    if options.keep || told.is_err() {
        say(&format!("  its data and logs stay in {}", gateway.record().data));
        gateway.stop()?;
    } else {
        gateway.stop_and_forget()?;
    }
    let steps = told?;
    if options.json {
        let text = serde_json::to_string_pretty(&serde_json::json!({ "ok": true, "steps": steps }));
        println!("{}", text.context("the steps cannot be written as JSON")?);
    } else {
        for step in &steps {
            println!("  {:<34} {:>9}   {}", step.name, step.shown_time(), step.remark);
        }
        println!("All of it in {} (the gateway was up after {})", human(started.elapsed()), human(up_after));
    }
    Ok(())
}

//! Cargo builds with progress: how many crates are compiled, every few seconds, and the compiler's words on failure.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::clock::Stopwatch;
use crate::exec;
use crate::progress::Step;
use crate::project::Project;

/// How often a long build says how far it is.
const NOTE_EVERY: Duration = Duration::from_secs(15);

/// The cargo that started xtask.
pub(crate) fn cargo(project: &Project) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(project.root());
    command
}

/// Builds the origin and returns the path of `gateward`.
pub(crate) fn origin(project: &Project) -> Result<PathBuf> {
    let mut command = cargo(project);
    command.args(["build", "--package", "origin", "--bin", "gateward"]);
    let log = project.setup_log("origin")?;
    let artifacts = build(&mut command, "origin (cargo build)", &log)?;
    artifacts.executable("gateward").context("cargo built no binary called gateward")
}

/// What cargo says it has made.
#[derive(Debug, Default)]
pub(crate) struct Artifacts(Vec<Artifact>);

/// One message of `cargo build --message-format=json`; only what is used of it.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(flatten)]
    artifact: Option<Artifact>,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    target: Target,
    filenames: Vec<String>,
    executable: Option<PathBuf>,
    /// Whether it was there already.
    fresh: bool,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

impl Artifacts {
    fn of(&self, target: &str) -> impl Iterator<Item = &Artifact> {
        self.0.iter().filter(move |artifact| artifact.target.name == target)
    }

    /// The executable of a target.
    pub(crate) fn executable(&self, target: &str) -> Option<PathBuf> {
        self.of(target).find_map(|artifact| artifact.executable.clone())
    }

    /// The file of a target with this ending.
    pub(crate) fn file(&self, target: &str, ending: &str) -> Option<PathBuf> {
        self.of(target)
            .flat_map(|artifact| &artifact.filenames)
            .find(|name| name.ends_with(ending))
            .map(PathBuf::from)
    }
}

/// Runs a `cargo build` and reads what it reports. Its words go to `log`.
pub(crate) fn build(command: &mut Command, name: &str, log: &Path) -> Result<Artifacts> {
    command.arg("--message-format=json-render-diagnostics");
    let (_, stderr) = exec::log_files(log)?;
    let step = Step::begin(name);
    let mut child = exec::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr))?;
    let stdout = child.stdout.take().context("cargo without stdout")?;
    let mut artifacts = Artifacts::default();
    let (mut fresh, mut compiled, mut noted) = (0_u32, 0_u32, Stopwatch::start());
    // A signal ends cargo, and with it this loop.
    let reader = std::thread::scope(|scope| {
        let lines = scope.spawn(|| {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
                let Some(artifact) = message.artifact.filter(|_| message.reason == "compiler-artifact")
                else {
                    continue;
                };
                if artifact.fresh {
                    fresh += 1;
                } else {
                    compiled += 1;
                }
                if noted.elapsed() >= NOTE_EVERY {
                    step.note(&format!("{compiled} crates compiled"));
                    noted = Stopwatch::start();
                }
                artifacts.0.push(artifact);
            }
        });
        let status = exec::wait(&mut child);
        lines.join().map_err(|_| anyhow::anyhow!("cargo's reader ended"))?;
        status
    });
    exec::check(command, reader?, log)?;
    step.done_with(&if compiled == 0 {
        "nothing to do".to_owned()
    } else {
        format!("{compiled} crates compiled, {fresh} fresh")
    });
    Ok(artifacts)
}

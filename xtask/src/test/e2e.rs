//! The black-box tests in `e2e/`: a whole gateway on free ports with data of its own, and `node --test` against it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::{edge::node_tests, samples};
use crate::clock;
use crate::exec;
use crate::progress::say;
use crate::project::Project;
use crate::setup::{
    self,
    debian::{NATS_SERVER, Program},
    node,
};
use crate::up::ports::PortOptions;
use crate::up::{self, Gateway};

/// A Chromium.
const BROWSER: Program = Program {
    what: "a Chromium",
    // Chromium's own variable in many tools.
    variable: "CHROMIUM",
    names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
    package: "chromium",
};
/// They stop and kill parts of the gateway, or start others.
const LAST: [&str; 6] =
    ["propagation.test.mjs", "outage.test.mjs", "doctor.test.mjs", SOAK, "crash.test.mjs", "up.test.mjs"];
/// Mixed load while the origin is killed again and again.
const SOAK: &str = "soak.test.mjs";

/// Starts the gateway, runs every `e2e/*.test.mjs`, stops it.
pub(crate) fn run(project: &Project) -> Result<()> {
    let folder = project.path("e2e");
    let (last, first): (Vec<PathBuf>, Vec<PathBuf>) =
        node_tests(&folder)?.into_iter().partition(|file| LAST.iter().any(|name| file.ends_with(name)));
    let (browser, nats) = (BROWSER.ensure(project)?, NATS_SERVER.ensure(project)?);
    // The last ones run whatever the others have found.
    let variables =
        [(BROWSER.variable, browser.into_os_string()), (NATS_SERVER.variable, nats.into_os_string())];
    run_files(project, &[&first, &last], &variables)
}

/// Runs the soak alone for `seconds`; its result is written to `report`.
pub(crate) fn soak(project: &Project, seconds: u32, report: &Path) -> Result<()> {
    let file = project.path("e2e").join(SOAK);
    let variables = [("SOAK_SECONDS", seconds.to_string().into()), ("SOAK_REPORT", report.into())];
    run_files(project, &[&[file]], &variables)
}

/// Starts a gateway of their own for groups of test files, runs one group after the other, stops it.
fn run_files(project: &Project, groups: &[&[PathBuf]], variables: &[(&str, OsString)]) -> Result<()> {
    let folder = project.path("e2e");
    let ready = setup::all(project)?;
    let node_modules = {
        let _turn = setup::take_turn(project)?;
        node::install_in(project, &folder, "npm-e2e")?
    };
    let samples = {
        let _turn = setup::take_turn(project)?;
        samples::prepare(project)?
    };
    let data = project.state().join(format!("e2e-{}-{}", std::process::id(), clock::unix_millis()));
    let up_file = data.join("up.json");
    let options = up::Options {
        ports: PortOptions::free()?,
        data: Some(data),
        up_files: vec![up_file.clone()],
        control: true,
        no_fsync: true,
        ..up::Options::default()
    };
    let mut gateway = Gateway::start(project, &ready, &options)?;
    let run = |files: &[PathBuf]| {
        let mut command = Command::new(node_program(&node_modules));
        // One file at a time: the machine is shared with the gateway under test.
        command
            .args(["--test", "--test-concurrency=1", "--test-timeout=6000000", "--test-reporter=spec"])
            .args(files);
        command.current_dir(&folder).env("UP_JSON", &up_file).envs(variables.iter().cloned());
        command.env("UPSTREAM_RUST", &samples.rust).env("UPSTREAM_PYTHON", &samples.python);
        if let Ok(own) = std::env::current_exe() {
            command.env("XTASK", own);
        }
        exec::stream(&mut command)
    };
    let outcome = gateway.run_beside(|_| {
        let outcomes: Vec<Result<()>> = groups.iter().map(|files| run(files)).collect();
        outcomes.into_iter().collect()
    });
    if outcome.is_err() {
        say(&format!("    the logs of its parts stay in {}", gateway.record().data));
        gateway.stop()?;
    } else {
        gateway.stop_and_forget()?;
    }
    outcome
}

/// The Node that npm brought, where `e2e/package.json` asks for one: wrangler wants a newer one than most systems have.
fn node_program(node_modules: &Path) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let own = node_modules.join(format!("node-{system}-{machine}/bin/node"));
    if own.is_file() { own } else { "node".into() }
}

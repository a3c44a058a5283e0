//! The services in `examples/`, made ready to be started: their dependencies installed, the one in Rust built. What is installed stays
//! under `target/gateward` and in the examples' own `node_modules`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::exec;
use crate::progress::Step;
use crate::project::Project;
use crate::setup::{build, node};

/// Written into the environment when everything is in it.
const STAMP: &str = ".gateward-requirements-sha256";
/// What Debian calls a Python that can make environments.
const PACKAGES: [&str; 2] = ["python3", "python3-venv"];

/// The programs that start the samples.
pub(super) struct Samples {
    /// The service in Rust.
    pub(super) rust: PathBuf,
    /// A Python that has what the service in Python needs.
    pub(super) python: PathBuf,
}

/// Installs and builds what is missing.
pub(super) fn prepare(project: &Project) -> Result<Samples> {
    node::install_in(project, &project.path("examples/upstream-typescript"), "npm-upstream-typescript")?;
    let python = python(project)?;
    let mut cargo = build::cargo(project);
    cargo.args(["build", "--package", "upstream-rust"]);
    let log = project.setup_log("upstream-rust")?;
    let built = build::build(&mut cargo, "examples/upstream-rust (cargo build)", &log)?;
    let rust = built.executable("upstream-rust").context("cargo built no binary called upstream-rust")?;
    Ok(Samples { rust, python })
}

/// An environment with exactly the packages of the lock file, made anew when that has changed.
fn python(project: &Project) -> Result<PathBuf> {
    let requirements = project.path("examples/upstream-python/requirements.txt");
    let text =
        std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let digest = Base64UrlUnpadded::encode_string(&Sha256::digest(&text));
    let folder = project.state().join("upstream-python");
    let (program, stamp) = (folder.join("bin/python"), folder.join(STAMP));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == digest) {
        return Ok(program);
    }
    ensure_python(project)?;
    let step = Step::begin("Python packages of examples/upstream-python (pip install)");
    let log = project.setup_log("pip")?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    exec::run(Command::new("python3").args(["-m", "venv"]).arg(&folder), &log)?;
    let mut pip = Command::new(&program);
    pip.args(["-m", "pip", "install", "--require-hashes", "--disable-pip-version-check", "--requirement"]);
    exec::run(pip.arg(&requirements), &log)
        .context("Python packages could not be installed; is the package index reachable?")?;
    std::fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))?;
    step.done();
    Ok(program)
}

/// Refuses to go on without a Python that can make environments, or has the package manager install one.
fn ensure_python(project: &Project) -> Result<()> {
    let is_there = || exec::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]));
    if is_there() {
        return Ok(());
    }
    let advice = format!(
        "there is no Python 3 with venv; install it with your package manager ({})",
        PACKAGES.join(", ")
    );
    if !(rustix::process::geteuid().is_root() && exec::succeeds(Command::new("apt-get").arg("--version"))) {
        bail!(advice);
    }
    let step = Step::begin(format!("Python (apt-get install {})", PACKAGES.join(" ")));
    let log = project.setup_log("python")?;
    exec::run(Command::new("apt-get").arg("update"), &log).context(advice.clone())?;
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--yes", "--no-install-recommends"])
        .args(PACKAGES)
        .env("DEBIAN_FRONTEND", "noninteractive");
    exec::run(&mut command, &log).context(advice.clone())?;
    step.done();
    if is_there() { Ok(()) } else { bail!(advice) }
}

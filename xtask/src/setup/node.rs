//! Node and its packages: `npm ci` once per lock file, without install scripts.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::exec;
use crate::progress::Step;
use crate::project::Project;

/// The oldest Node that runs the demo's services.
const OLDEST_NODE: u32 = 18;
/// Written into `node_modules` when `npm ci` has succeeded.
const STAMP: &str = ".gateward-lock-sha256";

/// Refuses to go on without a usable Node.
pub(crate) fn check() -> Result<()> {
    let output = Command::new("node").arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let major =
        version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_NODE => Ok(()),
        Some(major) => {
            bail!("node {major} is too old; install Node {OLDEST_NODE} or later with your package manager")
        }
        None => {
            bail!("node is missing; install Node {OLDEST_NODE} or later and npm with your package manager")
        }
    }
}

/// Installs the packages of the lock file at the top of the clone, unless that has been done.
pub(crate) fn install(project: &Project) -> Result<PathBuf> {
    install_in(project, project.root(), "npm")
}

/// As [`install`], for a folder with a lock file of its own.
pub(crate) fn install_in(project: &Project, folder: &Path, log: &str) -> Result<PathBuf> {
    let lock = folder.join("package-lock.json");
    let text = std::fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let digest = Base64UrlUnpadded::encode_string(&Sha256::digest(&text));
    let node_modules = folder.join("node_modules");
    let stamp = node_modules.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == digest) {
        return Ok(node_modules);
    }
    if !exec::succeeds(Command::new("npm").arg("--version")) {
        bail!("npm is missing; install it with your package manager (Debian keeps it apart from nodejs)");
    }
    let shown = lock.strip_prefix(project.root()).unwrap_or(&lock);
    let step = Step::begin(format!("Node packages of {} (npm ci)", shown.display()));
    let mut command = Command::new("npm");
    // No package here needs its install script: binaries are called directly.
    command.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder);
    let log = project.setup_log(log)?;
    exec::run(&mut command, &log)
        .context("Node packages could not be installed; is the package registry reachable?")?;
    std::fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))?;
    step.done();
    Ok(node_modules)
}

/// workerd's binary for this platform.
pub(crate) fn workerd(node_modules: &Path) -> Result<PathBuf> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "workerd-linux-64",
        ("linux", "aarch64") => "workerd-linux-arm64",
        ("macos", "x86_64") => "workerd-darwin-64",
        ("macos", "aarch64") => "workerd-darwin-arm64",
        (system, machine) => {
            bail!("there is no workerd for {system} on {machine}, so the edge cannot run here")
        }
    };
    let binary = node_modules.join("@cloudflare").join(platform).join("bin/workerd");
    if !binary.is_file() {
        bail!("{} is missing; remove the folder node_modules and run this again", binary.display());
    }
    Ok(binary)
}

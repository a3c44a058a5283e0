//! What comes from Debian's packages. Programs that tests need; and the way to wasm where rustup cannot download: Debian's compiler
//! for the web, a standard library built from its sources, and a sysroot of the project's own under `target/gateward`, so that the
//! system stays as it is.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::wasm::TARGET;
use crate::exec;
use crate::progress::Step;
use crate::project::Project;

/// A program that tests need and the system may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// Names one, instead of all below.
    pub(crate) variable: &'static str,
    /// Its names, the first that starts is taken.
    pub(crate) names: &'static [&'static str],
    /// Debian's package.
    pub(crate) package: &'static str,
}

/// A real NATS server, with JetStream.
pub(crate) const NATS_SERVER: Program = Program {
    what: "a NATS server",
    variable: "NATS_SERVER",
    // A user's path need not have the system's programs.
    names: &["nats-server", "/usr/sbin/nats-server"],
    package: "nats-server",
};

impl Program {
    /// Where it is, installed by the package manager when it is nowhere.
    pub(crate) fn ensure(self, project: &Project) -> Result<PathBuf> {
        let Self { what, variable, names, package } = self;
        let named = std::env::var_os(variable).map(PathBuf::from);
        let find = || {
            names
                .iter()
                .map(PathBuf::from)
                .find(|program| exec::succeeds(Command::new(program).arg("--version")))
        };
        if let Some(found) = named.or_else(find) {
            return Ok(found);
        }
        let advice = format!(
            "there is no {package}; install it with your package manager, or name {what} in {variable}"
        );
        if !(rustix::process::geteuid().is_root() && exec::succeeds(Command::new("apt-get").arg("--version")))
        {
            bail!(advice);
        }
        let step = Step::begin(format!("{what} (apt-get install {package})"));
        let log = project.setup_log(package)?;
        exec::run(Command::new("apt-get").arg("update"), &log).with_context(|| advice.clone())?;
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends", package])
            .env("DEBIAN_FRONTEND", "noninteractive");
        exec::run(&mut command, &log).with_context(|| advice.clone())?;
        step.done();
        find().context(advice)
    }
}

const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";

/// A folder laid out as a Rust toolchain that knows the target.
#[derive(Debug)]
pub(crate) struct Sysroot(PathBuf);

impl Sysroot {
    /// Debian's cargo with this sysroot's compiler. It uses a target folder of its own: artefacts of two compilers in
    /// one would be rebuilt at every change of hands.
    pub(crate) fn cargo(&self, project: &Project) -> Command {
        let mut command = Command::new(CARGO);
        command.current_dir(project.root()).env("RUSTC", self.0.join("bin/rustc"));
        command.env_remove("RUSTUP_TOOLCHAIN").env("CARGO_TARGET_DIR", self.0.join("target"));
        command
    }
}

fn folder(project: &Project) -> PathBuf {
    project.state().join("wasm-toolchain")
}

/// The finished marker holds the compiler's version: after an upgrade the library is built again.
fn marker(folder: &Path) -> PathBuf {
    folder.join("finished")
}

/// A sysroot that an earlier run has made and that still fits the installed compiler.
pub(crate) fn existing(project: &Project) -> Option<Sysroot> {
    let folder = folder(project);
    let made_with = std::fs::read_to_string(marker(&folder)).ok()?;
    (made_with == version().ok()?).then_some(Sysroot(folder))
}

/// Makes the sysroot, installing Debian's packages when they are missing.
pub(crate) fn ensure(project: &Project) -> Result<Sysroot> {
    if let Some(sysroot) = existing(project) {
        return Ok(sysroot);
    }
    if !packages_present() {
        install_packages(project)?;
    }
    let folder = folder(project);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    let library = build_library(project, &folder)?;
    lay_out(&folder, &library)?;
    std::fs::write(marker(&folder), version()?).context("cannot mark the sysroot as finished")?;
    Ok(Sysroot(folder))
}

fn packages_present() -> bool {
    PACKAGES.iter().all(|package| exec::succeeds(Command::new("dpkg").args(["-s", package])))
}

fn install_packages(project: &Project) -> Result<()> {
    let line = format!("apt-get install --no-install-recommends {}", PACKAGES.join(" "));
    if !exec::succeeds(Command::new("apt-get").arg("--version")) {
        bail!(
            "this system has no apt-get, so Debian's packages ({}) cannot be installed",
            PACKAGES.join(", ")
        );
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "Debian's packages are missing and installing them needs root; run `sudo {line}` and then this again"
        );
    }
    let step = Step::begin(format!("Debian's compiler for wasm ({line})"));
    let log = project.setup_log("apt")?;
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--no-install-recommends"]).args(PACKAGES);
        exec::run(command.env("DEBIAN_FRONTEND", "noninteractive"), &log)
    };
    // The package lists of a fresh container are empty or old.
    if install().is_err() {
        exec::run(Command::new("apt-get").arg("update"), &log)?;
        install()?;
    }
    step.done();
    Ok(())
}

/// Builds std for the target from Debian's sources and returns the folder with its libraries.
fn build_library(project: &Project, folder: &Path) -> Result<PathBuf> {
    let step = Step::begin("a standard library for wasm (about 1 minute, once)");
    let krate = folder.join("std");
    std::fs::create_dir_all(krate.join("src"))
        .with_context(|| format!("cannot create {}", krate.display()))?;
    // A workspace of its own, or cargo would look for this crate among the project's members.
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n";
    std::fs::write(krate.join("Cargo.toml"), manifest).context("cannot write a manifest")?;
    std::fs::write(krate.join("src/lib.rs"), "#![no_std]\n").context("cannot write a crate")?;
    let mut command = Command::new(CARGO);
    command
        .args(["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"])
        .current_dir(&krate);
    // Without bitcode the edge's link-time optimisation fails later.
    command.env("RUSTFLAGS", "-Cembed-bitcode=yes").env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_DIR", krate.join("target")).env_remove("RUSTUP_TOOLCHAIN");
    exec::run(&mut command, &project.setup_log("wasm-std")?)?;
    step.done();
    Ok(krate.join("target").join(TARGET).join("release/deps"))
}

fn lay_out(folder: &Path, library: &Path) -> Result<()> {
    let host = host()?;
    let rustlib = folder.join("lib/rustlib");
    let target_library = rustlib.join(TARGET).join("lib");
    let tools = rustlib.join(&host).join("bin");
    let bin = folder.join("bin");
    for needed in [&target_library, &tools, &bin] {
        std::fs::create_dir_all(needed).with_context(|| format!("cannot create {}", needed.display()))?;
    }
    link(&Path::new("/usr/lib/rustlib").join(&host).join("lib"), &rustlib.join(&host).join("lib"))?;
    for entry in std::fs::read_dir(library).with_context(|| format!("cannot read {}", library.display()))? {
        let path = entry.context("cannot read a folder entry")?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|ending| ending == "rlib") && !name.starts_with("libempty-") {
            std::fs::copy(&path, target_library.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
    }
    // A link, not a copy: the linker loads its libraries by a path relative to itself.
    link(&linker(&host)?, &tools.join("rust-lld"))?;
    let script = format!("#!/bin/sh\nexec {RUSTC} --sysroot '{}' \"$@\"\n", folder.display());
    let rustc = bin.join("rustc");
    std::fs::write(&rustc, script).context("cannot write the compiler's script")?;
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755))
        .context("cannot make it executable")?;
    link(Path::new(CARGO), &bin.join("cargo"))
}

fn link(original: &Path, name: &Path) -> Result<()> {
    if !original.exists() {
        bail!("{} is missing; the wasm toolchain needs it", original.display());
    }
    symlink(original, name).with_context(|| format!("cannot create {}", name.display()))
}

/// The linker for wasm: the installed toolchain's own, else Debian's.
fn linker(host: &str) -> Result<PathBuf> {
    let own = Command::new("rustc").args(["--print", "sysroot"]).output().ok();
    let own = own.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let candidates = [
        Path::new(own.trim()).join("lib/rustlib").join(host).join("bin/rust-lld"),
        Path::new("/usr/lib/rustlib").join(host).join("bin/rust-lld"),
        PathBuf::from("/usr/bin/wasm-ld"),
    ];
    candidates.into_iter().find(|path| path.exists()).context(
        "there is no rust-lld in the installed Rust toolchain and no wasm-ld; install Debian's package `lld` and run this again",
    )
}

fn version() -> Result<String> {
    let output = Command::new(RUSTC).arg("-vV").output().context("Debian's rustc is not installed")?;
    String::from_utf8(output.stdout).context("rustc's version is not text")
}

fn host() -> Result<String> {
    let version = version()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("Debian's rustc names no host")
}

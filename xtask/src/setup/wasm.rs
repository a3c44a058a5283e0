//! A compiler for wasm32-unknown-unknown: rustup's target where it can be had, else Debian's packages (`debian`).

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build;
use super::debian;
use crate::exec;
use crate::progress::{Step, say};
use crate::project::Project;

/// The edge's target.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// `rustup` or `debian`: takes that way and no other.
const CHOICE: &str = "GATEWARD_WASM_TOOLCHAIN";

/// A compiler that can build the edge.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// The one that xtask itself was built with.
    Own,
    /// Debian's, with a sysroot of the project's own.
    Debian(debian::Sysroot),
}

impl Toolchain {
    /// Cargo, set up to use this compiler.
    pub(crate) fn cargo(&self, project: &Project) -> Command {
        match self {
            Self::Own => build::cargo(project),
            Self::Debian(sysroot) => sysroot.cargo(project),
        }
    }
}

/// Finds a compiler for the target, installing what is missing.
pub(crate) fn ensure(project: &Project) -> Result<Toolchain> {
    let choice = std::env::var(CHOICE).unwrap_or_default();
    match choice.as_str() {
        "" => {}
        "rustup" => return rustup(project).map(|()| Toolchain::Own).context("rustup gave no wasm target"),
        "debian" => return debian::ensure(project).map(Toolchain::Debian),
        other => bail!("{CHOICE}={other} is not understood; use `rustup` or `debian`, or leave it unset"),
    }
    if has_target(project) {
        return Ok(Toolchain::Own);
    }
    if let Some(sysroot) = debian::existing(project) {
        return Ok(Toolchain::Debian(sysroot));
    }
    let Err(refusal) = rustup(project) else { return Ok(Toolchain::Own) };
    say(&format!(
        "    rustup cannot install the wasm target here; trying Debian's packages. It said:\n{refusal:#}"
    ));
    debian::ensure(project).map(Toolchain::Debian).with_context(|| {
        format!(
            "there is no compiler for {TARGET}; get one with `rustup target add {TARGET}` and run this again"
        )
    })
}

/// Whether xtask's own compiler has a standard library for the target.
fn has_target(project: &Project) -> bool {
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", TARGET]).current_dir(project.root());
    let folder = command.output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    folder
        .is_some_and(|folder| std::fs::read_dir(folder.trim()).is_ok_and(|mut files| files.next().is_some()))
}

fn rustup(project: &Project) -> Result<()> {
    let step = Step::begin("wasm target (rustup target add)");
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]).current_dir(project.root());
    exec::run(&mut command, &project.setup_log("rustup")?)?;
    step.done();
    Ok(())
}

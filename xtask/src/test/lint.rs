//! Lints of every crate, natively and for the edge's own target, and the dependencies' licences and advisories.

use anyhow::Result;

use crate::exec;
use crate::progress::say;
use crate::project::Project;
use crate::setup::build::cargo;
use crate::setup::wasm;

/// Fails on any warning.
pub(crate) fn run(project: &Project) -> Result<()> {
    let deny_warnings = ["--", "--deny", "warnings"];
    exec::stream(cargo(project).args(["clippy", "--workspace", "--all-targets"]).args(deny_warnings))?;
    let edge = ["--package", "edge", "--target", wasm::TARGET];
    match wasm::ensure(project)? {
        wasm::Toolchain::Own => exec::stream(cargo(project).arg("clippy").args(edge).args(deny_warnings))?,
        toolchain @ wasm::Toolchain::Debian(_) => {
            say("    Debian's compiler for wasm has no clippy: the compiler's own warnings only");
            exec::stream(toolchain.cargo(project).arg("check").args(edge).env("RUSTFLAGS", "-Dwarnings"))?;
        }
    }
    dependencies(project)?;
    Ok(())
}

/// Licences, bans and sources by `cargo-deny`, where it is installed (CI installs it); advisories where their database can be had.
fn dependencies(project: &Project) -> Result<()> {
    let deny = || {
        let mut command = cargo(project);
        command.arg("deny");
        command
    };
    if !exec::succeeds(deny().arg("--version")) {
        say(
            "    cargo-deny is not installed, so licences and advisories are not checked (cargo install cargo-deny --locked)",
        );
        return Ok(());
    }
    exec::stream(deny().args(["check", "bans", "licenses", "sources"]))?;
    if exec::succeeds(deny().args(["fetch", "db"])) {
        exec::stream(deny().args(["check", "advisories"]))
    } else {
        say("    the database of advisories cannot be fetched, so advisories are not checked");
        Ok(())
    }
}

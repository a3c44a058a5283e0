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
    // Not installed for this alone: building it takes longer than all the tests.
    if exec::succeeds(cargo(project).args(["deny", "--version"])) {
        exec::stream(cargo(project).args(["deny", "check"]))?;
    } else {
        say(
            "    cargo-deny is not installed, so licences and advisories are not checked (cargo install cargo-deny --locked)",
        );
    }
    Ok(())
}

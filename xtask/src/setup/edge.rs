//! The edge as a worker: its wasm, wasm-bindgen's glue and the hand-written entry, side by side in `edge/dist`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use super::{build, wasm};
use crate::clock;
use crate::progress::Step;
use crate::project::Project;

/// The modules of the worker, as its entry imports them.
pub(crate) const MODULES: [&str; 3] = ["entry.mjs", "gateward_edge.js", "gateward_edge_bg.wasm"];

/// Builds the edge and returns the folder with its modules.
pub(crate) fn build(project: &Project) -> Result<PathBuf> {
    let toolchain = wasm::ensure(project)?;
    let mut command = toolchain.cargo(project);
    command.args(["build", "--package", "edge", "--profile", "edge", "--target", wasm::TARGET]);
    let artifacts = build::build(&mut command, "edge (cargo build for wasm)", &project.setup_log("edge")?)?;
    let wasm = artifacts.file("edge", ".wasm").context("cargo built no wasm module of the edge")?;
    let dist = project.path("edge/dist");
    let inputs = [wasm.clone(), project.path("edge/entry.mjs")];
    if is_newer(&dist, &inputs) {
        return Ok(dist);
    }
    let step = Step::begin("the edge's modules (wasm-bindgen)");
    bind(&wasm, &project.path("edge/entry.mjs"), &dist)?;
    step.done();
    Ok(dist)
}

/// Writes the modules into a fresh folder and puts that in place of the old one, so that a worker that starts meanwhile
/// never reads half of them.
fn bind(wasm: &Path, entry: &Path, dist: &Path) -> Result<()> {
    let fresh = dist.with_extension(format!("new-{}", clock::unix_millis()));
    std::fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    Bindgen::new()
        .input_path(wasm)
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(false)
                .omit_default_module_path(true)
                .out_name("gateward_edge")
                .generate(&fresh)
        })
        .context(
            "wasm-bindgen refused the edge's module; is the crate's wasm-bindgen the version in Cargo.lock?",
        )?;
    let copy = fresh.join("entry.mjs");
    std::fs::copy(entry, &copy).with_context(|| format!("cannot copy {}", entry.display()))?;
    if dist.exists() {
        std::fs::remove_dir_all(dist).with_context(|| format!("cannot clear {}", dist.display()))?;
    }
    std::fs::rename(&fresh, dist).with_context(|| format!("cannot put {} in place", dist.display()))
}

/// Whether every module is there and no older than what it is made from.
fn is_newer(dist: &Path, inputs: &[PathBuf]) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
    let Some(newest_input) = inputs.iter().map(|path| modified(path)).max().flatten() else { return false };
    let generated = MODULES.iter().filter(|name| **name != "entry.mjs");
    let same_entry = inputs.last().is_some_and(|entry| {
        std::fs::read(entry).ok().zip(std::fs::read(dist.join("entry.mjs")).ok()).is_some_and(|(a, b)| a == b)
    });
    same_entry
        && generated
            .into_iter()
            .all(|name| modified(&dist.join(name)).is_some_and(|made| made >= newest_input))
}

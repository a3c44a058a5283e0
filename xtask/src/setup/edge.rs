//! The edge as a worker: its wasm, wasm-bindgen's glue and the modules written by hand, side by side in `edge/dist`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use super::{build, wasm};
use crate::clock;
use crate::progress::Step;
use crate::project::Project;

/// The module that the runtime starts with.
const ENTRY: &str = "entry.mjs";
/// The modules that are written by hand.
const OWN: [&str; 2] = [ENTRY, "exact-limits.mjs"];
/// Beside the modules: what they were made from.
const STAMP: &str = "made-from.txt";

/// Builds the edge and returns the folder with its modules.
pub(crate) fn build(project: &Project) -> Result<PathBuf> {
    let toolchain = wasm::ensure(project)?;
    let mut command = toolchain.cargo(project);
    command.args(["build", "--package", "edge", "--profile", "edge", "--target", wasm::TARGET]);
    let artifacts = build::build(&mut command, "edge (cargo build for wasm)", &project.setup_log("edge")?)?;
    let wasm = artifacts.file("edge", ".wasm").context("cargo built no wasm module of the edge")?;
    let dist = project.path("edge/dist");
    let own = project.path("edge");
    let made_from = made_from(&wasm, &own)?;
    if std::fs::read_to_string(dist.join(STAMP)).is_ok_and(|stamp| stamp == made_from) {
        return Ok(dist);
    }
    let step = Step::begin("the edge's modules (wasm-bindgen)");
    let fresh = dist.with_extension(format!("new-{}", clock::unix_millis()));
    let bound = bind(&wasm, &own, &fresh)
        .and_then(|()| std::fs::write(fresh.join(STAMP), made_from).context("cannot mark the modules"))
        .and_then(|()| replace(&fresh, &dist));
    if bound.is_err() {
        // Half a folder helps nobody.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    bound?;
    step.done();
    Ok(dist)
}

/// Writes the modules into a fresh folder.
fn bind(wasm: &Path, own: &Path, fresh: &Path) -> Result<()> {
    std::fs::create_dir_all(fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    Bindgen::new()
        .input_path(wasm)
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(false)
                // Function names are a sixth of the module, and every isolate loads them.
                .remove_name_section(true)
                .remove_producers_section(true)
                .omit_default_module_path(true)
                .out_name("gateward_edge")
                .generate(fresh)
        })
        .context(
            "wasm-bindgen refused the edge's module; is the crate's wasm-bindgen the version in Cargo.lock?",
        )?;
    for name in OWN {
        let module = own.join(name);
        std::fs::copy(&module, fresh.join(name))
            .with_context(|| format!("cannot copy {}", module.display()))?;
    }
    Ok(())
}

/// Puts the fresh folder in place of the old one, so that a worker that starts meanwhile never reads half of it.
fn replace(fresh: &Path, dist: &Path) -> Result<()> {
    if dist.exists() {
        std::fs::remove_dir_all(dist).with_context(|| format!("cannot clear {}", dist.display()))?;
    }
    std::fs::rename(fresh, dist).with_context(|| format!("cannot put {} in place", dist.display()))
}

/// The names of a worker's modules, relative to their folder, as they import each other: the entry first, then the rest,
/// with the snippets of JavaScript that crates bring.
pub(crate) fn modules(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in
            std::fs::read_dir(&current).with_context(|| format!("cannot read {}", current.display()))?
        {
            let path = entry.context("cannot read a folder entry")?.path();
            if path.is_dir() {
                folders.push(path);
            } else if kind(&path).is_some() {
                let name = path.strip_prefix(folder).ok().and_then(Path::to_str);
                names.push(name.context("a module whose name is not text")?.to_owned());
            }
        }
    }
    names.sort_by_key(|name| (name != ENTRY, name.clone()));
    Ok(names)
}

/// How workerd's configuration calls this kind of module.
pub(crate) fn kind(module: &Path) -> Option<&'static str> {
    match module.extension()?.to_str()? {
        "js" | "mjs" => Some("esModule"),
        "wasm" => Some("wasm"),
        _ => None,
    }
}

/// Names what the modules are made from: another file or a newer one means that they are made again.
fn made_from(wasm: &Path, own: &Path) -> Result<String> {
    let mut text = String::new();
    for input in std::iter::once(wasm.to_path_buf()).chain(OWN.map(|name| own.join(name))) {
        let facts = input.metadata().with_context(|| format!("cannot look at {}", input.display()))?;
        let modified = facts.modified().context("this file system keeps no times")?;
        writeln!(text, "{} {} {modified:?}", input.display(), facts.len()).context("cannot write text")?;
    }
    Ok(text)
}

//! The edge's tests: its own parts natively, then the built worker in workerd between an origin and an upstream of the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::exec;
use crate::project::Project;
use crate::setup::{self, build::cargo, edge, node};

/// Runs `cargo test -p edge` and `node --test` over `edge/tests`.
pub(crate) fn run(project: &Project) -> Result<()> {
    exec::stream(cargo(project).args(["test", "--package", "edge"]))?;
    let (modules, workerd) = {
        let _turn = setup::take_turn(project)?;
        node::check()?;
        (edge::build(project)?, node::workerd(&node::install(project)?)?)
    };
    let sample = project.state().join("corpus-sample.json");
    let mut runner = cargo(project);
    runner.args(["run", "--quiet", "--package", "corpus-runner", "--", "sample"]);
    let text = exec::read(&mut runner, &project.setup_log("corpus")?)?;
    std::fs::write(&sample, text).with_context(|| format!("cannot write {}", sample.display()))?;
    let mut command = Command::new("node");
    // File by file: later versions of Node take no folder.
    command.args(["--test", "--test-reporter=spec"]).args(node_tests(&project.path("edge/tests"))?);
    command.env("EDGE_DIST", modules).env("WORKERD", workerd).env("CORPUS_SAMPLE", sample);
    command.env("XTASK", std::env::current_exe().context("xtask does not know where it is")?);
    exec::stream(&mut command)
}

/// Every `*.test.mjs` of a folder, in order.
pub(crate) fn node_tests(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".test.mjs")))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("{} holds no *.test.mjs", folder.display());
    }
    Ok(files)
}

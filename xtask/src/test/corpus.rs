//! The corpus of `shared`, natively and in wasm: every verdict as expected, and both the same word by word.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use wasm_bindgen_cli_support::Bindgen;

use crate::exec;
use crate::project::Project;
use crate::setup::{build, node, wasm};

const PACKAGE: &str = "corpus-runner";

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Report { verdicts: Vec<String>, failures: Vec<String> },
    Unreadable { unreadable: String },
}

/// Builds the runner twice, runs both and compares.
pub(crate) fn run(project: &Project) -> Result<()> {
    let log = project.setup_log("corpus")?;
    let mut command = build::cargo(project);
    command.args(["build", "--package", PACKAGE]);
    let artifacts = build::build(&mut command, "corpus runner (native)", &log)?;
    let program = artifacts.executable(PACKAGE).context("cargo built no corpus runner")?;
    let native = verdicts("natively", &exec::read(&mut Command::new(program), &log)?)?;

    let mut command = wasm::ensure(project)?.cargo(project);
    command.args(["build", "--package", PACKAGE, "--lib", "--profile", "edge", "--target", wasm::TARGET]);
    let artifacts = build::build(&mut command, "corpus runner (wasm, as the edge is built)", &log)?;
    let module = artifacts
        .file("corpus_runner", ".wasm")
        .context("cargo built no wasm module of the corpus runner")?;
    let in_wasm = verdicts("in wasm", &exec::read(&mut in_node(project, &module)?, &log)?)?;

    let different: Vec<String> = native
        .iter()
        .zip(&in_wasm)
        .filter(|(native, wasm)| native != wasm)
        .map(|(native, wasm)| format!("  natively {native}\n  in wasm  {wasm}"))
        .collect();
    if native.len() != in_wasm.len() || !different.is_empty() {
        bail!(
            "{} verdicts natively and {} in wasm differ:\n{}",
            native.len(),
            in_wasm.len(),
            different.join("\n")
        );
    }
    println!("{} cases, the same verdicts natively and in wasm", native.len());
    Ok(())
}

/// A node that loads the wasm module and prints its outcome.
fn in_node(project: &Project, module: &Path) -> Result<Command> {
    node::check()?;
    let folder = project.state().join("corpus");
    Bindgen::new()
        .input_path(module)
        .nodejs(true)
        .and_then(|bindgen| bindgen.typescript(false).out_name("corpus").generate(&folder))
        .context("wasm-bindgen refused the corpus runner's module")?;
    let mut command = Command::new("node");
    command.arg("--print").arg("require('./corpus.js').run_corpus()").current_dir(folder);
    Ok(command)
}

fn verdicts(how: &str, text: &str) -> Result<Vec<String>> {
    match serde_json::from_str(text).with_context(|| format!("the corpus runner printed no outcome {how}"))? {
        Outcome::Unreadable { unreadable } => bail!("the corpus cannot be read {how}: {unreadable}"),
        Outcome::Report { failures, .. } if !failures.is_empty() => {
            bail!("{} verdicts are wrong {how}:\n  {}", failures.len(), failures.join("\n  "))
        }
        Outcome::Report { verdicts, .. } if verdicts.is_empty() => bail!("the corpus is empty {how}"),
        Outcome::Report { verdicts, .. } => Ok(verdicts),
    }
}

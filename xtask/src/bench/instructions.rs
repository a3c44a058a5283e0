//! Instructions of a decision, natively, as valgrind counts them: the same on a busy machine as on an idle one, so that a
//! regression is seen. Two runs that differ by a known number of decisions are taken from each other.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::report::Measure;
use crate::exec;
use crate::progress::{Step, say};
use crate::project::Project;
use crate::setup::build;

/// Where the counts of the last whole run are kept, beside the document that shows them.
const STORED: &str = "docs/instructions.json";
/// Beyond this much more than the stored count, a scenario counts as a regression.
const TOLERATED: f64 = 1.05;
/// Name of the example's scenario, of the measure, and for people.
const SCENARIOS: [(&str, &str, &str); 4] = [
    ("seen", "instructions_seen", "Instructions of a decision, token seen before"),
    ("new", "instructions_new", "Instructions of a decision, token never seen (EdDSA)"),
    ("refusal", "instructions_refusal", "Instructions of a decision, damaged token"),
    ("big", "instructions_big", "Instructions of a decision, token seen before, big policy"),
];
const FEW: u32 = 20;
const MANY: u32 = 120;

/// Counts; nothing where valgrind is not installed. Bounds are what was stored before.
pub(crate) fn measure(project: &Project) -> Result<Vec<Measure>> {
    if !exec::succeeds(Command::new("valgrind").arg("--version")) {
        say("  valgrind is not installed, so instructions are not counted");
        return Ok(Vec::new());
    }
    let log = project.setup_log("instructions")?;
    let mut command = build::cargo(project);
    command.args(["build", "--release", "--package", "shared", "--example", "decisions"]);
    let artifacts = build::build(&mut command, "decisions (cargo build --release)", &log)?;
    let program = artifacts.executable("decisions").context("cargo built no example called decisions")?;
    let stored = stored(&project.path(STORED));
    let step = Step::begin("instructions of a decision (valgrind)");
    let mut measures = Vec::new();
    for (scenario, name, text) in SCENARIOS {
        let of_few = count(&program, scenario, FEW, &log)?;
        let of_many = count(&program, scenario, MANY, &log)?;
        #[expect(clippy::cast_precision_loss, reason = "some millions")]
        let value = (of_many.saturating_sub(of_few) / u64::from(MANY - FEW)) as f64;
        let at_most = stored.get(name).and_then(Value::as_f64).map(|before| (before * TOLERATED).ceil());
        measures.push(Measure { name, text, value, unit: "", at_most });
    }
    step.done();
    Ok(measures)
}

/// Keeps the counts, as what the next run is held to.
pub(crate) fn store(project: &Project, measures: &[Measure]) -> Result<()> {
    let counts: Map<String, Value> = measures
        .iter()
        .filter(|measure| measure.name.starts_with("instructions_"))
        .map(|measure| (measure.name.to_owned(), measure.value.into()))
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    let path = project.path(STORED);
    fs::write(&path, format!("{:#}\n", Value::Object(counts)))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn stored(path: &Path) -> Map<String, Value> {
    fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The instructions of a whole run.
fn count(program: &Path, scenario: &str, decisions: u32, log: &Path) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([scenario, &decisions.to_string()])
        .output()
        .context("valgrind cannot be started")?;
    let text = String::from_utf8_lossy(&output.stderr);
    fs::write(log, text.as_bytes()).with_context(|| format!("cannot write {}", log.display()))?;
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    match collected.and_then(|(_, count)| count.trim().parse().ok()) {
        Some(count) if output.status.success() => Ok(count),
        _ => bail!("valgrind did not count; its words are in {}", log.display()),
    }
}

//! `cargo xtask fuzz`: libFuzzer on the parsers of untrusted input, and the replay of what it kept. Knows nothing of the parsers:
//! what must hold of them is in `fuzz/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::exec;
use crate::progress::{Step, say};
use crate::project::Project;
use crate::setup::build::cargo;

/// The longest input that is tried, in bytes: beyond every bound that a small field has.
const MAX_INPUT_BYTES: &str = "-max_len=4096";
/// The longest input that is kept in the repository.
const MAX_KEPT_BYTES: &str = "-max_len=1024";

/// Fuzzes the parsers of untrusted input, one target after the other.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask fuzz                             # every target for a minute each
  cargo xtask fuzz --target decide --seconds 600
  cargo xtask fuzz --seconds 600 --keep        # and keep what covers more in fuzz/corpus

Needs a nightly compiler and cargo-fuzz:
  rustup toolchain install nightly && cargo install cargo-fuzz --locked
`cargo xtask test --only shared` replays what was kept, and needs neither.")]
pub(crate) struct Options {
    /// Seconds a target
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Fuzzes this target and no other; may be given several times
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// Puts the smallest inputs that cover as much into fuzz/corpus afterwards
    #[arg(long)]
    keep: bool,
}

/// Fuzzes.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let known = targets(project)?;
    if let Some(unknown) = options.target.iter().find(|target| !known.contains(target)) {
        bail!("there is no target {unknown}; there are: {}", known.join(", "));
    }
    let chosen = known.iter().filter(|target| options.target.is_empty() || options.target.contains(target));
    if !exec::succeeds(nightly(project).args(["fuzz", "--version"])) {
        bail!(
            "a nightly compiler and cargo-fuzz are needed; get them with\n  rustup toolchain install nightly\n  cargo install cargo-fuzz --locked"
        );
    }
    let work = project.state().join("fuzz");
    let seeds = work.join("seeds");
    write_seeds(project, &seeds)?;
    let mut lines = Vec::new();
    let mut found = 0_u32;
    for target in chosen {
        match fuzz(project, &work, target, options) {
            Ok(()) => lines.push(format!("  ✓ {target}")),
            Err(error) => {
                found += 1;
                say(&format!("  ✗ {target}: {error:#}"));
                lines.push(format!("  ✗ {target}"));
            }
        }
    }
    for line in lines {
        say(&line);
    }
    if found > 0 {
        bail!("{found} targets found something; the inputs are in fuzz/artifacts");
    }
    Ok(())
}

/// Replays every input that was kept, and every seed: a plain test.
pub(crate) fn replay(project: &Project) -> Result<()> {
    let mut command = cargo(project);
    command.args(["test", "--no-default-features", "--manifest-path"]);
    command.arg(project.path("fuzz/Cargo.toml")).arg("--target-dir").arg(target_dir(project));
    exec::stream(&mut command)
}

fn fuzz(project: &Project, work: &Path, target: &str, options: &Options) -> Result<()> {
    let corpus = work.join(target);
    let kept = project.path("fuzz/corpus").join(target);
    let seeds = work.join("seeds").join(target);
    for folder in [&corpus, &kept, &seeds] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let step = Step::begin(format!("{target}: building, then {} s", options.seconds));
    let log = project.setup_log(&format!("fuzz-{target}"))?;
    let mut command = fuzzer(project, target);
    command.args([&corpus, &kept, &seeds]);
    command.args(["--", MAX_INPUT_BYTES, "-timeout=10", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={}", options.seconds));
    exec::run(&mut command, &log)?;
    step.done_with(&executions(&log));
    if options.keep {
        keep(project, target, &corpus, &kept)?;
    }
    Ok(())
}

/// Replaces `kept` by the smallest set of inputs that covers what `kept` and `corpus` cover.
fn keep(project: &Project, target: &str, corpus: &Path, kept: &Path) -> Result<()> {
    let fresh = kept.with_extension("new");
    // What an interrupted run left behind would be merged into.
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
    let mut command = fuzzer(project, target);
    command.args([&fresh, kept, corpus]);
    command.args(["--", "-set_cover_merge=1", "-use_counters=0", MAX_KEPT_BYTES, "-timeout=10"]);
    exec::run(&mut command, &project.setup_log(&format!("fuzz-{target}-keep"))?)?;
    fs::remove_dir_all(kept).with_context(|| format!("cannot clear {}", kept.display()))?;
    fs::rename(&fresh, kept).with_context(|| format!("cannot put {} in place", kept.display()))
}

/// `cargo fuzz run TARGET`. No sanitizer: there is no unsafe code, and without one many more inputs are tried.
fn fuzzer(project: &Project, target: &str) -> Command {
    let mut command = nightly(project);
    command.args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]).arg(project.path("fuzz"));
    command.arg("--target-dir").arg(target_dir(project)).arg(target);
    command
}

/// The nightly cargo, whatever toolchain runs xtask.
fn nightly(project: &Project) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(project.root()).env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn target_dir(project: &Project) -> PathBuf {
    project.path("target/fuzz")
}

/// Inputs of the shared corpus, as the fuzzer's first ones.
fn write_seeds(project: &Project, seeds: &Path) -> Result<()> {
    let step = Step::begin("seeds");
    let mut command = cargo(project);
    command.args(["run", "--no-default-features", "--example", "seeds", "--manifest-path"]);
    command.arg(project.path("fuzz/Cargo.toml")).arg("--target-dir").arg(target_dir(project));
    command.arg("--").arg(seeds);
    exec::run(&mut command, &project.setup_log("fuzz-seeds")?)?;
    step.done();
    Ok(())
}

/// The names of the targets: one file each.
fn targets(project: &Project) -> Result<Vec<String>> {
    let folder = project.path("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(ToOwned::to_owned)).collect();
    names.sort_unstable();
    Ok(names)
}

/// How many inputs were tried, as libFuzzer says at its end.
fn executions(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.map_or_else(String::new, |count| format!("{} inputs", count.trim()))
}

//! Commands that run to their end: cargo, npm, `gateward migrate`. Their output goes to a log, of which the end is shown
//! when they fail. Long-lived parts are `up::supervisor`'s business.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Pid;

use crate::signals::JobGuard;

/// How many lines of a log are shown when its command fails.
const TAIL_LINES: usize = 25;

/// Runs `command` with its output in `log`; its failure is an error that shows the log's end.
pub(crate) fn run(command: &mut Command, log: &Path) -> Result<()> {
    let (stdout, stderr) = log_files(log)?;
    let mut child = spawn(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr))?;
    let status = wait(&mut child)?;
    check(command, status, log)
}

/// Runs `command` and returns what it printed; its stderr goes to `log`.
pub(crate) fn read(command: &mut Command, log: &Path) -> Result<String> {
    let (_, stderr) = log_files(log)?;
    let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr))?;
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut text).context("its output is not text")?;
    }
    let status = wait(&mut child)?;
    check(command, status, log)?;
    Ok(text)
}

/// Runs `command` with its output where xtask's own goes; for tests, whose words people want to read as they come.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let mut child = spawn(command.stdin(Stdio::null()))?;
    let status = wait(&mut child)?;
    if !status.success() {
        bail!("`{}` failed ({status})", shown(command));
    }
    Ok(())
}

/// Whether `command` can be started and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Starts `command` in a process group of its own, so that a signal stops it with all it started.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    // Cargo's variables of xtask's own build would change the fingerprints of nested builds.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_CRATE_NAME"
        {
            command.env_remove(&name);
        }
    }
    command.process_group(0).spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        match error.kind() {
            ErrorKind::NotFound => anyhow!("`{program}` is not installed, or not on the PATH"),
            _ => anyhow!(error).context(format!("`{program}` cannot be started")),
        }
    })
}

/// Waits for a child of [`spawn`], which a signal stops meanwhile.
pub(crate) fn wait(child: &mut Child) -> Result<ExitStatus> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
    let _guard = JobGuard::register(group);
    child.wait().context("cannot wait for a command")
}

/// Turns a failed status into an error with the log's end.
pub(crate) fn check(command: &Command, status: ExitStatus, log: &Path) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{}` failed ({status}); the end of {}:\n{}", shown(command), log.display(), tail(log))
}

/// Two handles on a fresh log, for stdout and stderr.
pub(crate) fn log_files(log: &Path) -> Result<(File, File)> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let twin = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    Ok((file, twin))
}

/// The last lines of a log, indented.
pub(crate) fn tail(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "    (it is empty)".to_owned();
    }
    let kept = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
    kept.map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

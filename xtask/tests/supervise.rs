//! `xtask supervise`, as `up` uses it: real processes, and none of them left behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

struct Wrapper {
    child: Child,
    orders: Option<ChildStdin>,
    reports: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
}

impl Wrapper {
    /// Runs a shell script; `ready` in its output means that it has come as far as the test needs.
    fn start(name: &str, grace_ms: u32, script: &str) -> Self {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("supervise-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["supervise", "--stop-signal", "term", "--grace-ms", &grace_ms.to_string(), "--log"])
            .arg(folder.join("log"))
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let reports = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders, reports, folder }
    }

    fn report(&mut self) -> String {
        self.reports.next().unwrap().unwrap()
    }

    fn pid(&mut self) -> u32 {
        self.report().strip_prefix("pid ").unwrap().parse().unwrap()
    }

    /// Waits until the script has logged this many lines.
    fn logged(&self, lines: usize) -> Vec<String> {
        for _ in 0..500 {
            let text = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if text.ends_with('\n') && text.lines().count() >= lines {
                return text.lines().map(str::to_owned).collect();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the script did not log {lines} lines within 5 s");
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{line}").unwrap();
    }

    fn finish(mut self) {
        assert!(self.child.wait().unwrap().success());
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie that its new parent has not collected yet is dead.
    if Path::new("/proc/self").exists() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        return status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'));
    }
    Command::new("ps").args(["-o", "stat=", "-p", pid]).output().is_ok_and(|output| {
        let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    })
}

#[test]
fn an_exit_code_is_reported() {
    let mut wrapper = Wrapper::start("code", 1_000, "exit 7");
    wrapper.pid();
    assert_eq!(wrapper.report(), "exit with code 7");
    wrapper.finish();
}

#[test]
fn the_end_of_the_pipe_stops_the_program_and_its_helpers() {
    let mut wrapper = Wrapper::start("pipe", 5_000, "sleep 1000 & echo $!; wait");
    let pid = wrapper.pid();
    let helper = wrapper.logged(1).remove(0);
    assert!(is_alive(&helper));
    wrapper.orders = None;
    assert_eq!(wrapper.report(), "exit by signal 15");
    assert!(!is_alive(&pid.to_string()));
    assert!(!is_alive(&helper));
    wrapper.finish();
}

#[test]
fn a_program_that_ignores_the_signal_is_killed_after_the_grace() {
    let mut wrapper = Wrapper::start("grace", 200, "trap '' TERM; echo ready; while :; do sleep 1; done");
    wrapper.pid();
    wrapper.logged(1);
    wrapper.order("stop");
    assert_eq!(wrapper.report(), "exit by signal 9");
    wrapper.finish();
}

#[test]
fn kill_waits_for_nothing() {
    let mut wrapper = Wrapper::start("kill", 60_000, "trap '' TERM; echo ready; while :; do sleep 1; done");
    wrapper.pid();
    wrapper.logged(1);
    wrapper.order("kill");
    assert_eq!(wrapper.report(), "exit by signal 9");
    wrapper.finish();
}

#[test]
fn a_program_that_is_missing_is_an_error_with_its_name() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "supervise",
            "--stop-signal",
            "term",
            "--grace-ms",
            "1",
            "--log",
            "/dev/null",
            "--",
            "/no/such/program",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let report = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(report.starts_with("error `/no/such/program` cannot be started"), "{report}");
    assert!(!child.wait().unwrap().success());
}

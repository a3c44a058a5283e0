//! One part of a running gateway: how it is started, when it counts as ready, and the supervised process behind it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use super::supervisor::Event;
use crate::clock;
use crate::postgres::Identity;
use crate::supervise::StopSignal;

/// When a part counts as ready.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// As soon as it runs.
    Running,
    /// When this URL answers 200.
    Http(String),
    /// When Postgres has written `ready` into this file.
    Postmaster(PathBuf),
}

/// How a part is started. The same plan serves every restart.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name in messages, in `up.json` and at the control endpoint.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    /// Another user to run as; only Postgres, and only when we are root.
    pub(crate) identity: Option<Identity>,
    pub(crate) stop_signal: StopSignal,
    /// How long it may take to end when asked to.
    pub(crate) grace: Duration,
    pub(crate) ready: Ready,
    /// How long it may take to be ready.
    pub(crate) patience: Duration,
}

/// A started part: a handle on its wrapper process.
#[derive(Debug)]
pub(crate) struct Process {
    wrapper: Child,
    orders: ChildStdin,
}

impl Plan {
    /// Starts the part. What happens to it arrives as events, marked with `run` to tell restarts apart.
    pub(crate) fn start(&self, run: u64, events: Sender<Event>) -> Result<Process> {
        let mut command = Command::new(own_program()?);
        command.arg0("xtask").arg("supervise").arg("--log").arg(&self.log);
        command.args(["--stop-signal", if self.stop_signal == StopSignal::Int { "int" } else { "term" }]);
        command.arg("--grace-ms").arg(self.grace.as_millis().to_string());
        if let Some(identity) = &self.identity {
            command.arg("--uid").arg(identity.uid.to_string()).arg("--gid").arg(identity.gid.to_string());
        }
        command.arg("--").arg(&self.program).args(&self.arguments);
        command.envs(&self.environment).current_dir(&self.folder);
        // A group of its own: the terminal's Ctrl-C is for `up`, which then stops its parts in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut wrapper = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let orders = wrapper.stdin.take().context("a wrapper without stdin")?;
        let reports = wrapper.stdout.take().context("a wrapper without stdout")?;

        let name = self.name;
        std::thread::Builder::new()
            .spawn(move || forward_reports(name, run, BufReader::new(reports), &events))
            .context("cannot start a thread")?;
        Ok(Process { wrapper, orders })
    }

    /// Whether the part is ready at this moment.
    fn is_ready(&self) -> bool {
        match &self.ready {
            Ready::Running => true,
            Ready::Http(url) => answers(url),
            Ready::Postmaster(file) => std::fs::read_to_string(file)
                .is_ok_and(|text| text.lines().last().is_some_and(|line| line.trim() == "ready")),
        }
    }

    /// Watches, beside everything else, for the part to become ready.
    pub(crate) fn watch_readiness(&self, run: u64, events: Sender<Event>) -> Result<()> {
        let plan = self.clone();
        let watch = move || {
            let ready =
                clock::poll(plan.patience, Duration::from_millis(20), || plan.is_ready().then_some(()));
            // Nobody listens any more when `up` is already stopping.
            let _ = events.send(match ready {
                Some(()) => Event::Ready { name: plan.name, run },
                None => Event::NotReady { name: plan.name, run },
            });
        };
        std::thread::Builder::new().spawn(watch).context("cannot start a thread")?;
        Ok(())
    }
}

impl Process {
    /// Asks the part to end; the wrapper sees to it that it does.
    pub(crate) fn stop(&mut self) {
        self.order("stop\n");
    }

    /// Ends the part with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.order("kill\n");
    }

    /// A wrapper that has ended takes no orders; its end is reported as an event.
    fn order(&mut self, line: &str) {
        let _ = self.orders.write_all(line.as_bytes()).and_then(|()| self.orders.flush());
    }

    /// Collects the wrapper once its part has ended.
    pub(crate) fn reap(mut self) {
        drop(self.orders);
        let _ = self.wrapper.wait();
    }
}

/// Whether an HTTP GET of `url` answers 200 within two seconds.
pub(crate) fn answers(url: &str) -> bool {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().into();
    agent.get(url).call().is_ok_and(|response| response.status() == 200)
}

/// The running program itself, even when a newer build has replaced its file.
fn own_program() -> Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe().context("cannot find xtask's own program")
}

fn forward_reports(name: &'static str, run: u64, reports: impl BufRead, events: &Sender<Event>) {
    let mut pid = None;
    for line in reports.lines().map_while(Result::ok) {
        let event = match line.split_once(' ') {
            Some(("pid", number)) => {
                pid = number.parse().ok();
                Event::Started { name, run, pid: pid.unwrap_or_default() }
            }
            Some(("exit" | "error", how)) => {
                let _ = events.send(Event::Ended { name, run, how: how.to_owned() });
                return;
            }
            _ => continue,
        };
        if events.send(event).is_err() {
            return;
        }
    }
    // The wrapper itself was killed: its part must not outlive it.
    if let Some(group) = pid.and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = events.send(Event::Ended { name, run, how: "because its supervisor was killed".to_owned() });
}

//! Processes of a run. Each runs under `xtask supervise`, which ends it when this process is gone for whatever reason. A [`Service`]
//! starts its process again whenever it ends, as a service manager would; it may not know why it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::timeline::Timeline;

/// How long a process gets to end when it is asked to.
const GRACE_MS: u64 = 5_000;
/// The wait before a process that ended is started again.
const RESTART: Duration = Duration::from_millis(20);

/// How a process is started.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Spec {
    /// Its name in the timeline.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    /// User and group to run it as; only when we are root.
    pub(crate) identity: Option<(u32, u32)>,
    /// The `xtask` that supervises it.
    pub(crate) xtask: PathBuf,
}

/// A process that runs.
pub(crate) struct Running {
    pid: Pid,
    reports: Lines<BufReader<ChildStdout>>,
    wrapper: Child,
    // While this is open the wrapper keeps the process.
    _orders: ChildStdin,
}

impl Spec {
    /// Starts it.
    pub(crate) async fn start(&self, more: Option<&(String, String)>) -> Result<Running> {
        let mut command = Command::new(&self.xtask);
        command.arg("supervise").arg("--log").arg(&self.log).args(["--stop-signal", "term"]);
        command.arg("--grace-ms").arg(GRACE_MS.to_string());
        if let Some((uid, gid)) = self.identity {
            command.arg("--uid").arg(uid.to_string()).arg("--gid").arg(gid.to_string());
        }
        command.arg("--").arg(&self.program).args(&self.arguments).current_dir(&self.folder);
        command.envs(&self.environment).envs(more.map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut wrapper = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let orders = wrapper.stdin.take().context("a wrapper without stdin")?;
        let reports = wrapper.stdout.take().context("a wrapper without stdout")?;
        let mut reports = BufReader::new(reports).lines();
        let first = reports.next_line().await?.unwrap_or_default();
        let pid = first.strip_prefix("pid ").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let Some(pid) = pid else { bail!("{} did not start: {first}", self.name) };
        Ok(Running { pid, reports, wrapper, _orders: orders })
    }
}

impl Running {
    /// The process itself, not its wrapper.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended, and says how.
    pub(crate) async fn ended(&mut self) -> String {
        let line = self.reports.next_line().await.ok().flatten();
        // The wrapper has nothing left to do; a zombie of it would stay for the run's length.
        let _ = self.wrapper.wait().await;
        line.unwrap_or_else(|| "its supervisor was killed".to_owned())
    }
}

#[derive(Debug, Default)]
struct State {
    pid: Mutex<Option<Pid>>,
    /// How often it was started.
    starts: AtomicU64,
    /// Whether it is not to be started again when it ends.
    is_over: AtomicBool,
    /// Whether it is not to be started for now.
    is_held: AtomicBool,
}

/// A process that is started again whenever it ends.
pub(crate) struct Service {
    name: String,
    state: Arc<State>,
    timeline: Timeline,
    started: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Service {
    /// Starts it. `first` is a variable that only the first start gets.
    pub(crate) fn start(spec: Spec, timeline: &Timeline, first: Option<(String, String)>) -> Self {
        let state = Arc::new(State::default());
        let (sender, started) = watch::channel(0);
        let (name, keeper, notes) = (spec.name.clone(), Arc::clone(&state), timeline.clone());
        let task = tokio::spawn(async move {
            let mut first = first;
            while !keeper.is_over.load(Ordering::SeqCst) {
                if keeper.is_held.load(Ordering::SeqCst) {
                    tokio::time::sleep(RESTART).await;
                    continue;
                }
                match spec.start(first.as_ref()).await {
                    Ok(mut running) => {
                        first = None;
                        keeper.set(Some(running.pid()));
                        let count = keeper.starts.fetch_add(1, Ordering::SeqCst) + 1;
                        notes.note(format!("{} started as {}", spec.name, running.pid().as_raw_nonzero()));
                        sender.send_replace(count);
                        if keeper.is_over.load(Ordering::SeqCst) {
                            // It was told to end while it was being started, and there was nobody to tell.
                            let _ = kill_process(running.pid(), Signal::KILL);
                        }
                        let how = running.ended().await;
                        keeper.set(None);
                        notes.note(format!("{} ended: {how}", spec.name));
                    }
                    Err(error) => notes.note(format!("{error:#}")),
                }
                tokio::time::sleep(RESTART).await;
            }
        });
        Self { name, state, timeline: timeline.clone(), started, task }
    }

    /// The process that runs now.
    pub(crate) fn pid(&self) -> Option<Pid> {
        *self.state.pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u64 {
        self.state.starts.load(Ordering::SeqCst)
    }

    /// Sends a signal; false when nothing runs at this moment.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        let sent = self.pid().is_some_and(|pid| kill_process(pid, signal).is_ok());
        let missed = if sent { "" } else { " (not running)" };
        self.timeline.note(format!("{signal:?} to {}{missed}", self.name));
        sent
    }

    /// Whether it stays down once it has ended, until this is taken back.
    pub(crate) fn hold(&self, held: bool) {
        self.state.is_held.store(held, Ordering::SeqCst);
    }

    /// Waits until it runs for the `count`th time at least.
    pub(crate) async fn started(&self, count: u64) -> Result<()> {
        let mut started = self.started.clone();
        let waited =
            tokio::time::timeout(Duration::from_mins(1), started.wait_for(|seen| *seen >= count)).await;
        waited
            .with_context(|| format!("{} was not started within a minute", self.name))?
            .map(drop)
            .map_err(Into::into)
    }

    /// Ends it for good.
    pub(crate) async fn stop(self, signal: Signal) -> Result<()> {
        self.state.is_over.store(true, Ordering::SeqCst);
        if let Some(pid) = self.pid() {
            // One that was stopped takes no other signal.
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, signal);
        }
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task);
        ended.await.with_context(|| format!("{} did not end within 20 s", self.name))?.map_err(Into::into)
    }
}

impl State {
    fn set(&self, pid: Option<Pid>) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }
}

//! Ctrl-C and SIGTERM. One thread takes them: while set-up commands run it stops those and leaves; while parts run it
//! tells their supervisor. Never stops anything that xtask did not start.

use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Listener = Box<dyn Fn(i32) + Send>;

#[derive(Default)]
struct Watch {
    /// Process groups of commands that run to their end (cargo, npm, …).
    jobs: Vec<Pid>,
    /// Whoever runs parts, and stops them itself.
    listener: Option<Listener>,
}

impl Watch {
    fn end_jobs(&mut self) {
        for job in self.jobs.drain(..) {
            // It may have ended by itself in the meantime.
            let _ = kill_process_group(job, Signal::TERM);
        }
    }
}

static WATCH: LazyLock<Mutex<Watch>> = LazyLock::new(Mutex::default);

fn with_watch<T>(act: impl FnOnce(&mut Watch) -> T) -> T {
    act(&mut WATCH.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Takes over SIGINT, SIGTERM and SIGHUP for the rest of the process' life.
pub(crate) fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot handle signals")?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                with_watch(|watch| {
                    watch.end_jobs();
                    match &watch.listener {
                        Some(listener) => listener(signal),
                        None => std::process::exit(128 + signal),
                    }
                });
            }
        })
        .context("cannot start the thread that handles signals")?;
    Ok(())
}

/// From now on `listener` is told of signals, instead of xtask ending at once.
pub(crate) fn listen(listener: impl Fn(i32) + Send + 'static) {
    with_watch(|watch| watch.listener = Some(Box::new(listener)));
}

/// From now on a signal ends xtask at once again.
pub(crate) fn unlisten() {
    with_watch(|watch| watch.listener = None);
}

/// Ends the commands that run now, as a signal would.
pub(crate) fn end_jobs() {
    with_watch(Watch::end_jobs);
}

/// A command that a signal stops while this value lives.
pub(crate) struct JobGuard(Pid);

impl JobGuard {
    /// Registers the leader of a process group.
    pub(crate) fn register(group: Pid) -> Self {
        with_watch(|watch| watch.jobs.push(group));
        Self(group)
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        with_watch(|watch| watch.jobs.retain(|job| *job != self.0));
    }
}

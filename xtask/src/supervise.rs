//! `xtask supervise`: the small process between `up` and each part it runs. It holds a pipe to `up`; when the pipe ends,
//! for whatever reason (`kill -9` of `up` too), it stops the part. It knows nothing of what the part is.
//!
//! Towards `up`, on stdout: `pid N` once the part runs, then `exit TEXT` when it has ended, or `error TEXT`.
//! From `up`, on stdin: `stop` (the part's own signal, then SIGKILL after the grace), `kill` (SIGKILL at once).

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::clock::Deadline;

/// How a part is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StopSignal {
    /// SIGTERM: finish what is under way, then end.
    Term,
    /// SIGINT: Postgres' fast shutdown.
    Int,
}

/// Runs one program and stops it when stdin ends. Started by `up`, never by hand.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// File that gets the program's output, appended.
    #[arg(long)]
    log: PathBuf,
    /// Signal that asks the program to end.
    #[arg(long, value_enum)]
    stop_signal: StopSignal,
    /// Milliseconds between that signal and SIGKILL.
    #[arg(long)]
    grace_ms: u64,
    /// User id to run the program as (needs root).
    #[arg(long, requires = "gid")]
    uid: Option<u32>,
    /// Group id to run the program as.
    #[arg(long)]
    gid: Option<u32>,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

enum Event {
    /// The program has ended but is not reaped yet, so its process group is still its own.
    Ended,
    Stop,
    Kill,
}

/// Runs the program to its end. The exit code says only whether this wrapper did its work.
pub(crate) fn run(options: &Options) -> ExitCode {
    match supervise(options) {
        Ok(status) => {
            report(&format!("exit {}", describe(status)));
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&format!("error {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn supervise(options: &Options) -> Result<ExitStatus> {
    let (sender, events) = channel();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&options.log)
        .with_context(|| format!("cannot write {}", options.log.display()))?;
    let (program, arguments) = options.command.split_first().context("no program given")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    if let (Some(uid), Some(gid)) = (options.uid, options.gid) {
        command.uid(uid).gid(gid);
    }
    // Before the program starts, so that no signal falls between the two.
    watch_signals(sender.clone())?;
    let mut child =
        command.spawn().with_context(|| format!("`{}` cannot be started", program.to_string_lossy()))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
    report(&format!("pid {}", child.id()));

    watch_parent(sender.clone())?;
    watch_child(sender, group)?;
    shepherd(&events, group, options);

    // Whatever the program left behind in its group goes with it.
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().context("cannot wait for the program")
}

/// Passes on orders until the program has ended.
fn shepherd(events: &Receiver<Event>, group: Pid, options: &Options) {
    let mut deadline: Option<Deadline> = None;
    loop {
        let event = match deadline.map(Deadline::remaining) {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Some(left)) => events.recv_timeout(left),
            Some(None) => Err(RecvTimeoutError::Timeout),
        };
        match event {
            Ok(Event::Stop) if deadline.is_none() => {
                let signal = match options.stop_signal {
                    StopSignal::Term => Signal::TERM,
                    StopSignal::Int => Signal::INT,
                };
                // To the leader's whole group: a program may have helpers that would hold its port.
                let _ = kill_process_group(group, signal);
                deadline = Some(Deadline::after(Duration::from_millis(options.grace_ms)));
            }
            Ok(Event::Stop) => {}
            Ok(Event::Kill) | Err(RecvTimeoutError::Timeout) => {
                let _ = kill_process_group(group, Signal::KILL);
                deadline = None;
            }
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Orders from `up`; the end of the pipe means that it is gone.
fn watch_parent(events: Sender<Event>) -> Result<()> {
    let watch = move || {
        for line in std::io::stdin().lock().lines() {
            let event = match line.as_deref() {
                Ok("stop") => Event::Stop,
                Ok("kill") => Event::Kill,
                Ok(_) => continue,
                Err(_) => break,
            };
            if events.send(event).is_err() {
                return;
            }
        }
        let _ = events.send(Event::Stop);
    };
    std::thread::Builder::new().spawn(watch).context("cannot start a thread")?;
    Ok(())
}

/// Learns that the program has ended without reaping it.
fn watch_child(events: Sender<Event>, child: Pid) -> Result<()> {
    let watch = move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(child), options).is_err_and(|error| error == rustix::io::Errno::INTR) {}
        let _ = events.send(Event::Ended);
    };
    std::thread::Builder::new().spawn(watch).context("cannot start a thread")?;
    Ok(())
}

/// A signal to this wrapper means: stop the program.
fn watch_signals(events: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot handle signals")?;
    let watch = move || {
        for _ in signals.forever() {
            if events.send(Event::Stop).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().spawn(watch).context("cannot start a thread")?;
    Ok(())
}

/// One line to `up`. When `up` is gone there is nobody to tell.
fn report(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "for an unknown reason".to_owned(),
    }
}

//! Runs the parts of a gateway: starts them in order, notices when one ends unasked, stops them in reverse order, and
//! obeys the control endpoint. One thread, one channel of events; knows nothing of what the parts do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::part::{Plan, Process};
use crate::clock::Deadline;
use crate::exec;

/// What reaches the supervisor.
pub(crate) enum Event {
    Started {
        name: &'static str,
        run: u64,
        pid: i32,
    },
    Ready {
        name: &'static str,
        run: u64,
    },
    NotReady {
        name: &'static str,
        run: u64,
    },
    Ended {
        name: &'static str,
        run: u64,
        how: String,
    },
    Signal(i32),
    /// Whoever works beside the gateway has finished.
    Finished,
    Order {
        order: Order,
        reply: Sender<Result<String, String>>,
    },
}

/// What the control endpoint may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Status,
    Start(String),
    Stop(String),
    Kill(String),
}

/// Why the supervisor returned.
#[derive(Debug)]
pub(crate) enum End {
    /// A signal asked for it.
    Signal(i32),
    /// What ran beside it has finished.
    Finished,
    /// A part ended that nobody had asked to end.
    Crash { name: &'static str, how: String },
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => write!(formatter, "finished"),
            Self::Signal(signal) => write!(formatter, "stopped by signal {signal}"),
            Self::Crash { name, how } => write!(formatter, "{name} {how}"),
        }
    }
}

impl std::error::Error for End {}

#[derive(Debug)]
enum State {
    Stopped,
    Starting,
    Ready,
    /// Asked to end, by the control endpoint or because everything ends.
    Ending,
}

struct Entry {
    plan: Plan,
    state: State,
    process: Option<Process>,
    pid: Option<i32>,
    /// Counts starts, so that events of an earlier one are not taken for the present one.
    run: u64,
    /// Who asked over the control endpoint, and waits for the outcome.
    waiting: Option<Sender<Result<String, String>>>,
}

/// The parts of one gateway.
pub(crate) struct Supervisor {
    entries: Vec<Entry>,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Supervisor {
    /// A supervisor without parts.
    pub(crate) fn new() -> Self {
        let (sender, events) = channel();
        Self { entries: Vec::new(), sender, events }
    }

    /// Where events for it go.
    pub(crate) fn sender(&self) -> Sender<Event> {
        self.sender.clone()
    }

    /// Process ids of the parts that run.
    pub(crate) fn pids(&self) -> BTreeMap<&'static str, i32> {
        self.entries.iter().filter_map(|entry| Some((entry.plan.name, entry.pid?))).collect()
    }

    /// Starts parts together and returns when all are ready.
    pub(crate) fn start(&mut self, plans: impl IntoIterator<Item = Plan>) -> Result<()> {
        for plan in plans {
            // What an earlier run logged would mislead whoever reads the end of it.
            let _ = std::fs::remove_file(&plan.log);
            self.entries.push(Entry {
                plan,
                state: State::Stopped,
                process: None,
                pid: None,
                run: 0,
                waiting: None,
            });
            let last = self.entries.len() - 1;
            self.launch(last)?;
        }
        while self.entries.iter().any(|entry| matches!(entry.state, State::Starting)) {
            let event = self.events.recv().context("no more events")?;
            if let Some(end) = self.handle(event, &mut |_| ()) {
                return Err(end.into());
            }
        }
        Ok(())
    }

    /// Runs until a signal or a crash. `changed` is called whenever a process id has changed.
    pub(crate) fn run(&mut self, changed: &mut dyn FnMut(&BTreeMap<&'static str, i32>)) -> Result<End> {
        loop {
            let event = self.events.recv().context("no more events")?;
            if let Some(end) = self.handle(event, changed) {
                return Ok(end);
            }
        }
    }

    /// Stops what runs, the last started first. A second signal turns this into SIGKILL.
    pub(crate) fn stop_all(&mut self) -> Result<()> {
        let mut impatient = false;
        let mut stuck = Vec::new();
        for index in (0..self.entries.len()).rev() {
            let Some(entry) = self.entries.get_mut(index) else { continue };
            let Some(process) = entry.process.as_mut() else { continue };
            entry.state = State::Ending;
            if impatient {
                process.kill();
            } else {
                process.stop();
            }
            // The wrapper sends SIGKILL after the grace; a little more, and it is stuck itself.
            let deadline = Deadline::after(entry.plan.grace + Duration::from_secs(10));
            impatient |= self.wait_for_end(index, deadline);
            if let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.process.is_some()) {
                let pid = entry.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
                stuck.push(format!("{}{pid}", entry.plan.name));
            }
        }
        if !stuck.is_empty() {
            bail!("these did not end, not even by SIGKILL: {}", stuck.join(", "));
        }
        Ok(())
    }

    /// Waits until a part has ended, or the deadline; says whether a signal made it impatient.
    fn wait_for_end(&mut self, index: usize, deadline: Deadline) -> bool {
        let mut impatient = false;
        while self.entries.get(index).is_some_and(|entry| entry.process.is_some()) {
            let Some(left) = deadline.remaining() else { break };
            match self.events.recv_timeout(left) {
                Ok(Event::Signal(_)) => {
                    impatient = true;
                    if let Some(process) =
                        self.entries.get_mut(index).and_then(|entry| entry.process.as_mut())
                    {
                        process.kill();
                    }
                }
                Ok(Event::Order { reply, .. }) => {
                    let _ = reply.send(Err("everything is being stopped".to_owned()));
                }
                Ok(event) => {
                    let _ = self.handle(event, &mut |_| ());
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        impatient
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let sender = self.sender.clone();
        let entry = self.entries.get_mut(index).context("no such part")?;
        entry.run += 1;
        entry.state = State::Starting;
        entry.process = Some(entry.plan.start(entry.run, sender)?);
        Ok(())
    }

    fn current(&mut self, name: &str, run: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.plan.name == name && entry.run == run)
    }

    /// Acts on one event; `Some` when running is over.
    fn handle(&mut self, event: Event, changed: &mut dyn FnMut(&BTreeMap<&'static str, i32>)) -> Option<End> {
        let sender = self.sender.clone();
        match event {
            Event::Signal(signal) => return Some(End::Signal(signal)),
            Event::Finished => return Some(End::Finished),
            Event::Order { order, reply } => self.obey(&order, reply),
            Event::Started { name, run, pid } => {
                let entry = self.current(name, run)?;
                entry.pid = Some(pid);
                if let Err(error) = entry.plan.watch_readiness(run, sender) {
                    return Some(End::Crash { name, how: format!("cannot be watched: {error:#}") });
                }
            }
            Event::Ready { name, run } => {
                let entry = self.current(name, run)?;
                if matches!(entry.state, State::Starting) {
                    entry.state = State::Ready;
                    let waiting = entry.waiting.take();
                    let text = status_line(entry);
                    changed(&self.pids());
                    if let Some(reply) = waiting {
                        let _ = reply.send(Ok(text));
                    }
                }
            }
            Event::NotReady { name, run } => {
                let entry = self.current(name, run)?;
                if matches!(entry.state, State::Starting) {
                    let how = format!("was not ready within {} s", entry.plan.patience.as_secs());
                    return Some(End::Crash { name, how });
                }
            }
            Event::Ended { name, run, how } => {
                let entry = self.current(name, run)?;
                let asked = matches!(entry.state, State::Ending);
                entry.state = State::Stopped;
                entry.pid = None;
                if let Some(process) = entry.process.take() {
                    process.reap();
                }
                let waiting = entry.waiting.take();
                if !asked {
                    return Some(End::Crash { name, how: format!("ended {how}") });
                }
                let text = status_line(entry);
                changed(&self.pids());
                if let Some(reply) = waiting {
                    let _ = reply.send(Ok(text));
                }
            }
        }
        None
    }

    fn obey(&mut self, order: &Order, reply: Sender<Result<String, String>>) {
        let (Order::Start(name) | Order::Stop(name) | Order::Kill(name)) = order else {
            let _ = reply.send(Ok(self.entries.iter().map(status_line).collect::<Vec<_>>().join("\n")));
            return;
        };
        let Some(index) = self.entries.iter().position(|entry| entry.plan.name == name) else {
            let names: Vec<_> = self.entries.iter().map(|entry| entry.plan.name).collect();
            let _ = reply.send(Err(format!("no part is called {name}; there are {}", names.join(", "))));
            return;
        };
        let outcome = match order {
            Order::Start(_) => self.order_start(index),
            Order::Stop(_) => self.order_end(index, Process::stop),
            Order::Kill(_) => self.order_end(index, Process::kill),
            Order::Status => Ok(()),
        };
        let Some(entry) = self.entries.get_mut(index) else { return };
        match outcome {
            Ok(()) => entry.waiting = Some(reply),
            Err(reason) => {
                let _ = reply.send(Err(reason));
            }
        }
    }

    fn order_start(&mut self, index: usize) -> Result<(), String> {
        match self.entries.get(index).map(|entry| &entry.state) {
            Some(State::Stopped) => self.launch(index).map_err(|error| format!("{error:#}")),
            _ => Err("it is not stopped".to_owned()),
        }
    }

    fn order_end(&mut self, index: usize, end: fn(&mut Process)) -> Result<(), String> {
        let entry = self.entries.get_mut(index).ok_or("no such part")?;
        match (&entry.state, entry.process.as_mut()) {
            (State::Ready, Some(process)) => {
                entry.state = State::Ending;
                end(process);
                Ok(())
            }
            _ => Err("it is not running".to_owned()),
        }
    }

    /// The end of a part's log, for the message about its crash.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        self.entries.iter().find(|entry| entry.plan.name == name).map_or_else(String::new, |entry| {
            format!("the end of {}:\n{}", entry.plan.log.display(), exec::tail(&entry.plan.log))
        })
    }
}

/// `origin ready 1234`: what the control endpoint answers.
fn status_line(entry: &Entry) -> String {
    let state = match entry.state {
        State::Stopped => "stopped",
        State::Starting => "starting",
        State::Ready => "ready",
        State::Ending => "ending",
    };
    let pid = entry.pid.map_or_else(String::new, |pid| format!(" {pid}"));
    format!("{} {state}{pid}", entry.plan.name)
}

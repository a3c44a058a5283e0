//! `cargo xtask bench outbox`: appending, draining and delivering events on a Postgres of its own, with fsync, beside what one would
//! write by hand. The measuring is the bench of the package `origin`; this starts the server, makes ratios of the rounds and writes
//! them down.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::process;
use super::report::{median, write_section};
use crate::clock;
use crate::entropy;
use crate::exec;
use crate::postgres::Server;
use crate::progress::{Step, say};
use crate::project::Project;
use crate::setup::{self, build::cargo, node};
use crate::signals;
use crate::up::ports::PortOptions;
use crate::up::supervisor::{Event, Supervisor};

/// An administrator's URL; with it set, that server is used.
const VARIABLE: &str = "GATEWARD_BENCH_DATABASE_URL";

/// Appending, draining and delivering events, beside bare inserts and COPY.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench outbox
  cargo xtask bench outbox --rounds 1 --seconds 1 --json  # a quick look, noisier; docs/benchmarks.md stays as it is")]
pub(crate) struct Options {
    /// Rounds; everything is measured once a round, in turning order
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u16).range(1..=50))]
    rounds: u16,
    /// Seconds a measurement
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u16).range(1..=60))]
    seconds: u16,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const ROUNDS: u16 = 5;
const SECONDS: u16 = 3;

/// What the measuring prints.
#[derive(Debug, Deserialize)]
struct Measured {
    clients: u32,
    batch: u32,
    postgres: String,
    rounds: Vec<Round>,
}

/// Rates are a second's.
#[derive(Debug, Deserialize)]
struct Round {
    append: f64,
    bare: f64,
    batch: f64,
    copy: f64,
    drain: f64,
    drain_postgres: f64,
    latency: Latency,
    wal: f64,
}

#[derive(Debug, Deserialize)]
struct Latency {
    events: u32,
    p50_ms: f64,
    p99_ms: f64,
    sink_p50_ms: f64,
    sink_p99_ms: f64,
}

/// A figure with the goal it is held to.
struct Figure {
    name: &'static str,
    text: &'static str,
    rounds: Vec<f64>,
    unit: &'static str,
    goal: f64,
    at_least: bool,
}

/// Runs the bench.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let load_before = process::load_average();
    let text = match std::env::var(VARIABLE) {
        Ok(url) => measure(project, options, &url)?,
        Err(_) => with_postgres(project, |url| measure(project, options, url))?,
    };
    let measured: Measured =
        serde_json::from_str(&text).with_context(|| format!("the bench printed something else: {text}"))?;
    let figures = figures(&measured.rounds);
    let load = match (load_before, process::load_average()) {
        (Some(before), Some(after)) => {
            format!("The machine's load average was {before:.1} when it began and {after:.1} when it ended. ")
        }
        _ => String::new(),
    };
    let result = result(&figures, &measured);
    if options.json {
        println!("{result:#}");
    } else {
        say(&table(&figures));
    }
    let folder = project.state().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("outbox.json");
    fs::write(&path, format!("{result:#}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    if options.rounds < ROUNDS || options.seconds < SECONDS {
        return Ok(());
    }
    write_section(project, "outbox", &section(&figures, &measured, options, &load))
}

fn measure(project: &Project, options: &Options, url: &str) -> Result<String> {
    let mut command = cargo(project);
    command.args(["bench", "--quiet", "--package", "origin", "--bench", "outbox", "--"]);
    command.args(["--rounds", &options.rounds.to_string(), "--seconds", &options.seconds.to_string()]);
    exec::read(command.env(VARIABLE, url), &project.setup_log("bench-outbox")?)
}

/// A server with fsync, which is gone afterwards.
fn with_postgres(project: &Project, work: impl FnOnce(&str) -> Result<String>) -> Result<String> {
    let node_modules = {
        let _turn = setup::take_turn(project)?;
        node::check()?;
        node::install(project)?
    };
    let folder = project.state().join(format!("bench-{}-{}", std::process::id(), clock::unix_millis()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let step = Step::begin("a Postgres for the bench");
    let port = PortOptions::free()?.resolve().postgres;
    let server = Server::prepare(&node_modules, &folder.join("postgres"), port, true)?;
    let password = entropy::base64url32()?;
    server.create(&password, &folder.join("initdb.log"))?;
    let mut supervisor = Supervisor::new();
    let sender = supervisor.sender();
    signals::listen(move |signal| {
        let _ = sender.send(Event::Signal(signal));
    });
    let outcome = supervisor.start([server.plan(folder.join("postgres.log"))]).and_then(|()| {
        step.done();
        work(&server.admin_url(&password, "postgres"))
    });
    let stopped = supervisor.stop_all();
    signals::unlisten();
    server.remove()?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    stopped.and(outcome)
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let of = |value: &dyn Fn(&Round) -> f64| rounds.iter().map(value).collect::<Vec<f64>>();
    let at_least = |name, text, rounds, goal| Figure { name, text, rounds, unit: "", goal, at_least: true };
    let at_most = |name, text, rounds, unit, goal| Figure { name, text, rounds, unit, goal, at_least: false };
    vec![
        at_least(
            "append_to_bare",
            "append, event and outbox row, against a bare one-row INSERT",
            of(&|round| round.append / round.bare),
            0.45,
        ),
        at_least(
            "batch_to_copy",
            "batched append against COPY and outbox load",
            of(&|round| round.batch / round.copy),
            0.85,
        ),
        at_least(
            "drain_to_append",
            "drain to nowhere against sustained append",
            of(&|round| round.drain / round.append),
            2.0,
        ),
        at_most(
            "latency_beyond_sink",
            "append to sink, p99, beyond the sink's round trip (median)",
            of(&|round| round.latency.p99_ms - round.latency.sink_p50_ms),
            "ms",
            250.0,
        ),
        at_most("wal", "write-ahead log of the outbox for an event", of(&|round| round.wal), "B", 400.0),
    ]
}

impl Figure {
    fn value(&self) -> f64 {
        median(self.rounds.iter().copied())
    }

    fn shown(&self, value: f64) -> String {
        match self.unit {
            "" => format!("{value:.2}"),
            unit => format!("{value:.0} {unit}"),
        }
    }

    fn is_met(&self) -> bool {
        if self.at_least { self.value() >= self.goal } else { self.value() <= self.goal }
    }
}

fn table(figures: &[Figure]) -> String {
    let mut text = "| what | measured (median) | goal |\n|---|---:|---:|\n".to_owned();
    for figure in figures {
        let mark = if figure.is_met() { "" } else { " (short)" };
        let sign = if figure.at_least { "≥" } else { "≤" };
        let (value, goal) = (figure.shown(figure.value()), figure.shown(figure.goal));
        let _ = writeln!(text, "| {} | {value}{mark} | {sign} {goal} |", figure.text);
    }
    text
}

fn result(figures: &[Figure], measured: &Measured) -> Value {
    let figures: serde_json::Map<String, Value> = figures
        .iter()
        .map(|figure| {
            let direction = if figure.at_least { ">=" } else { "<=" };
            let entry = json!({
                "value": figure.value(), "goal": figure.goal, "direction": direction, "unit": figure.unit,
                "rounds": figure.rounds,
            });
            (figure.name.to_owned(), entry)
        })
        .collect();
    let rounds: Vec<Value> = measured.rounds.iter().map(Round::json).collect();
    json!({"figures": figures, "rounds": rounds, "clients": measured.clients, "postgres": measured.postgres})
}

impl Round {
    fn json(&self) -> Value {
        let Self { append, bare, batch, copy, drain, drain_postgres, latency, wal } = self;
        json!({
            "append": append, "bare": bare, "batch": batch, "copy": copy, "drain": drain,
            "drain_postgres": drain_postgres, "wal": wal,
            "latency": {
                "events": latency.events, "p50_ms": latency.p50_ms, "p99_ms": latency.p99_ms,
                "sink_p50_ms": latency.sink_p50_ms, "sink_p99_ms": latency.sink_p99_ms,
            },
        })
    }
}

fn section(figures: &[Figure], measured: &Measured, options: &Options, load: &str) -> String {
    let mut text = format!(
        "## The record beside bare SQL\n\n\
         `cargo xtask bench outbox`: a PostgreSQL {} of its own with fsync, {} clients, {} rounds of {} s a measurement in turning \
         order. {load}The append is the gateway's: a transaction with its actor's role, an event with real payload, canonical bytes and \
         hash, and its outbox row, through a pool; the bare INSERT is one statement for one row with a key and a payload, on connections \
         that are held. The batched append hashes and queues {} events in a transaction; the COPY loads as many rows that were made \
         beforehand into the same table, without policies, and their outbox rows. The drain is the real forwarder. The latency is that of \
         about a hundred events a second, from the end of the commit until the read database has answered. The log's bytes are those of \
         appending and draining at batch 50, less those of appending with the destination disabled, without whole pages and vacuum.\n\n{}\n",
        measured.postgres,
        measured.clients,
        options.rounds,
        options.seconds,
        measured.batch,
        table(figures)
    );
    text.push_str("### Raw rounds of the record\n\n| what |");
    for round in 1..=measured.rounds.len() {
        let _ = write!(text, " {round} |");
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(measured.rounds.len()));
    let mut row = |name: &str, of: &dyn Fn(&Round) -> f64, digits: usize| {
        let _ = write!(text, "\n| {name} |");
        for round in &measured.rounds {
            let _ = write!(text, " {:.digits$} |", of(round));
        }
    };
    row("appends/s", &|round| round.append, 0);
    row("bare INSERTs/s", &|round| round.bare, 0);
    row("events/s, batched append", &|round| round.batch, 0);
    row("rows/s, COPY and outbox load", &|round| round.copy, 0);
    row("events/s drained to nowhere", &|round| round.drain, 0);
    row("events/s drained to the read database", &|round| round.drain_postgres, 0);
    row("append to sink, p50 ms", &|round| round.latency.p50_ms, 1);
    row("append to sink, p99 ms", &|round| round.latency.p99_ms, 1);
    row("the sink's round trip, p50 ms", &|round| round.latency.sink_p50_ms, 1);
    row("the sink's round trip, p99 ms", &|round| round.latency.sink_p99_ms, 1);
    row("outbox WAL, B an event", &|round| round.wal, 0);
    text.push('\n');
    text
}

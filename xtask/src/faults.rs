//! `cargo xtask faults`: prepares what the crate `faults` needs (a `gateward` with failpoints, two Postgres clusters, keys and ports) and
//! starts it. What is broken, when, and what must hold is that crate's business.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::bench::report::write_section;
use crate::clock;
use crate::entropy;
use crate::exec;
use crate::postgres::Server;
use crate::progress::{Step, say};
use crate::project::Project;
use crate::setup::{self, build, node};
use crate::up::parts::Places;
use crate::up::ports::{PortOptions, Ports};
use crate::up::secrets::{EDGE_ID, Secrets};

/// Kills, stops, cuts off and lies to a running Gateward, seed after seed, and checks that no event is lost, doubled or out of order
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  cargo xtask faults --runs 20
  cargo xtask faults --seed 1734 --verbose     # the run that failed once more, with what happened and when
  cargo xtask faults --seed 1 --runs 200 --json > runs.jsonl
  cargo xtask faults --scenarios

A seed chooses everything that is done; `cargo xtask test --only faults` plays two hundred of them.")]
pub(crate) struct Options {
    /// The first seed [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u64,
    /// Play what must be made to happen for sure instead: a zombie, two commands at once, a database that is gone, a full disk
    #[arg(long, conflicts_with_all = ["seed", "runs", "json", "verbose"])]
    scenarios: bool,
    /// Print each run as a line of JSON: its plan, what happened and when, and what was found
    #[arg(long)]
    json: bool,
    /// Say what happened and when, also where all went well
    #[arg(long)]
    verbose: bool,
}

/// Plays the runs that were asked for.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    if options.scenarios {
        return play(project, &["scenarios".to_owned()]);
    }
    let seed = options.seed.map_or_else(any_seed, Ok)?;
    let mut arguments = vec!["runs".to_owned(), "--seed".to_owned(), seed.to_string()];
    arguments.extend(["--runs".to_owned(), options.runs.to_string()]);
    arguments.extend(options.json.then(|| "--json".to_owned()));
    arguments.extend(options.verbose.then(|| "--verbose".to_owned()));
    play(project, &arguments)
}

/// The suite: a share of the seeds beside everything else, two hundred when it is asked for alone.
pub(crate) fn suite(project: &Project, thorough: bool) -> Result<()> {
    exec::stream(build::cargo(project).args(["test", "--package", "faults"]))?;
    let (seed, runs) = if thorough { (1, 200) } else { (any_seed()?, 25) };
    let words = ["runs", "--seed", &seed.to_string(), "--runs", &runs.to_string()].map(str::to_owned);
    play(project, &["scenarios".to_owned()])?;
    play(project, &words)
}

/// How much memory a forwarder takes while it carries a long queue.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  cargo xtask bench outbox-memory                  # a million events: some minutes
  cargo xtask bench outbox-memory --rows 100000
  cargo xtask bench outbox-memory --release        # the release build; compiling it takes minutes

Fails where it is 64 MiB or more. The result goes to the terminal and to docs/benchmarks.md.")]
pub(crate) struct MemoryOptions {
    /// How many events are queued
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Measure the release build
    #[arg(long)]
    release: bool,
}

/// What was measured.
#[derive(Deserialize)]
struct Measured {
    rows: u64,
    seconds: f64,
    peak_mib: f64,
    limit_mib: f64,
    build: String,
}

/// Measures it and writes it down.
pub(crate) fn memory(project: &Project, options: &MemoryOptions) -> Result<()> {
    let result = project.state().join("outbox-memory.json");
    fs::create_dir_all(project.state()).context("cannot create the folder of results")?;
    // The last one's result must not be taken for this one's.
    let _ = fs::remove_file(&result);
    let mut words = vec!["memory".to_owned(), "--rows".to_owned(), options.rows.to_string()];
    words.extend(["--result".to_owned(), result.display().to_string()]);
    if options.release {
        let mut cargo = build::cargo(project);
        cargo.args(["build", "--release", "--package", "origin", "--bin", "gateward"]);
        let log = project.setup_log("origin-release")?;
        let artifacts = build::build(&mut cargo, "origin (cargo build --release)", &log)?;
        let gateward = artifacts.executable("gateward").context("cargo built no binary called gateward")?;
        words.extend(["--gateward".to_owned(), gateward.display().to_string()]);
    }
    let verdict = play(project, &words);
    if let Ok(text) = fs::read(&result) {
        let Measured { rows, seconds, peak_mib, limit_mib, build } =
            serde_json::from_slice(&text).context("the result cannot be read")?;
        let section = format!(
            "## Memory of the forwarder\n\n`cargo xtask bench outbox-memory`: one `gateward forward` carries {rows} queued events from one \
             Postgres to another, both with fsync, on the same machine.\n\n| build | events | took | events/s | peak resident memory | goal |\n\
             |---|---|---|---|---|---|\n| {build} | {rows} | {seconds:.0} s | {:.0} | {peak_mib:.1} MiB | under {limit_mib:.0} MiB |\n",
            f64::from(u32::try_from(rows).unwrap_or(u32::MAX)) / seconds
        );
        write_section(project, "outbox-memory", &section)?;
    }
    verdict
}

/// Prepares a stage and runs `faults` on it with these arguments. What a failure leaves stays.
pub(crate) fn play(project: &Project, arguments: &[String]) -> Result<()> {
    let node_modules = {
        let _turn = setup::take_turn(project)?;
        node::check()?;
        node::install(project)?
    };
    let mut cargo = build::cargo(project);
    cargo.args(["build", "--package", "faults", "--features", "failpoints"]);
    let log = project.setup_log("faults")?;
    let artifacts =
        build::build(&mut cargo, "the origin with failpoints, and what breaks it (cargo build)", &log)?;
    let program = artifacts.executable("faults").context("cargo built no binary called faults")?;
    let gateward = artifacts
        .executable("gateward-with-failpoints")
        .context("cargo built no binary called gateward-with-failpoints")?;

    let folder = project.state().join(format!("faults-{}-{}", std::process::id(), clock::unix_millis()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let step = Step::begin("two Postgres clusters");
    let stage = Stage::prepare(project, &node_modules, &gateward, folder)?;
    step.done();
    let mut command = Command::new(&program);
    command.args(arguments).arg("--stage").arg(&stage.file);
    match exec::stream(&mut command) {
        Ok(()) => stage.forget(),
        Err(error) => {
            say(&format!("    logs and databases stay in {}", stage.folder.display()));
            Err(error)
        }
    }
}

/// What was prepared.
struct Stage {
    folder: PathBuf,
    file: PathBuf,
    clusters: [Server; 2],
}

impl Stage {
    fn prepare(project: &Project, node_modules: &Path, gateward: &Path, folder: PathBuf) -> Result<Self> {
        let ports = PortOptions::free()?.resolve();
        let (secrets, _) = Secrets::load_or_draw(&folder)?;
        // Only `gateward` is of use here: no edge and no demo service runs.
        let ready = setup::Ready {
            gateward: gateward.to_path_buf(),
            edge: PathBuf::new(),
            node_modules: node_modules.to_path_buf(),
            workerd: PathBuf::new(),
        };
        let places = Places { project, ready: &ready, data: &folder, ports: &ports, secrets: &secrets };
        let environment = environment(&places, &ports)?;
        let apply_file = places.render_apply_file()?;
        let xtask = std::env::current_exe().context("cannot find xtask's own program")?;
        let cluster = |name: &str, port: u16, variable: &str| -> Result<(Server, Value)> {
            // With fsync, as in production.
            let server = Server::prepare(node_modules, &folder.join(name), port, true)?;
            server.create(&secrets.postgres_password, &folder.join(format!("{name}-initdb.log")))?;
            let plan = server.plan(folder.join(format!("{name}.log")));
            let described = json!({
                "port": port,
                "admin_url": environment.get(variable),
                "spec": {
                    "name": name,
                    "program": plan.program,
                    "arguments": plan.arguments.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
                    "environment": plan.environment,
                    "folder": plan.folder,
                    "log": plan.log,
                    "identity": plan.identity.map(|identity| (identity.uid, identity.gid)),
                    "xtask": xtask,
                },
            });
            Ok((server, described))
        };
        let (command, command_described) =
            cluster("command-postgres", ports.postgres, "MIGRATION_DATABASE_URL")?;
        let (sink, sink_described) = cluster("sink-postgres", ports.control, "READ_MIGRATION_DATABASE_URL")?;
        let stage = json!({
            "gateward": gateward,
            "folder": folder,
            "xtask": xtask,
            "command": command_described,
            "sink": sink_described,
            "issuer": environment.get("ISSUER"),
            "environment": environment,
            "origin_port": ports.origin,
            "proxy_port": ports.upstream,
            "http_sink_port": ports.app,
            "edge_id": EDGE_ID,
            "edge_private_key": secrets.edge_private_key,
            "apply_file": apply_file,
        });
        let file = folder.join("stage.json");
        crate::postgres::write_secret(&file, &serde_json::to_vec_pretty(&stage)?)?;
        Ok(Self { folder, file, clusters: [command, sink] })
    }

    fn forget(self) -> Result<()> {
        for cluster in &self.clusters {
            cluster.remove()?;
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// What `gateward` gets: as everywhere, but the read side is another cluster, and the forwarder reaches it through a proxy.
fn environment(places: &Places<'_>, ports: &Ports) -> Result<BTreeMap<String, String>> {
    let mut environment = places.environment(None)?;
    for (name, port) in
        [("READ_DATABASE_URL", ports.upstream), ("READ_MIGRATION_DATABASE_URL", ports.control)]
    {
        let value = environment.get_mut(name).with_context(|| format!("there is no {name}"))?;
        let mut url = Url::parse(value).with_context(|| format!("{name} is not a URL"))?;
        url.set_port(Some(port)).map_err(|()| anyhow::anyhow!("{name} takes no port"))?;
        *value = url.into();
    }
    // The shortest there is: what a killed forwarder held is carried on after a second.
    environment.insert("FORWARDER_LEASE".to_owned(), "1s".to_owned());
    environment.insert("FORWARDER_POLL_INTERVAL".to_owned(), "20".to_owned());
    Ok(environment)
}

/// A seed that nobody has chosen.
fn any_seed() -> Result<u64> {
    let [a, b, c, ..] = entropy::bytes32()?;
    Ok(u64::from(u32::from_be_bytes([0, a, b, c])))
}

//! `cargo xtask faults`: prepares what the crate `faults` needs (a `gateward` with failpoints, two Postgres clusters, keys and ports) and
//! starts it. What is broken, when, and what must hold is that crate's business.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use url::Url;

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

A seed chooses everything that is done; `cargo xtask test --only faults` plays two hundred of them.")]
pub(crate) struct Options {
    /// The first seed [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many seeds, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u64,
    /// Print each run as a line of JSON: its plan, what happened and when, and what was found
    #[arg(long)]
    json: bool,
    /// Say what happened and when, also where all went well
    #[arg(long)]
    verbose: bool,
}

/// Plays the runs that were asked for.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let seed = options.seed.map_or_else(any_seed, Ok)?;
    let mut arguments = vec!["runs".to_owned(), "--seed".to_owned(), seed.to_string()];
    arguments.extend(["--runs".to_owned(), options.runs.to_string()]);
    arguments.extend(options.json.then(|| "--json".to_owned()));
    arguments.extend(options.verbose.then(|| "--verbose".to_owned()));
    play(project, &[arguments])
}

/// The suite: a share of the seeds beside everything else, two hundred when it is asked for alone.
pub(crate) fn suite(project: &Project, thorough: bool) -> Result<()> {
    exec::stream(build::cargo(project).args(["test", "--package", "faults"]))?;
    let (seed, runs) = if thorough { (1, 200) } else { (any_seed()?, 25) };
    let words = ["runs", "--seed", &seed.to_string(), "--runs", &runs.to_string()].map(str::to_owned);
    play(project, &[words.to_vec()])
}

/// Prepares a stage and runs `faults` on it with each of these arguments, one after the other. What a failure leaves stays.
pub(crate) fn play(project: &Project, commands: &[Vec<String>]) -> Result<()> {
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
    let outcome = commands.iter().try_for_each(|arguments| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--stage").arg(&stage.file);
        exec::stream(&mut command)
    });
    match outcome {
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

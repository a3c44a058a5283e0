//! `cargo xtask bench edge`: the edge with all its checks beside JavaScript workers that do less, alternating on one workerd.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use shared::jwt::SigningKey;

use super::backend::{self, SignedPolicy};
use super::load::{self, Sample};
use super::report::{Ratio, Report, Series};
use super::stage::{Stage, Worker};
use super::tokens::{ISSUER, Mint};
use crate::entropy;
use crate::progress::Step;
use crate::project::Project;
use crate::setup::{self, node};
use crate::up::workerd::COMPATIBILITY_DATE;

const PLAIN: &str = "JavaScript, pass-through";
const HEADERS: &str = "JavaScript, pass-through with header edits";
const JOSE: &str = "JavaScript with jose, every token new";
const SEEN: &str = "Gateward, token seen before";
const NEW: &str = "Gateward, every token new";
const REFUSED: &str = "Gateward, refusing a damaged token";

/// The edge beside JavaScript workers that do less: medians, p50, p99 and ratios.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench edge
  cargo xtask bench edge --rounds 3 --seconds 1 --json")]
pub(crate) struct Options {
    /// Rounds; every worker is measured once a round, in turning order
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds a measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=60))]
    seconds: u16,
    /// Keep-alive connections of the one load thread
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    connections: u16,
    /// Live tokens in the scenario of tokens seen before
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tokens: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the bench.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let mut mint = Mint::new(&entropy::bytes32()?);
    let stage = prepare(project, &mint)?;
    let step = Step::begin("live tokens");
    let live: Vec<String> = (0..options.tokens).map(|_| mint.token()).collect::<Result<_>>()?;
    step.done();
    let duration = Duration::from_secs(options.seconds.into());
    let connections = options.connections.into();
    let mut scenarios = scenarios(&stage)?;
    let step = Step::begin(format!(
        "{} rounds of {} workers, {} s each",
        options.rounds,
        scenarios.len(),
        options.seconds
    ));
    for scenario in &scenarios {
        scenario
            .measure(connections, Duration::from_millis(700), &live, &mut mint)
            .with_context(|| format!("warming up: {}", scenario.name))?;
    }
    for round in 0..options.rounds {
        // Another one begins each round, so that none always meets the same moment.
        scenarios.rotate_left(1);
        for scenario in &mut scenarios {
            let sample =
                scenario.measure(connections, duration, &live, &mut mint).with_context(|| scenario.name)?;
            scenario.samples.push(sample);
        }
        step.note(&format!("round {} of {}", round.saturating_add(1), options.rounds));
    }
    step.done();
    let report = Report {
        title: "The edge beside JavaScript workers",
        method: format!(
            "`cargo xtask bench edge`: one workerd process with all workers, one upstream, one load thread with {} keep-alive connections, {} rounds of {} s a worker in turning order, \
             {} live tokens where tokens are seen again (EdDSA). Ratios are medians of the ratios within a round. The goals are those of the edge's full form.",
            options.connections, options.rounds, options.seconds, options.tokens
        ),
        series: in_order(scenarios),
        ratios: vec![
            Ratio { name: "seen_to_passthrough_with_headers", of: SEEN, to: HEADERS, goal: 0.95 },
            Ratio { name: "seen_to_passthrough", of: SEEN, to: PLAIN, goal: 0.85 },
            Ratio { name: "new_to_passthrough", of: NEW, to: PLAIN, goal: 0.65 },
            Ratio { name: "new_to_jose", of: NEW, to: JOSE, goal: 1.0 },
            Ratio { name: "refused_to_passthrough", of: REFUSED, to: PLAIN, goal: 1.5 },
        ],
    };
    report.write(project, "edge")?;
    if options.json {
        println!("{}", report.json());
    } else {
        println!("\n{}", report.table());
    }
    Ok(())
}

struct Scenario {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
    token: TokenChoice,
    expected_status: &'static str,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
enum TokenChoice {
    Live,
    New,
    Damaged,
}

impl Scenario {
    fn measure(
        &self,
        connections: usize,
        duration: Duration,
        live: &[String],
        mint: &mut Mint,
    ) -> Result<Sample> {
        // Tokens are signed before the clock runs: more of them than any worker here can take.
        let fresh: Vec<String> = match self.token {
            TokenChoice::New => {
                let count = duration.as_millis().saturating_mul(12);
                (0..count).map(|_| mint.token()).collect::<Result<_>>()?
            }
            TokenChoice::Live | TokenChoice::Damaged => Vec::new(),
        };
        let mut fresh = fresh.into_iter();
        let mut live = live.iter().cycle();
        load::measure(self.address, connections, duration, self.expected_status, || {
            let token = match self.token {
                TokenChoice::Live => live.next().cloned(),
                TokenChoice::New => fresh.next(),
                TokenChoice::Damaged => live.next().map(|token| token.replacen('.', "A.", 1)),
            }?;
            Some(
                format!(
                    "GET {} HTTP/1.1\r\nhost: {}\r\nuser-agent: bench/1.0\r\naccept: application/json\r\naccept-language: en\r\nauthorization: Bearer {token}\r\n\r\n",
                    self.path, self.address
                )
                .into_bytes(),
            )
        })
    }
}

fn scenarios(stage: &Stage) -> Result<Vec<Scenario>> {
    let scenario = |name, worker, path, token, expected_status| {
        Ok::<_, anyhow::Error>(Scenario {
            name,
            address: stage.address(worker)?,
            path,
            token,
            expected_status,
            samples: Vec::new(),
        })
    };
    Ok(vec![
        scenario(PLAIN, "passthrough", "/items", TokenChoice::Live, "200")?,
        scenario(HEADERS, "headers", "/items", TokenChoice::Live, "200")?,
        scenario(JOSE, "jose", "/items", TokenChoice::New, "200")?,
        scenario(SEEN, "edge", "/notes/api/items", TokenChoice::Live, "200")?,
        scenario(NEW, "edge", "/notes/api/items", TokenChoice::New, "200")?,
        scenario(REFUSED, "edge", "/notes/api/items", TokenChoice::Damaged, "401")?,
    ])
}

/// The series in the order of the table, whatever order the last round had.
fn in_order(scenarios: Vec<Scenario>) -> Vec<Series> {
    let mut series: Vec<Series> = scenarios
        .into_iter()
        .map(|scenario| Series { name: scenario.name, samples: scenario.samples })
        .collect();
    let order = [PLAIN, HEADERS, JOSE, SEEN, NEW, REFUSED];
    series.sort_by_key(|series| order.iter().position(|name| *name == series.name));
    series
}

/// Builds what is measured and starts it.
fn prepare(project: &Project, mint: &Mint) -> Result<Stage> {
    let ready = setup::all(project)?;
    let packages = node::install_in(project, &project.path("e2e"), "npm-e2e")?;
    let policy_key = SigningKey::from_seed("policy", &entropy::bytes32()?);
    let policy_public = public_bytes(&policy_key);
    // The upstream's address is needed in the policy, and the policy in the upstream: the port is chosen first.
    let backend = backend::Backend::bind()?;
    let upstream = format!("http://{}", backend.address());
    backend.serve(SignedPolicy::new(mint.policy(&upstream), policy_key)?);

    let folder = project.state().join("bench/stage");
    let source = |name: &str| project.path("xtask/src/bench/workers").join(name);
    let plain = |name, file: &str, bindings| Worker {
        name,
        modules: vec![("entry.mjs".into(), source(file))],
        bindings,
    };
    let mut jose = plain(
        "jose",
        "jose.mjs",
        vec![
            ("UPSTREAM", upstream.clone()),
            ("ISSUER", ISSUER.into()),
            ("JWKS", mint.jwk_set()?.to_string()),
        ],
    );
    let library = packages.join("jose/dist/webapi");
    collect_modules(&library, &library, &mut jose.modules)?;
    let edge = Worker {
        name: "edge",
        modules: setup::edge::modules(&ready.edge)?
            .into_iter()
            .map(|name| {
                let file = ready.edge.join(&name);
                (name, file)
            })
            .collect(),
        bindings: vec![
            ("ISSUER", ISSUER.into()),
            ("ORIGIN_URL", upstream.clone()),
            ("EDGE_ID", "bench".into()),
            ("EDGE_PRIVATE_KEY", entropy::base64url32()?),
            ("POLICY_PUBLIC_KEY", policy_public),
            ("CODE_MAC_KEY", entropy::base64url32()?),
            ("CLIENT_ADDRESS", "peer".into()),
            ("ACCESS_LOG", "off".into()),
        ],
    };
    let workers = [
        plain("passthrough", "passthrough.mjs", vec![("UPSTREAM", upstream.clone())]),
        plain("headers", "passthrough-with-headers.mjs", vec![("UPSTREAM", upstream)]),
        jose,
        edge,
    ];
    let step = Step::begin("workerd with every worker");
    let stage = Stage::start(&ready.workerd, &folder, COMPATIBILITY_DATE, &workers)?;
    step.done();
    Ok(stage)
}

fn public_bytes(key: &SigningKey) -> String {
    match key.public_jwk() {
        shared::jwt::Jwk::Okp { x, .. } => x,
        shared::jwt::Jwk::Ec { .. } | shared::jwt::Jwk::Rsa { .. } => String::new(),
    }
}

/// Every JavaScript file below `folder`, named `jose/…` as `jose.mjs` imports it.
fn collect_modules(
    root: &Path,
    folder: &Path,
    modules: &mut Vec<(String, std::path::PathBuf)>,
) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.is_dir() {
            collect_modules(root, &path, modules)?;
        } else if path.extension().is_some_and(|ending| ending == "js") {
            let name = path.strip_prefix(root).context("a file outside its folder")?;
            modules.push((format!("jose/{}", name.display()), path.clone()));
        }
    }
    Ok(())
}

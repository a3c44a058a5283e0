//! `cargo xtask bench edge`: the edge with all its checks beside JavaScript workers that do less, alternating on one workerd;
//! then cold starts, the module's size and the instructions of a decision.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::backend::ECHO;
use super::cast::Cast;
use super::load::{self, Sample, Server};
use super::report::{Ratio, Report, Series};
use super::stage::Stage;
use super::tokens::Mint;
use super::{cold_start, instructions, process, size};
use crate::entropy;
use crate::progress::{Step, say};
use crate::project::Project;
use crate::up::workerd::COMPATIBILITY_DATE;

const PLAIN: &str = "JavaScript, pass-through";
const HEADERS: &str = "JavaScript, pass-through with header edits";
const JOSE: &str = "JavaScript with jose, every token new";
const SEEN: &str = "Gateward, token seen before";
const NEW: &str = "Gateward, every token new";
const OVERFLOW: &str = "Gateward, more live tokens than it remembers";
const BROWSER: &str = "Gateward, token seen before, sent by a browser";
const BIG: &str = "Gateward, token seen before, big policy";
const DAMAGED: &str = "Gateward, refusing a damaged token";
const VERIFIER: &str = "Gateward, refusing a wrong verifier";
const LIMITED: &str = "Gateward, refusing over the limit";

const OTHER_SEEN: &str = "The other build, token seen before";
const OTHER_NEW: &str = "The other build, every token new";
const OTHER_DAMAGED: &str = "The other build, refusing a damaged token";

/// The order of the table.
const ORDER: [&str; 14] = [
    PLAIN,
    HEADERS,
    JOSE,
    SEEN,
    BROWSER,
    BIG,
    NEW,
    OVERFLOW,
    DAMAGED,
    VERIFIER,
    LIMITED,
    OTHER_SEEN,
    OTHER_NEW,
    OTHER_DAMAGED,
];

/// The edge beside JavaScript workers that do less: throughput, CPU time, cold start, size, instructions.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench edge
  cargo xtask bench edge --rounds 3 --seconds 1 --json
  cargo xtask bench edge --only starts --only instructions
  cp -r edge/dist /tmp/before  # then change something
  cargo xtask bench edge --only throughput --beside /tmp/before

The instructions of a decision are counted with valgrind, where it is installed.")]
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
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    tokens: u32,
    /// Live tokens in the scenario that exceeds what the edge remembers
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(20_000..=100_000))]
    many_tokens: u32,
    /// Measures this part and no other; may be given several times. docs/benchmarks.md is written when all are
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Measures the modules of another build of the edge in the same run, and less of the rest
    #[arg(long, value_name = "FOLDER")]
    beside: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What can be measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Requests a second, and CPU time for each
    Throughput,
    /// From the start of workerd to the first answer
    Starts,
    /// Of the module
    Size,
    /// Of a decision, natively
    Instructions,
}

/// Runs the bench.
pub(crate) fn run(project: &Project, options: &Options) -> Result<()> {
    let load_before = process::load_average();
    let wants = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let mut mint = Mint::new(&entropy::bytes32()?);
    let mut cast = Cast::gather(project, &mint)?;
    if let Some(folder) = &options.beside {
        cast.add_build("other", folder)?;
        cast.add_build("otherSeen", folder)?;
    }
    let series = if wants(Part::Throughput) { throughput(&cast, options, &mut mint)? } else { Vec::new() };
    let mut measures = Vec::new();
    if wants(Part::Starts) {
        measures.extend(cold_start::measure(&cast, &mint.token()?)?);
    }
    if wants(Part::Size) {
        measures.extend(size::measure(&cast)?);
    }
    if wants(Part::Instructions) {
        measures.extend(instructions::measure(project)?);
    }
    let ratio = |name, of, to, goal| Ratio { name, of, to, goal };
    let ratios = vec![
        ratio("seen_to_passthrough_with_headers", SEEN, HEADERS, 0.95),
        ratio("seen_to_passthrough", SEEN, PLAIN, 0.85),
        ratio("new_to_passthrough", NEW, PLAIN, 0.65),
        ratio("new_to_jose", NEW, JOSE, 1.0),
        ratio("overflow_to_new", OVERFLOW, NEW, 0.95),
        ratio("big_policy_to_small", BIG, SEEN, 0.90),
        ratio("damaged_to_passthrough", DAMAGED, PLAIN, 1.5),
        ratio("wrong_verifier_to_passthrough", VERIFIER, PLAIN, 1.5),
        ratio("over_limit_to_passthrough", LIMITED, PLAIN, 1.5),
    ];
    let against_other = vec![
        ratio("seen_to_passthrough_with_headers", SEEN, HEADERS, 0.95),
        ratio("seen_to_other", SEEN, OTHER_SEEN, 1.0),
        ratio("new_to_other", NEW, OTHER_NEW, 1.0),
        ratio("damaged_to_other", DAMAGED, OTHER_DAMAGED, 1.0),
    ];
    let ratios = if options.beside.is_some() { against_other } else { ratios };
    let report = Report {
        title: "The edge beside JavaScript workers",
        method: format!(
            "`cargo xtask bench edge`: one workerd process with all workers, one upstream, one load thread with {} keep-alive connections, {} rounds of {} s a worker in turning order, \
             {} live tokens where tokens are seen again and {} where they are more than the edge remembers (EdDSA). Ratios are medians of the ratios within a round: of requests a second, \
             and of user CPU time of the workerd process for a request, which the load thread and other programs disturb less. The pass-through with header edits sets and deletes what \
             Gateward does for that request. The big policy has 10,000 clients, 1,000 routes and 100,000 revocations. {}",
            options.connections,
            options.rounds,
            options.seconds,
            options.tokens,
            options.many_tokens,
            busy(load_before)
        ),
        series,
        ratios: if wants(Part::Throughput) { ratios } else { Vec::new() },
        measures,
    };
    report.write(project, "edge", options.only.is_empty() && options.beside.is_none())?;
    if options.json {
        println!("{}", report.json());
    } else {
        println!("\n{}", report.table());
    }
    Ok(())
}

/// How busy the machine was with everything that ran on it, for whoever reads the figures.
fn busy(before: Option<f64>) -> String {
    let (Some(before), Some(after)) = (before, process::load_average()) else { return String::new() };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "The machine's load average was {before:.1} when it began and {after:.1} when it ended, on {processors} processors."
    )
}

fn throughput(cast: &Cast, options: &Options, mint: &mut Mint) -> Result<Vec<Series>> {
    let step = Step::begin("workerd with every worker");
    let stage = Stage::start(&cast.workerd, &cast.folder, COMPATIBILITY_DATE, &cast.workers())?;
    step.done();
    check_header_edits(&stage, mint)?;
    reach_limit(&stage, mint)?;
    let step = Step::begin("live tokens");
    let mut tokens = Tokens { live: Vec::new(), many: Vec::new(), at: 0 };
    for (list, count) in [(&mut tokens.live, options.tokens), (&mut tokens.many, options.many_tokens)] {
        *list = (0..count).map(|_| mint.token()).collect::<Result<_>>()?;
    }
    step.done();
    let duration = Duration::from_secs(options.seconds.into());
    let connections = options.connections.into();
    let mut scenarios = scenarios(&stage, cast)?;
    let step = Step::begin(format!(
        "{} rounds of {} workers, {} s each",
        options.rounds,
        scenarios.len(),
        options.seconds
    ));
    for scenario in &scenarios {
        // Long enough for every live token to be seen.
        scenario
            .measure(connections, Duration::from_millis(1500), &mut tokens, mint)
            .with_context(|| format!("warming up: {}", scenario.name))?;
    }
    for round in 0..options.rounds {
        // Another one begins each round, so that none always meets the same moment.
        scenarios.rotate_left(1);
        for scenario in &mut scenarios {
            let sample =
                scenario.measure(connections, duration, &mut tokens, mint).with_context(|| scenario.name)?;
            scenario.samples.push(sample);
        }
        step.note(&format!("round {} of {}", round.saturating_add(1), options.rounds));
    }
    step.done();
    Ok(in_order(scenarios))
}

/// Tokens to choose from.
struct Tokens {
    live: Vec<String>,
    many: Vec<String>,
    /// Where the last measurement with many tokens ended: the next one goes on from there.
    at: usize,
}

struct Scenario {
    name: &'static str,
    server: Server,
    request: Request,
    expected_status: &'static str,
    samples: Vec<Sample>,
}

#[derive(Clone)]
enum Request {
    /// A GET of this path with a token.
    Get(&'static str, TokenChoice),
    /// The same with what a browser adds: the answer's cookies are looked at.
    Browse(&'static str, TokenChoice),
    /// A POST to the token endpoint.
    Form(String),
}

#[derive(Clone, Copy)]
enum TokenChoice {
    Live,
    Many,
    New,
    Damaged,
}

impl Scenario {
    fn measure(
        &self,
        connections: usize,
        duration: Duration,
        tokens: &mut Tokens,
        mint: &mut Mint,
    ) -> Result<Sample> {
        let (path, choice, agent) = match &self.request {
            Request::Get(path, choice) => (path, *choice, PROGRAM),
            Request::Browse(path, choice) => (path, *choice, BROWSERS_OWN),
            Request::Form(form) => {
                let request = format!(
                    "POST /oauth/token HTTP/1.1\r\nhost: {}\r\nuser-agent: bench/1.0\r\naccept: application/json\r\naccept-language: en\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
                    self.server.address,
                    form.len()
                );
                return load::measure(self.server, connections, duration, self.expected_status, || {
                    Some(request.clone().into_bytes())
                });
            }
        };
        // Tokens are signed before the clock runs: more of them than any worker here can take.
        let fresh: Vec<String> = match choice {
            TokenChoice::New => {
                let count = duration.as_millis().saturating_mul(12);
                (0..count).map(|_| mint.token()).collect::<Result<_>>()?
            }
            TokenChoice::Live | TokenChoice::Many | TokenChoice::Damaged => Vec::new(),
        };
        let mut fresh = fresh.into_iter();
        let Tokens { live, many, at } = tokens;
        let mut live = live.iter().cycle();
        let mut many = many.iter().cycle().skip(*at);
        load::measure(self.server, connections, duration, self.expected_status, || {
            let token = match choice {
                TokenChoice::Live => live.next().cloned(),
                TokenChoice::Many => {
                    *at = at.wrapping_add(1);
                    many.next().cloned()
                }
                TokenChoice::New => fresh.next(),
                TokenChoice::Damaged => live.next().map(|token| token.replacen('.', "A.", 1)),
            }?;
            Some(get_as(self.server, path, &token, agent).into_bytes())
        })
    }
}

/// What a program says of itself.
const PROGRAM: &str = "user-agent: bench/1.0\r\n";
/// What a browser does.
const BROWSERS_OWN: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nsec-fetch-site: same-origin\r\nsec-fetch-mode: cors\r\nsec-fetch-dest: empty\r\ncookie: theme=dark\r\n";

fn get(server: Server, path: &str, token: &str) -> String {
    get_as(server, path, token, PROGRAM)
}

fn get_as(server: Server, path: &str, token: &str, agent: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\n{agent}accept: application/json\r\naccept-language: en\r\nauthorization: Bearer {token}\r\n\r\n",
        server.address
    )
}

fn scenarios(stage: &Stage, cast: &Cast) -> Result<Vec<Scenario>> {
    let scenario = |name, worker, request, expected_status| {
        let server = stage.server(worker)?;
        Ok::<_, anyhow::Error>(Scenario { name, server, request, expected_status, samples: Vec::new() })
    };
    let items = |choice| Request::Get("/notes/api/items", choice);
    let plain = Request::Get("/items", TokenChoice::Live);
    let least = [
        scenario(PLAIN, "passthrough", plain.clone(), "200")?,
        scenario(HEADERS, "headers", plain, "200")?,
        scenario(SEEN, "seen", items(TokenChoice::Live), "200")?,
        scenario(NEW, "edge", items(TokenChoice::New), "200")?,
        scenario(DAMAGED, "edge", items(TokenChoice::Damaged), "401")?,
    ];
    if cast.worker("other").is_ok() {
        let other = [
            scenario(OTHER_SEEN, "otherSeen", items(TokenChoice::Live), "200")?,
            scenario(OTHER_NEW, "other", items(TokenChoice::New), "200")?,
            scenario(OTHER_DAMAGED, "other", items(TokenChoice::Damaged), "401")?,
        ];
        return Ok(least.into_iter().chain(other).collect());
    }
    let more = [
        scenario(JOSE, "jose", Request::Get("/items", TokenChoice::New), "200")?,
        scenario(BROWSER, "seen", Request::Browse("/notes/api/items", TokenChoice::Live), "200")?,
        scenario(BIG, "big", items(TokenChoice::Live), "200")?,
        scenario(OVERFLOW, "edge", items(TokenChoice::Many), "200")?,
        scenario(VERIFIER, "edge", Request::Form(Mint::wrong_verifier_form(&cast.code_key)?), "400")?,
        scenario(LIMITED, "limited", items(TokenChoice::Live), "429")?,
    ];
    Ok(least.into_iter().chain(more).collect())
}

/// The series in the order of the table, whatever order the last round had.
fn in_order(scenarios: Vec<Scenario>) -> Vec<Series> {
    let mut series: Vec<Series> = scenarios
        .into_iter()
        .map(|scenario| Series { name: scenario.name, samples: scenario.samples })
        .collect();
    series.sort_by_key(|series| ORDER.iter().position(|name| *name == series.name));
    series
}

/// The same headers reach the upstream through Gateward and through the worker that it is measured against.
fn check_header_edits(stage: &Stage, mint: &mut Mint) -> Result<()> {
    let mut names = Vec::new();
    for (worker, prefix) in [("edge", "/notes/api"), ("headers", "")] {
        let server = stage.server(worker)?;
        let (status, body) = ask(server, &get(server, &format!("{prefix}{ECHO}"), &mint.token()?))?;
        if status != "200" {
            bail!("{worker} did not pass the request on: {status} {body}");
        }
        names.push(body);
    }
    if let [ours, theirs] = names.as_slice()
        && ours != theirs
    {
        bail!(
            "the header edits differ, so they cannot be compared:\n  Gateward    {ours}\n  JavaScript  {theirs}"
        );
    }
    say("  ✓ the same headers reach the upstream through Gateward and through the JavaScript worker");
    Ok(())
}

/// Uses up the quota of the edge whose limit is measured.
fn reach_limit(stage: &Stage, mint: &mut Mint) -> Result<()> {
    let server = stage.server("limited")?;
    for _ in 0..10 {
        if ask(server, &get(server, "/notes/api/items", &mint.token()?))?.0 == "429" {
            return Ok(());
        }
    }
    bail!("the edge whose limit is measured lets everything through")
}

/// One request on a connection of its own: status and body.
fn ask(server: Server, request: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(server.address).context("a worker takes no connection")?;
    let request = request.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
    stream.write_all(request.as_bytes()).context("a worker closed the connection")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("a worker's answer is not text")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("a worker's answer has no end of its head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status.to_owned(), body.trim().to_owned()))
}

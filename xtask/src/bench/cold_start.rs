//! Cold starts: from the start of a workerd with one worker to its first answer, in turning order, as medians. The difference to
//! the empty worker is what a worker adds; the absolute time is the machine's.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};

use super::cast::Cast;
use super::report::{Measure, median};
use super::stage::Stage;
use crate::clock::Stopwatch;
use crate::progress::Step;
use crate::up::workerd::COMPATIBILITY_DATE;

/// Starts of each worker.
const ROUNDS: u32 = 15;
/// What a cold start may add to that of the empty worker, in milliseconds.
const GOAL_MILLIS: f64 = 12.0;

struct Start {
    worker: &'static str,
    path: &'static str,
    millis: Vec<f64>,
}

/// Measures the empty worker, `jose`, and the edge's first answer from memory and to a project.
pub(crate) fn measure(cast: &Cast, token: &str) -> Result<Vec<Measure>> {
    let start = |worker, path| Start { worker, path, millis: Vec::new() };
    let mut starts = [
        start("empty", "/"),
        start("jose", "/items"),
        start("edge", "/ping"),
        start("edge", "/notes/api/items"),
    ];
    let step = Step::begin(format!("{ROUNDS} cold starts of {} workers", starts.len()));
    for _ in 0..ROUNDS {
        for start in &mut starts {
            start.millis.push(once(cast, start, token)?);
        }
    }
    step.done();
    let [empty, jose, ping, project] = &starts;
    let added = |start: &Start| median(start.millis.iter().zip(&empty.millis).map(|(of, to)| of - to));
    let measure = |name, text, value, at_most| Measure { name, text, value, unit: "ms", at_most };
    Ok(vec![
        measure(
            "cold_start_empty",
            "Cold start of the empty JavaScript worker",
            median(empty.millis.iter().copied()),
            None,
        ),
        measure(
            "cold_start_jose",
            "Cold start of JavaScript with jose, first verified request, beyond the empty one",
            added(jose),
            None,
        ),
        measure(
            "cold_start_ping",
            "Cold start of Gateward, `/ping`, beyond the empty one",
            added(ping),
            Some(GOAL_MILLIS),
        ),
        measure(
            "cold_start_project",
            "Cold start of Gateward, first request to a project (fetches the policy), beyond the empty one",
            added(project),
            Some(GOAL_MILLIS),
        ),
    ])
}

/// One start, in milliseconds.
fn once(cast: &Cast, start: &Start, token: &str) -> Result<f64> {
    let prepared =
        Stage::prepare(&cast.workerd, &cast.folder, COMPATIBILITY_DATE, &[cast.worker(start.worker)?])?;
    let began = Stopwatch::start();
    let stage = prepared.start()?;
    let address = stage.server(start.worker)?.address;
    let mut stream = TcpStream::connect(address).context("workerd takes no connection")?;
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n",
        start.path
    );
    stream.write_all(request.as_bytes()).context("cannot send the first request")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("no first answer")?;
    let took = began.elapsed();
    if !head.ends_with(b" 200") {
        let mut rest = String::new();
        // What can be read of a refusal is said; there may be nothing more.
        let _ = stream.read_to_string(&mut rest);
        bail!("the first answer of {} was no 200: {}{rest}", start.worker, String::from_utf8_lossy(&head));
    }
    Ok(took.as_secs_f64() * 1e3)
}

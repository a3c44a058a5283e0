//! One thread that keeps a fixed number of keep-alive connections busy over HTTP/1.1 and measures each answer. Knows nothing
//! of what it asks for; an answer with another status than expected is an error, so that a fast refusal is never
//! mistaken for speed.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::process;
use crate::clock::{Deadline, Stopwatch};

/// How long one answer may take before the measurement is given up.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What one measurement saw.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Answers per second.
    pub(crate) rate: f64,
    /// Latencies in microseconds, sorted.
    pub(crate) latencies: Vec<u64>,
    /// User CPU time of the server for one answer, in microseconds; not a number where it cannot be had.
    pub(crate) cpu_micros: f64,
}

/// Who is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
}

impl Sample {
    /// The latency below which `share` (0 to 1) of the answers came, in microseconds.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into some thousands of latencies"
        )]
        let index = (self.latencies.len().saturating_sub(1) as f64 * share).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// Keeps `connections` busy for `duration` with what `next_request` gives; `None` ends the measurement early.
pub(crate) fn measure(
    server: Server,
    connections: usize,
    duration: Duration,
    expected_status: &str,
    mut next_request: impl FnMut() -> Option<Vec<u8>>,
) -> Result<Sample> {
    let target = server.address;
    let mut open = Vec::with_capacity(connections);
    let used_before = process::user_time(server.pid);
    let started = Stopwatch::start();
    let deadline = Deadline::after(duration);
    for _ in 0..connections {
        let Some(request) = next_request() else { break };
        let mut connection = Connection::open(target)?;
        connection.send(&request)?;
        open.push(connection);
    }
    let mut latencies = Vec::new();
    while !open.is_empty() {
        let mut waiting: Vec<PollFd<'_>> =
            open.iter().map(|connection| PollFd::new(&connection.stream, PollFlags::IN)).collect();
        if poll(&mut waiting, Some(&PATIENCE)).context("cannot wait for answers")? == 0 {
            bail!("no answer from {target} within {} s", PATIENCE.tv_sec);
        }
        let ready: Vec<bool> = waiting.iter().map(|entry| !entry.revents().is_empty()).collect();
        let mut still_open = Vec::with_capacity(open.len());
        for (mut connection, ready) in open.into_iter().zip(ready) {
            if ready && connection.receive(expected_status)? {
                latencies.push(u64::try_from(connection.sent_at.elapsed().as_micros()).unwrap_or(u64::MAX));
                match deadline.remaining().and_then(|_| next_request()) {
                    Some(request) => connection.send(&request)?,
                    None => continue,
                }
            }
            still_open.push(connection);
        }
        open = still_open;
    }
    let elapsed = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
    let answers = latencies.len() as f64;
    let used =
        process::user_time(server.pid).zip(used_before).map(|(after, before)| after.saturating_sub(before));
    let cpu_micros = used.map_or(f64::NAN, |used| used.as_secs_f64() * 1e6 / answers);
    Ok(Sample { rate: answers / elapsed, latencies, cpu_micros })
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    sent_at: Stopwatch,
}

impl Connection {
    fn open(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target).with_context(|| format!("cannot connect to {target}"))?;
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        stream.set_nonblocking(true).context("cannot make the socket non-blocking")?;
        Ok(Self { stream, received: Vec::with_capacity(4096), sent_at: Stopwatch::start() })
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.received.clear();
        self.sent_at = Stopwatch::start();
        // The buffer of an idle connection holds a request of some kilobytes whole.
        self.stream.write_all(request).context("the connection was closed while sending")
    }

    /// Reads what is there; whether the answer is complete.
    fn receive(&mut self, expected_status: &str) -> Result<bool> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the connection was closed after {} bytes of an answer", self.received.len()),
            Ok(count) => self.received.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot read an answer"),
        }
        let Some(head_length) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(false);
        };
        let (head, rest) = self.received.split_at(head_length);
        let head = std::str::from_utf8(head).context("the answer's head is not text")?;
        if head.split(' ').nth(1) != Some(expected_status) {
            bail!("expected status {expected_status}, got: {head}\n{}", String::from_utf8_lossy(rest));
        }
        let body = rest.get(4..).unwrap_or_default();
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (field, value) = line.split_once(':')?;
                field.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        match field("content-length") {
            Some(length) => {
                Ok(body.len() >= length.parse::<usize>().context("a content-length that is no number")?)
            }
            None if field("transfer-encoding").is_some() => Ok(body.ends_with(b"0\r\n\r\n")),
            None => bail!("an answer without a length: {head}"),
        }
    }
}

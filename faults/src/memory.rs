//! How much memory a forwarder takes while it carries a long queue: its process' peak (`VmHWM`), as the kernel counts it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::clock::Stopwatch;
use crate::process::Service;
use crate::stage::{Stage, execute};

/// What a forwarder may take.
const LIMIT_MIB: f64 = 64.0;
/// Rows written by one statement.
const AT_ONCE: u64 = 100_000;

/// Queues events by SQL and lets one forwarder carry them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The stage, as JSON.
    #[arg(long)]
    pub(crate) stage: PathBuf,
    /// How many events.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Another `gateward` than the stage's.
    #[arg(long)]
    gateward: Option<PathBuf>,
    /// Where to write what was measured, as JSON.
    #[arg(long)]
    result: Option<PathBuf>,
}

/// Measures; fails where it is more than it may be.
pub(crate) async fn run(stage: &Stage, options: &Options) -> Result<()> {
    // The observer would take most of the time.
    execute(&mut stage.sink.admin().await?, "ALTER TABLE public.auth_events DISABLE TRIGGER USER").await?;
    stage.gateward(&["forward", "--once"]).await?;
    let began = Stopwatch::start();
    let mut admin = stage.command.admin().await?;
    for first in (0..options.rows).step_by(usize::try_from(AT_ONCE)?) {
        let last = (first + AT_ONCE).min(options.rows) - 1;
        execute(&mut admin, &queue(first, last)).await?;
        eprintln!("    {} events queued ({} s)", last + 1, began.elapsed().as_secs());
    }
    execute(&mut admin, "ANALYZE auth_gateway.events, auth_gateway.outbox").await?;
    let mut spec = stage.spec("forwarder-measured", "forward");
    if let Some(gateward) = &options.gateward {
        spec.program.clone_from(gateward);
    }
    // Not through the proxy: its own speed is nobody's business here.
    let url = spec.environment.get_mut("READ_DATABASE_URL").context("there is no READ_DATABASE_URL")?;
    *url =
        url.replace(&format!(":{}/", stage.prepared.proxy_port), &format!(":{}/", stage.prepared.sink.port));
    // As in production: what counts is what a forwarder takes as it is.
    spec.environment.remove("FORWARDER_LEASE");
    spec.environment.remove("FORWARDER_POLL_INTERVAL");
    let began = Stopwatch::start();
    let forwarder = Service::start(spec, &stage.timeline, None);
    forwarder.started(1).await?;
    let pid = forwarder.pid().context("it does not run")?;
    let mut noted = Stopwatch::start();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let left: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM auth_gateway.outbox WHERE destination_id = 1)")
                .fetch_one(&mut admin)
                .await?;
        if forwarder.starts() > 1 {
            bail!("the forwarder ended in the middle of it");
        }
        if !left {
            break;
        }
        if noted.elapsed() > Duration::from_secs(10) {
            noted = Stopwatch::start();
            eprintln!("    {:.1} MiB at most so far ({} s)", peak(pid)?, began.elapsed().as_secs());
        }
    }
    let (seconds, mebibytes) = (began.elapsed().as_secs_f64(), peak(pid)?);
    forwarder.stop(Signal::TERM).await?;
    let arrived: i64 = sqlx::query_scalar("SELECT count(*) FROM public.auth_events")
        .fetch_one(&mut stage.sink.admin().await?)
        .await?;
    if u64::try_from(arrived)? < options.rows {
        bail!("only {arrived} events of {} arrived", options.rows);
    }
    let kind = if options.gateward.is_some() { "a release build" } else { "a development build" };
    eprintln!("    {} events in {seconds:.0} s by {kind}, {mebibytes:.1} MiB at most", options.rows);
    if let Some(result) = &options.result {
        let measured = json!({"rows": options.rows, "seconds": seconds, "peak_mib": mebibytes, "limit_mib": LIMIT_MIB, "build": kind});
        std::fs::write(result, serde_json::to_vec(&measured)?).context("the result cannot be written")?;
    }
    if mebibytes >= LIMIT_MIB {
        bail!("a forwarder took {mebibytes:.1} MiB; it may take {LIMIT_MIB}");
    }
    Ok(())
}

/// Events of ten thousand aggregates with payloads of a usual size, queued in the order of their versions.
fn queue(first: u64, last: u64) -> String {
    format!(
        "WITH new AS (
             INSERT INTO auth_gateway.events
             SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000077', 'grant',
                    ('00000000-0000-0000-0001-' || lpad(to_hex(n % 10000), 12, '0'))::uuid, n / 10000 + 1, 'RefreshTokenRotated', 1,
                    jsonb_build_object('client_id', 'demo-app', 'jti', gen_random_uuid(), 'generation', n,
                                       'scopes', jsonb_build_array('notes:read', 'notes:write'), 'expires_at', now() + interval '5 minutes'),
                    jsonb_build_object('correlation_id', gen_random_uuid(), 'service_name', 'gateward',
                                       'actor', jsonb_build_object('kind', 'system', 'component', 'authorization_server')),
                    now(), '', CASE WHEN n >= 10000 THEN sha256('') END, sha256('')
             FROM generate_series({first}::bigint, {last}) AS n RETURNING event_id, aggregate_id, version)
         INSERT INTO auth_gateway.outbox (destination_id, lane, event_id)
         SELECT 1, ('x' || right(aggregate_id::text, 4))::bit(16)::int % 64, event_id FROM new ORDER BY version"
    )
}

/// The most memory that a process has had resident, in mebibytes.
fn peak(pid: Pid) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))
        .context("the process' status cannot be read; this measures on Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("there is no VmHWM")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmHWM is no number")?;
    Ok(kibibytes / 1024.0)
}

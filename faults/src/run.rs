//! One run: the load of a seed, its faults meanwhile, then peace until everything has arrived, and the check.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Serialize;
use sqlx::Connection;

use crate::checker::Counts;
use crate::clock::Stopwatch;
use crate::load::Load;
use crate::plan::{Action, Fault, Plan};
use crate::process::Service;
use crate::stage::{Stage, variable};
use crate::timeline::Entry;

/// How long the load may take, and then how long what is queued may take to arrive.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) took_ms: u64,
    pub(crate) acknowledged: u64,
    /// Changes of which the load does not know whether they were made.
    pub(crate) unknown: u64,
    /// Processes that had to be started again.
    pub(crate) restarts: u64,
    pub(crate) counts: Counts,
    /// What is wrong; empty when all is well.
    pub(crate) found: Vec<String>,
    pub(crate) timeline: Vec<Entry>,
}

/// Plays the run of a seed.
pub(crate) async fn play(stage: &mut Stage, seed: u64) -> Result<Outcome> {
    let plan = Plan::of(seed);
    let began = Stopwatch::start();
    stage.timeline.restart();
    stage.postgres_liar.set(plan.postgres_lies.clone());
    stage.http_liar.set(plan.http_lies.clone());
    if plan.origin.is_some() {
        stage.start_origin(plan.origin).await?;
    }
    let origin_starts = stage.origin.as_ref().map_or(0, Service::starts);
    let database_starts = stage.command.service().starts() + stage.sink.service().starts();
    let forwarders: Vec<Service> = plan
        .forwarders
        .iter()
        .enumerate()
        .map(|(index, failpoint)| {
            let spec = stage.spec(&format!("forwarder-{}", index + 1), "forward");
            Service::start(spec, &stage.timeline, failpoint.map(variable))
        })
        .collect();
    let load = Load::new(&plan);
    let writing = load.run(&stage.prepared, &stage.operator_token);
    let breaking = break_things(stage, &plan.faults, &forwarders, &load);
    let both = async { tokio::try_join!(writing, breaking) };
    let outcome = tokio::time::timeout(PATIENCE, both).await;
    stage.timeline.note("the load is over");
    outcome.context("the load did not end within a minute")??;
    for forwarder in &forwarders {
        forwarder.signal(Signal::CONT);
    }
    // Lies that were not told in time are not told any more: from here on everything is well.
    stage.postgres_liar.set(Vec::new());
    stage.http_liar.set(Vec::new());
    let mut restarts: u64 = forwarders.iter().map(|forwarder| forwarder.starts().saturating_sub(1)).sum();
    if plan.ends_with_once {
        for forwarder in forwarders {
            forwarder.stop(Signal::KILL).await?;
        }
        drain_once(stage).await?;
    } else {
        drained(stage).await?;
        for forwarder in forwarders {
            forwarder.stop(Signal::TERM).await?;
        }
    }
    restarts += stage.origin.as_ref().map_or(0, Service::starts) - origin_starts;
    restarts += stage.command.service().starts() + stage.sink.service().starts() - database_starts;
    let acknowledged = load.outcome().await;
    let (counts, found) = stage.check(&acknowledged).await?;
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Ok(Outcome {
        plan,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        acknowledged: number(acknowledged.events.len() + acknowledged.revisions.len()),
        unknown: acknowledged.unknown,
        restarts,
        counts,
        found,
        timeline: stage.timeline.entries(),
    })
}

/// Does what the plan says, each when its count is reached.
async fn break_things(
    stage: &Stage,
    faults: &[Fault],
    forwarders: &[Service],
    load: &Arc<Load>,
) -> Result<()> {
    let mut progress = load.progress();
    let mut once = tokio::task::JoinSet::new();
    for fault in faults {
        progress.wait_for(|done| *done >= fault.after).await.context("the load ended early")?;
        tokio::time::sleep(Duration::from_millis(fault.then_ms)).await;
        stage.timeline.note(format!("after {} changes: {:?}", fault.after, fault.action));
        let forwarder = |index: usize| forwarders.get(index).context("there is no such forwarder");
        match fault.action {
            Action::KillOrigin => {
                let origin = stage.origin.as_ref().context("there is no origin")?;
                origin.signal(Signal::KILL);
            }
            Action::KillForwarder(index) => drop(forwarder(index)?.signal(Signal::KILL)),
            Action::TerminateForwarder(index) => drop(forwarder(index)?.signal(Signal::TERM)),
            Action::StopForwarder(index) => drop(forwarder(index)?.signal(Signal::STOP)),
            Action::ContinueForwarders => {
                for forwarder in forwarders {
                    forwarder.signal(Signal::CONT);
                }
            }
            Action::CrashCommandDatabase(how) => drop(stage.command.crash(how)),
            Action::CrashSinkDatabase(how) => drop(stage.sink.crash(how)),
            Action::CutSinks => {
                stage.postgres_liar.cut_all();
                stage.http_liar.cut_all();
            }
            // The database may be gone at this moment; then its time passes once it is back.
            Action::PassTime => drop(stage.pass_time(true).await),
            Action::ForwardOnce => {
                let spec = stage.spec("forward-once", "forward");
                let mut command = tokio::process::Command::new(&spec.program);
                command.args(["forward", "--once"]).envs(&spec.environment).current_dir(&spec.folder);
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
                command.kill_on_drop(true);
                once.spawn(async move { command.status().await });
            }
        }
    }
    // Those that were cut off fail, rightly; what they left is carried by the others.
    while once.join_next().await.is_some() {}
    Ok(())
}

/// Waits until the services have carried everything, letting their waits pass quickly.
pub(crate) async fn drained(stage: &Stage) -> Result<()> {
    let began = Stopwatch::start();
    let mut admin = stage.command.admin().await?;
    loop {
        let left = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM auth_gateway.outbox")
            .fetch_one(&mut admin)
            .await?;
        if left == 0 {
            stage.timeline.note("everything has arrived");
            return admin.close().await.map_err(Into::into);
        }
        if began.elapsed() > PATIENCE {
            let shown = stage.run_gateward(&["outbox", "stats"]).await?;
            bail!(
                "{left} rows are still queued after a minute of peace:\n{}",
                String::from_utf8_lossy(&shown.stdout)
            );
        }
        stage.pass_time(false).await?;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Carries the rest with two commands at once, again and again until nothing waits.
async fn drain_once(stage: &Stage) -> Result<()> {
    let began = Stopwatch::start();
    loop {
        stage.pass_time(true).await?;
        let arguments = ["forward", "--once"];
        let (one, other) = tokio::join!(stage.run_gateward(&arguments), stage.run_gateward(&arguments));
        let (one, other) = (one?, other?);
        if one.status.success() && other.status.success() {
            stage.timeline.note("two `forward --once` have carried everything");
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            let words =
                String::from_utf8_lossy(&one.stderr).into_owned() + &String::from_utf8_lossy(&other.stderr);
            bail!("`forward --once` still leaves something after a minute of peace:\n{words}");
        }
    }
}

//! Things that break in one certain way, each made to happen for sure, where the seeds only meet them by chance: a zombie, two commands
//! at once, a database that is gone for a while, a full disk. And the checker itself, which must find what is wrong.

mod checker_finds;
mod database_gone;
mod disk_full;
mod two_at_once;
mod zombie;

use std::time::Duration;

use anyhow::{Result, bail};
use sqlx::{AssertSqlSafe, Connection};

use crate::clock::Stopwatch;
use crate::load::{Acknowledged, Load};
use crate::plan::Plan;
use crate::stage::{Cluster, Stage};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Plays all of them, one after the other.
pub(crate) async fn play(stage: &mut Stage) -> Result<()> {
    let mut failed = Vec::new();
    for name in ["the checker", "two at once", "a zombie", "a database that is gone", "a full disk"] {
        let began = Stopwatch::start();
        stage.timeline.restart();
        let outcome = match name {
            "the checker" => Box::pin(checker_finds::play(stage)).await,
            "two at once" => Box::pin(two_at_once::play(stage)).await,
            "a zombie" => Box::pin(zombie::play(stage)).await,
            "a database that is gone" => Box::pin(database_gone::play(stage)).await,
            _ => Box::pin(disk_full::play(stage)).await,
        };
        match outcome {
            Ok(said) => eprintln!("    {name}: {said} ({} ms)", began.elapsed().as_millis()),
            Err(error) => {
                for entry in stage.timeline.entries() {
                    eprintln!("    {:>6} ms  {}", entry.at_ms, entry.what);
                }
                eprintln!("    {name}: {error:#}");
                failed.push(name);
                // What is left of one would be found by the next.
                break;
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} did not end well", failed.join(", ")) }
}

/// Appends so many events, undisturbed.
async fn append(stage: &Stage, seed: u64, events: u64) -> Result<Acknowledged> {
    let load = Load::new(&Plan::peaceful(seed, events, 0));
    load.run(&stage.prepared, &stage.operator_token).await?;
    Ok(load.outcome().await)
}

/// Fails with what the checker finds.
async fn check(stage: &Stage, acknowledged: &Acknowledged) -> Result<()> {
    let (_, found) = stage.check(acknowledged).await?;
    if found.is_empty() { Ok(()) } else { bail!("{}", found.join("\n    ")) }
}

/// Waits until a query of one number gives one that is wanted.
async fn until(cluster: &Cluster, query: &str, wanted: impl Fn(i64) -> bool) -> Result<i64> {
    let began = Stopwatch::start();
    let mut admin = cluster.admin().await?;
    loop {
        let number: i64 = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&mut admin).await?;
        if wanted(number) {
            admin.close().await?;
            return Ok(number);
        }
        if began.elapsed() > PATIENCE {
            bail!("`{query}` still gives {number} after a minute");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

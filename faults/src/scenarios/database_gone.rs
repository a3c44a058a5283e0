//! The command database is shut down under load and stays away for longer than any connection is waited for. Whoever was told that
//! something was done finds it done; everything else is done again once the database is back.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::check;
use crate::load::Load;
use crate::plan::Plan;
use crate::process::Service;
use crate::run::drained;
use crate::stage::Stage;

/// Longer than the five seconds that a pool waits for a connection.
const AWAY: Duration = Duration::from_secs(6);

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let forwarder = Service::start(stage.spec("forwarder-1", "forward"), &stage.timeline, None);
    let load = Load::new(&Plan::peaceful(0xB3, 400, 30));
    let writing = load.run(&stage.prepared, &stage.operator_token);
    let stopping = async {
        let mut progress = load.progress();
        progress.wait_for(|done| *done >= 100).await?;
        let database = stage.command.service();
        let starts = database.starts();
        database.hold(true);
        // Fast shutdown: who is connected is thrown out.
        database.signal(Signal::INT);
        tokio::time::sleep(AWAY).await;
        ensure!(database.pid().is_none(), "it did not shut down");
        database.hold(false);
        database.started(starts + 1).await
    };
    tokio::try_join!(writing, stopping)?;
    drained(stage).await?;
    forwarder.stop(Signal::TERM).await?;
    let acknowledged = load.outcome().await;
    check(stage, &acknowledged).await?;
    ensure!(acknowledged.unknown > 0, "nothing was under way when it went away");
    Ok(format!("{} changes were cut off, all others are there", acknowledged.unknown))
}

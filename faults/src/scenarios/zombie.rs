//! A forwarder is stopped (SIGSTOP) with a batch that the sink has taken and nobody has acknowledged. Another takes over when the lease
//! has run out, and carries everything; then the first wakes up and believes that nothing has happened.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::{append, check, until};
use crate::plan::{Lie, ToldLie};
use crate::process::Service;
use crate::stage::Stage;

/// Lanes that somebody of this process holds.
const QUEUED: &str = "SELECT count(*) FROM auth_gateway.outbox WHERE destination_id = 1";

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let mut acknowledged = append(stage, 0xB1, 300).await?;
    stage.postgres_liar.set(vec![ToldLie { at: 1, lie: Lie::AppliesThenHangs }]);
    let told = stage.postgres_liar.told();
    let zombie = Service::start(stage.spec("zombie", "forward"), &stage.timeline, None);
    while stage.postgres_liar.told() == told {
        tokio::task::yield_now().await;
    }
    zombie.signal(Signal::STOP);
    let arrived =
        until(&stage.sink, "SELECT count(*) FROM public.auth_events WHERE metadata IS NOT NULL", |count| {
            count > 0
        })
        .await?;
    let queued = until(&stage.command, QUEUED, |_| true).await?;
    ensure!(queued >= 300, "something was acknowledged before it was stopped: {queued} are queued");

    let other = Service::start(stage.spec("successor", "forward"), &stage.timeline, None);
    until(&stage.command, QUEUED, |count| count == 0).await?;
    stage.timeline.note("the successor has carried everything");
    let epochs =
        until(&stage.command, "SELECT sum(epoch)::bigint FROM auth_gateway.outbox_lanes", |_| true).await?;
    zombie.signal(Signal::CONT);
    // It must go on working, as one of two.
    let more = append(stage, 0xB2, 200).await?;
    acknowledged.events.extend(more.events);
    until(&stage.command, QUEUED, |count| count == 0).await?;
    ensure!(zombie.starts() == 1, "the zombie did not live on");
    for service in [zombie, other] {
        service.stop(Signal::TERM).await?;
    }
    stage.gateward(&["forward", "--once"]).await?;
    check(stage, &acknowledged).await?;
    Ok(format!(
        "{arrived} events there when it stopped, {queued} queued, taken over at epoch {epochs}, all there once and in order"
    ))
}

//! How many bytes the outbox adds to the write-ahead log for an event: queued, leased, delivered, deleted. What appending the event
//! itself costs is measured the same way with the destination disabled, and taken off.

use anyhow::Result;
use origin::database::{Actor, Component};
use origin::outbox::Delivery;
use origin::outbox::destination::{Destination, Undelivered};
use uuid::Uuid;

use crate::stage::Stage;

/// Events a measurement, one transaction each, over as many aggregates.
const EVENTS: u32 = 3_000;
/// Rows a batch of the forwarder may have, as where the figure to beat was measured.
const BATCH: usize = 50;

struct Nowhere;

impl Destination for Nowhere {
    async fn deliver(&self, _: &[Delivery]) -> Result<(), Undelivered> {
        Ok(())
    }

    fn most_rows(&self) -> usize {
        BATCH
    }
}

/// Bytes an event.
pub(crate) async fn outbox(stage: &Stage) -> Result<f64> {
    stage.tidy().await?;
    let enable = "UPDATE auth_gateway.outbox_destinations SET enabled = true WHERE id = 1";
    let disable = "UPDATE auth_gateway.outbox_destinations SET enabled = false WHERE id = 1";
    // After the checkpoint each page is written whole once: that is the first pass's, and not what an event costs.
    append(stage).await?;
    stage.forwarder(Nowhere).drain().await?;
    stage.execute(disable).await?;
    let without = written(stage, async || append(stage).await).await?;
    stage.execute(enable).await?;
    let with = written(stage, async || {
        append(stage).await?;
        stage.forwarder(Nowhere).drain().await?;
        Ok(())
    })
    .await?;
    Ok((with - without) / f64::from(EVENTS))
}

async fn written(stage: &Stage, work: impl AsyncFn() -> Result<()>) -> Result<f64> {
    const POSITION: &str = "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')";
    let before = stage.number(POSITION).await?;
    work().await?;
    Ok(stage.number(POSITION).await? - before)
}

async fn append(stage: &Stage) -> Result<()> {
    let shared = stage.share();
    for number in 0..u128::from(EVENTS) {
        let mut scope = stage.command.scope(Actor::System(Component::AuthorizationServer)).await?;
        scope.append(shared.event(Uuid::from_u128(number + (1 << 64)))).await?;
        scope.commit().await?;
    }
    Ok(())
}

//! How many bytes the outbox adds to the write-ahead log for an event: queued, leased, delivered, deleted. What appending the event
//! itself costs is measured the same way with the destination disabled, and taken off; whole pages after a checkpoint and vacuum are
//! left out of both.

use anyhow::Result;
use origin::database::{Actor, Component};
use origin::outbox::Delivery;
use origin::outbox::destination::{Destination, Undelivered};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stage::Stage;

/// Events a measurement, one transaction each, over as many aggregates.
const EVENTS: usize = 2_000;
/// How many append at once.
const CLIENTS: usize = 16;
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
    // Whole pages after a checkpoint, and whatever vacuum does meanwhile, are not what an event costs.
    settings(stage, "off").await?;
    stage.execute(disable).await?;
    let without = written(stage, async || append(stage).await).await?;
    stage.execute(enable).await?;
    let with = written(stage, async || {
        append(stage).await?;
        stage.forwarder(Nowhere).drain().await?;
        Ok(())
    })
    .await?;
    settings(stage, "on").await?;
    Ok((with - without) / f64::from(u32::try_from(EVENTS)?))
}

async fn settings(stage: &Stage, value: &str) -> Result<()> {
    for setting in ["full_page_writes", "autovacuum"] {
        stage.execute(&format!("ALTER SYSTEM SET {setting} = {value}")).await?;
    }
    stage.execute("SELECT pg_reload_conf()").await?;
    // Those who write take it over when they next begin something, which may be a moment later.
    while stage.number("(current_setting('autovacuum') = '{}')::int".replace("{}", value).as_str()).await?
        < 0.5
    {}
    stage.execute("CHECKPOINT").await
}

async fn written(stage: &Stage, work: impl AsyncFn() -> Result<()>) -> Result<f64> {
    const POSITION: &str = "pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')";
    let before = stage.number(POSITION).await?;
    work().await?;
    Ok(stage.number(POSITION).await? - before)
}

/// By several clients at once: each commit waits for the disk.
async fn append(stage: &Stage) -> Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (database, shared) = (stage.command.clone(), stage.share());
        clients.spawn(async move {
            for number in (client..EVENTS).step_by(CLIENTS) {
                let mut scope = database.scope(Actor::System(Component::AuthorizationServer)).await?;
                let aggregate_id = Uuid::from_u128(u128::from(u32::try_from(number)?) + (1 << 64));
                scope.append(shared.event(aggregate_id)).await?;
                scope.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

//! How fast the real forwarder empties a queue: to nowhere, which is its own cost, and to the read database.

use anyhow::Result;
use origin::database::{Actor, Component};
use origin::outbox::Delivery;
use origin::outbox::destination::{Destination, Postgres, Undelivered};

use crate::stage::Stage;

/// Events queued before each.
const EVENTS: u32 = 20_000;

/// Takes everything and keeps nothing.
struct Nowhere;

impl Destination for Nowhere {
    async fn deliver(&self, _: &[Delivery]) -> Result<(), Undelivered> {
        Ok(())
    }
}

/// Rows a second, to nowhere and to the read database.
pub(crate) async fn drain(stage: &Stage) -> Result<(f64, f64)> {
    let to_nowhere = one(stage, Nowhere).await?;
    let to_postgres = one(stage, Postgres::new(stage.read.clone())).await?;
    Ok((to_nowhere, to_postgres))
}

async fn one(stage: &Stage, destination: impl Destination) -> Result<f64> {
    stage.tidy().await?;
    let shared = stage.share();
    for _ in 0..EVENTS / 1_000 {
        let events = (0..1_000).map(|_| shared.event(shared.id())).collect();
        let mut scope = stage.command.scope(Actor::System(Component::Operator)).await?;
        scope.append_all(events).await?;
        scope.commit().await?;
    }
    stage.execute("ANALYZE auth_gateway.outbox").await?;
    let forwarder = stage.forwarder(destination);
    let begun = stage.clock.instant();
    let drained = forwarder.drain().await?;
    anyhow::ensure!(drained.delivered == u64::from(EVENTS), "{drained:?}");
    Ok(f64::from(EVENTS) / begun.elapsed().as_secs_f64())
}

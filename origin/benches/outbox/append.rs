//! One event a transaction, by many clients, beside one bare row a statement, by as many.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use origin::database::{Actor, Component};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Size;
use crate::stage::Stage;

/// How many append at once.
pub(crate) const CLIENTS: u32 = 16;
/// Aggregates a client appends to in turn.
const AGGREGATES: u128 = 500;

/// Events a second, each in a scope of its own, with its outbox row.
pub(crate) async fn events(stage: &Stage, size: Size) -> Result<f64> {
    stage.tidy().await?;
    let begun = stage.clock.instant();
    let until = begun + Duration::from_secs(size.seconds);
    let mut clients = JoinSet::new();
    for client in 0..u128::from(CLIENTS) {
        let (database, clock) = (stage.command.clone(), stage.clock.clone());
        let events = Events { stage: stage.share(), client };
        clients.spawn(async move {
            let mut done = 0_u32;
            while clock.instant() < until {
                let mut scope = database.scope(Actor::System(Component::AuthorizationServer)).await?;
                scope.append(events.next(done)).await?;
                scope.commit().await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    rate(clients, stage, begun).await
}

/// Rows a second, each in a statement of its own, on connections that are held.
pub(crate) async fn bare(stage: &Stage, size: Size) -> Result<f64> {
    stage.tidy().await?;
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(stage.admin().await?);
    }
    let begun = stage.clock.instant();
    let until = begun + Duration::from_secs(size.seconds);
    let mut clients = JoinSet::new();
    for mut connection in connections {
        let shared = stage.share();
        clients.spawn(async move {
            let mut done = 0_u32;
            while shared.clock.instant() < until {
                let payload = serde_json::json!({
                    "client_id": "demo-app", "jti": shared.id(), "generation": 7, "scopes": "notes:read notes:write",
                });
                sqlx::query("INSERT INTO public.bare (id, payload) VALUES ($1, $2)")
                    .bind(shared.id())
                    .bind(payload)
                    .execute(&mut connection)
                    .await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    rate(clients, stage, begun).await
}

struct Events {
    stage: Arc<crate::stage::Shared>,
    client: u128,
}

impl Events {
    fn next(&self, number: u32) -> origin::events::NewEvent {
        let aggregate = self.client * AGGREGATES + u128::from(number) % AGGREGATES;
        self.stage.event(Uuid::from_u128(aggregate + 1))
    }
}

/// What all clients did, a second.
pub(crate) async fn rate(
    mut clients: JoinSet<Result<u32>>,
    stage: &Stage,
    begun: std::time::Instant,
) -> Result<f64> {
    let mut done = 0.0;
    while let Some(client) = clients.join_next().await {
        done += f64::from(client??);
    }
    Ok(done / (stage.clock.instant() - begun).as_secs_f64())
}

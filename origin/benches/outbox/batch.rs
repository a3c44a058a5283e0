//! A thousand events at once, beside a COPY of as many rows that were made in advance and a load of the outbox.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use origin::database::{Actor, Component};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Size;
use crate::stage::{Stage, WORKSPACE};

/// Events a batch.
pub(crate) const BATCH: u32 = 1_000;
/// How many load at once: a client's work and the server's can overlap.
const CLIENTS: u32 = 2;

/// Events a second through `append_all`, a scope a batch.
pub(crate) async fn append_all(stage: &Stage, size: Size) -> Result<f64> {
    stage.tidy().await?;
    let begun = stage.clock.instant();
    let until = begun + Duration::from_secs(size.seconds);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (database, shared) = (stage.command.clone(), stage.share());
        clients.spawn(async move {
            let mut done = 0_u32;
            while shared.clock.instant() < until {
                let events = (0..BATCH).map(|_| shared.event(shared.id())).collect();
                let mut scope = database.scope(Actor::System(Component::Operator)).await?;
                scope.append_all(events).await?;
                scope.commit().await?;
                done += BATCH;
            }
            anyhow::Ok(done)
        });
    }
    crate::append::rate(clients, stage, begun).await
}

/// Rows a second by COPY into the same table, with their outbox rows loaded beside them.
pub(crate) async fn copy(stage: &Stage, size: Size) -> Result<f64> {
    stage.tidy().await?;
    let begun = stage.clock.instant();
    let until = begun + Duration::from_secs(size.seconds);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let shared = stage.share();
        let mut connection = stage.admin().await?;
        clients.spawn(async move {
            let mut done = 0_u32;
            while shared.clock.instant() < until {
                let (events, outbox) = rows(|| shared.id());
                sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
                let mut copy = connection.copy_in_raw("COPY auth_gateway.events FROM STDIN").await?;
                copy.send(events.into_bytes()).await?;
                copy.finish().await?;
                let mut copy = connection
                    .copy_in_raw("COPY auth_gateway.outbox (destination_id, lane, event_id) FROM STDIN")
                    .await?;
                copy.send(outbox.into_bytes()).await?;
                copy.finish().await?;
                sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
                done += BATCH;
            }
            anyhow::Ok(done)
        });
    }
    crate::append::rate(clients, stage, begun).await
}

/// A batch as COPY wants it, of the size of real events. Only the ids are made anew: nothing is hashed and nothing is looked up.
fn rows(id: impl Fn() -> Uuid) -> (String, String) {
    const PAYLOAD: &str = r#"{"client_id":"demo-app","expires_at":"2026-11-21T10:00:00.000000Z","generation":7,"jti":"019aa5d0-6c1e-7b5e-9d3e-0c2f6a1b7e55","scopes":"notes:read notes:write"}"#;
    const METADATA: &str = r#"{"actor":{"component":"operator","kind":"system"},"causation_id":null,"correlation_id":"019aa5d0-6c1e-7b5e-9d3e-0c2f6a1b7e55","service_name":"gateward"}"#;
    let hash = "ab".repeat(32);
    let body = "7b".repeat(PAYLOAD.len() + METADATA.len() + 290);
    let (mut events, mut outbox) = (String::new(), String::new());
    for number in 0..BATCH {
        let (event_id, aggregate_id) = (id(), id());
        // Writing to a string cannot fail.
        let _ = writeln!(
            events,
            "{event_id}\t{WORKSPACE}\tgrant\t{aggregate_id}\t1\tRefreshTokenRotated\t1\t{PAYLOAD}\t{METADATA}\t\
             2026-11-21 10:00:00Z\t\\\\x{body}\t\\N\t\\\\x{hash}"
        );
        let _ = writeln!(outbox, "1\t{}\t{event_id}", number % 64);
    }
    (events, outbox)
}

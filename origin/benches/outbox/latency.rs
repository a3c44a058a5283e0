//! How long after its commit an event is in the sink, at a steady rate, with the forwarder as it runs in production.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use origin::clock::Clock;
use origin::database::{Actor, Component};
use origin::outbox::Delivery;
use origin::outbox::destination::{Destination, Postgres, Undelivered};
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::Size;
use crate::stage::Stage;

/// Between two appends: about a hundred a second.
const PAUSE: Duration = Duration::from_millis(10);

/// When what happened.
#[derive(Default)]
struct Times {
    committed: HashMap<Uuid, Instant>,
    arrived: HashMap<Uuid, Instant>,
    calls: Vec<Duration>,
}

/// The read database, with a watch on it.
struct Timed {
    sink: Postgres,
    clock: Clock,
    times: Arc<Mutex<Times>>,
}

impl Destination for Timed {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        let begun = self.clock.instant();
        self.sink.deliver(batch).await?;
        let now = self.clock.instant();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.calls.push(now - begun);
        times.arrived.extend(batch.iter().map(|row| (row.event_id, now)));
        Ok(())
    }
}

/// Milliseconds: of the events, and of the sink's calls.
pub(crate) async fn latency(stage: &Stage, size: Size) -> Result<Value> {
    stage.tidy().await?;
    let times = Arc::new(Mutex::new(Times::default()));
    let sink = Timed {
        sink: Postgres::new(stage.read.clone()),
        clock: stage.clock.clone(),
        times: Arc::clone(&times),
    };
    let forwarder = stage.forwarder(sink);
    let (stop, stopped) = watch::channel(false);
    let work = async {
        let shared = stage.share();
        let until = stage.clock.instant() + Duration::from_secs(size.seconds);
        let mut sent = 0;
        while stage.clock.instant() < until {
            let mut scope = stage.command.scope(Actor::System(Component::AuthorizationServer)).await?;
            let appended = scope.append(shared.event(shared.id())).await?;
            scope.commit().await?;
            let now = stage.clock.instant();
            times.lock().unwrap_or_else(PoisonError::into_inner).committed.insert(appended.event_id, now);
            sent += 1;
            tokio::time::sleep(PAUSE).await;
        }
        while times.lock().unwrap_or_else(PoisonError::into_inner).arrived.len() < sent {
            tokio::time::sleep(PAUSE).await;
        }
        stop.send(true)?;
        anyhow::Ok(())
    };
    let ((), worked) = tokio::join!(forwarder.run(stopped), work);
    worked?;
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let took = |(id, committed): (&Uuid, &Instant)| {
        times.arrived.get(id).map(|arrived| arrived.saturating_duration_since(*committed))
    };
    let events = sorted(times.committed.iter().filter_map(took));
    let calls = sorted(times.calls.iter().copied());
    Ok(json!({
        "events": events.len(), "p50_ms": at(&events, 50), "p99_ms": at(&events, 99), "sink_p50_ms": at(&calls, 50),
        "sink_p99_ms": at(&calls, 99),
    }))
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
}

fn at(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default().as_secs_f64() * 1_000.0
}

//! The checker finds what is wrong: each kind of damage is done in a transaction, looked at from inside it, and undone.

use anyhow::{Result, bail};
use sqlx::Connection;

use super::{append, check};
use crate::checker::{self, Sink};
use crate::load::Acknowledged;
use crate::stage::{Stage, execute};

/// What is done, to which side, and how it must be found.
const DAMAGE: [(&str, bool, &str); 9] = [
    (
        "an event is missing in the sink",
        false,
        "DELETE FROM public.auth_events WHERE event_id = (SELECT min(event_id::text)::uuid FROM public.auth_events)",
    ),
    (
        "an event in the sink is another",
        false,
        "UPDATE public.auth_events SET event_type = 'Other' WHERE event_id = (SELECT min(event_id::text)::uuid FROM public.auth_events)",
    ),
    (
        "an effect is there twice",
        false,
        "UPDATE faults.effects SET times = 2 WHERE event_id = (SELECT min(event_id::text)::uuid FROM faults.effects)",
    ),
    (
        "the second of an aggregate came first",
        false,
        "UPDATE faults.arrivals SET version = 3 - version WHERE version IN (1, 2)",
    ),
    (
        "an event was lost",
        true,
        "DELETE FROM auth_gateway.events AS e WHERE version = (SELECT max(version) FROM auth_gateway.events AS o WHERE o.aggregate_id = e.aggregate_id) AND aggregate_type = 'grant'",
    ),
    (
        "an event is changed",
        true,
        "UPDATE auth_gateway.events SET body = body || ' ' WHERE version = 1 AND aggregate_type = 'grant'",
    ),
    (
        "a row is still queued",
        true,
        "INSERT INTO auth_gateway.outbox (destination_id, lane, event_id) SELECT 1, 0, event_id FROM auth_gateway.events LIMIT 1",
    ),
    (
        "a row was given up",
        true,
        "INSERT INTO auth_gateway.outbox_failed (destination_id, lane, id, event_id, attempts, error_class, created_at, failed_at) SELECT 1, 0, 1, event_id, 5, 'refused', now(), now() FROM auth_gateway.events LIMIT 1",
    ),
    (
        "an aggregate is parked",
        true,
        "INSERT INTO auth_gateway.outbox_parked (destination_id, workspace_id, aggregate_type, aggregate_id, parked_at) SELECT 1, workspace_id, aggregate_type, aggregate_id, now() FROM auth_gateway.events LIMIT 1",
    ),
];

pub(super) async fn play(stage: &Stage) -> Result<String> {
    let acknowledged = append(stage, 0xB5, 60).await?;
    stage.gateward(&["forward", "--once"]).await?;
    check(stage, &acknowledged).await?;
    for (what, in_command, damage) in DAMAGE {
        let found = look(stage, &acknowledged, in_command, damage).await?;
        if found.is_empty() {
            bail!("{what}, and the checker does not see it");
        }
    }
    check(stage, &acknowledged).await?;
    Ok(format!("finds all {} kinds of damage", DAMAGE.len()))
}

async fn look(
    stage: &Stage,
    acknowledged: &Acknowledged,
    in_command: bool,
    damage: &str,
) -> Result<Vec<String>> {
    let mut command = stage.command.admin().await?;
    let mut sink = stage.sink.admin().await?;
    let side = if in_command { &mut command } else { &mut sink };
    // Triggers and foreign keys stay out of it.
    execute(side, "BEGIN; SET LOCAL session_replication_role = replica").await?;
    execute(side, damage).await?;
    let mut sinks = [Sink { name: "Postgres", connection: &mut sink }];
    let (_, found) = checker::check(&mut command, &mut sinks, acknowledged).await?;
    // Closing undoes it.
    command.close().await?;
    sink.close().await?;
    Ok(found)
}

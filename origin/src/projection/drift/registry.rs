//! The client registry against the rows that the events come to, a page of aggregates at a time.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::super::Store;
use super::super::recorded::{self, Place, Recorded};
use super::{Difference, Drift, DriftError, Kind, Reach};
use crate::database::{Actor, Component, Database};
use crate::registry::{self, AGGREGATES, Differing, Happened, Row, TABLES, Table, fold};

/// Events in a page, and ids of rows.
const PAGE: i64 = 2_000;
/// How often a row that moves while it is looked at is looked at again. After that it is in use, and no difference.
const LOOKS: usize = 5;

/// Compares the registry with the events.
pub async fn registry(command: &Database, store: &Database, reach: Reach) -> Result<Drift, DriftError> {
    let mut drift = Drift::new(Store::Registry);
    let clock = command.clock();
    extra_rows(command, store, reach, &mut drift).await?;
    let mut after = Place::default();
    // The events of the last aggregate of a page, of which there may be more.
    let mut begun: Vec<Recorded> = Vec::new();
    loop {
        if drift.is_over(reach, clock.instant()) {
            break;
        }
        let page =
            recorded::page(command, Some(&AGGREGATES), &after, PAGE).await.map_err(DriftError::Command)?;
        let is_last = i64::try_from(page.len()).unwrap_or(PAGE) < PAGE;
        if let Some(last) = page.last() {
            after = last.place();
        }
        begun.extend(page);
        let unfinished = if is_last { None } else { begun.last().map(|event| event.aggregate_id) };
        let (rest, whole): (Vec<_>, Vec<_>) =
            begun.into_iter().partition(|event| Some(event.aggregate_id) == unfinished);
        begun = rest;
        compare(command, store, &whole, &mut drift).await?;
        if is_last {
            break;
        }
    }
    drift.differences.sort_unstable();
    Ok(drift)
}

async fn compare(
    command: &Database,
    store: &Database,
    events: &[Recorded],
    drift: &mut Drift,
) -> Result<(), DriftError> {
    let rows: Vec<Row> = fold(events.iter().map(Happened::from))?.into_values().collect();
    drift.compared += u64::try_from(rows.len()).unwrap_or(0);
    for table in TABLES {
        let expected: Vec<Row> = rows.iter().filter(|row| row.table == table).cloned().collect();
        let candidates = look(store, table, &expected).await?;
        if !candidates.is_empty() {
            drift.buckets_differing += 1;
            let ids: Vec<Uuid> = candidates.iter().map(|candidate| candidate.id).collect();
            let confirmed = confirm(command, store, table, ids).await?;
            drift.differences.extend(confirmed);
        }
    }
    Ok(())
}

async fn look(store: &Database, table: Table, expected: &[Row]) -> Result<Vec<Differing>, DriftError> {
    if expected.is_empty() {
        return Ok(Vec::new());
    }
    let fault = DriftError::of(Store::Registry);
    let mut scope = store.scope(Actor::System(Component::Registrar)).await.map_err(&fault)?;
    registry::differing(&mut scope, table, expected).await.map_err(&fault)
}

/// Keeps those that differ although everything of them was delivered.
async fn confirm(
    command: &Database,
    store: &Database,
    table: Table,
    mut ids: Vec<Uuid>,
) -> Result<Vec<Difference>, DriftError> {
    let mut confirmed = Vec::new();
    for _ in 0..LOOKS {
        // First what happened; then that nothing of it is on its way any more; then the row. It must have all of it.
        let events =
            recorded::of_aggregates(command, table.aggregate(), &ids).await.map_err(DriftError::Command)?;
        let on_their_way: BTreeSet<Uuid> = recorded::unsettled_aggregates(
            command,
            Store::Registry.destination_id(),
            table.aggregate(),
            &ids,
        )
        .await
        .map_err(DriftError::Command)?
        .into_iter()
        .collect();
        let rows = fold(events.iter().map(Happened::from))?;
        let expected: Vec<Row> =
            rows.values().filter(|row| !on_their_way.contains(&row.id)).cloned().collect();
        let differing = look(store, table, &expected).await?;
        // A row that is ahead of what was read may have learned of something new since: that is not read yet, or it is made up.
        let ahead = |row: &Differing| {
            row.version.is_some_and(|version| rows.get(&row.id).is_none_or(|known| version > known.version))
        };
        let (ahead, behind): (Vec<_>, Vec<_>) = differing.into_iter().partition(ahead);
        confirmed.extend(behind.into_iter().map(|row| Difference {
            kind: if row.version.is_some() { Kind::Changed } else { Kind::Missing },
            table: table.name(),
            id: row.id,
        }));
        if ahead.is_empty() {
            break;
        }
        let ahead_ids: Vec<Uuid> = ahead.iter().map(|row| row.id).collect();
        let now = recorded::of_aggregates(command, table.aggregate(), &ahead_ids)
            .await
            .map_err(DriftError::Command)?;
        let now = fold(now.iter().map(Happened::from))?;
        // Nothing of that version has happened even now, after the row said so.
        let (made_up, moving): (Vec<_>, Vec<_>) =
            ahead.into_iter().partition(|row| now.get(&row.id).map(|known| known.version) < row.version);
        confirmed.extend(made_up.into_iter().map(|row| Difference {
            kind: Kind::Changed,
            table: table.name(),
            id: row.id,
        }));
        ids = moving.into_iter().map(|row| row.id).collect();
        if ids.is_empty() {
            break;
        }
    }
    Ok(confirmed)
}

/// Rows that no event stands for.
async fn extra_rows(
    command: &Database,
    store: &Database,
    reach: Reach,
    drift: &mut Drift,
) -> Result<(), DriftError> {
    let fault = DriftError::of(Store::Registry);
    for table in TABLES {
        let mut after = Uuid::nil();
        loop {
            if drift.is_over(reach, command.clock().instant()) {
                return Ok(());
            }
            let mut scope = store.scope(Actor::System(Component::Registrar)).await.map_err(&fault)?;
            let ids = registry::ids(&mut scope, table, after, PAGE).await.map_err(&fault)?;
            drop(scope);
            let Some(last) = ids.last() else { break };
            after = *last;
            let events = recorded::of_aggregates(command, table.aggregate(), &ids)
                .await
                .map_err(DriftError::Command)?;
            let known = fold(events.iter().map(Happened::from))?;
            let extra = ids.iter().filter(|id| !known.contains_key(*id));
            drift.differences.extend(extra.map(|id| Difference {
                kind: Kind::Extra,
                table: table.name(),
                id: *id,
            }));
        }
    }
    Ok(())
}

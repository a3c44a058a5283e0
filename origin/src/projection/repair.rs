//! Mends the rows that differ: what no event stands for is removed, what differs from its event or is not there is projected again. Under
//! the store's own role, in small transactions. What another run, or a forwarder, has mended meanwhile is left as it is.

use serde::Serialize;
use uuid::Uuid;

use super::drift::{Difference, Drift, DriftError, Kind};
use super::recorded::{self, Recorded};
use super::{Store, read_side};
use crate::database::{Actor, Component, Database, DatabaseError};
use crate::registry::{self, Happened, TABLES, Table, fold};

/// Rows that one transaction mends.
const BATCH: usize = 500;

/// What became of the differences.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct Repaired {
    /// Rows that were not there and are now.
    pub added: Vec<Difference>,
    /// Rows that said something else and say now what the events say.
    pub replaced: Vec<Difference>,
    /// Rows that no event stands for, and that are gone.
    pub removed: Vec<Difference>,
    /// Rows that the store will not take, with what it said.
    pub refused: Vec<Refused>,
}

/// A row that could not be mended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused {
    /// The row.
    #[serde(flatten)]
    pub difference: Difference,
    /// Why.
    pub reason: String,
}

impl Repaired {
    /// How many rows are as they should be now.
    pub fn mended(&self) -> usize {
        self.added.len() + self.replaced.len() + self.removed.len()
    }
}

/// Mends what a comparison found.
pub async fn repair(drift: &Drift, command: &Database, store: &Database) -> Result<Repaired, DriftError> {
    let mut repaired = Repaired::default();
    match drift.store {
        Store::Read => {
            let of = |kind| -> Vec<&Difference> {
                drift.differences.iter().filter(|difference| difference.kind == kind).collect()
            };
            // A row that is not an event's may stand in the way of one that is.
            for batch in of(Kind::Extra).chunks(BATCH) {
                remove_events(command, store, batch, &mut repaired).await?;
            }
            for batch in of(Kind::Changed).chunks(BATCH).chain(of(Kind::Missing).chunks(BATCH)) {
                project_events(command, store, batch, &mut repaired).await?;
            }
        }
        Store::Registry => {
            for table in TABLES {
                let of_table: Vec<&Difference> =
                    drift.differences.iter().filter(|difference| difference.table == table.name()).collect();
                for batch in of_table.chunks(BATCH) {
                    mend_rows(command, store, table, batch, &mut repaired).await?;
                }
            }
        }
    }
    Ok(repaired)
}

fn ids(differences: &[&Difference]) -> Vec<Uuid> {
    differences.iter().map(|difference| difference.id).collect()
}

async fn remove_events(
    command: &Database,
    store: &Database,
    batch: &[&Difference],
    repaired: &mut Repaired,
) -> Result<(), DriftError> {
    let fault = DriftError::of(Store::Read);
    let known = recorded::known(command, &ids(batch)).await.map_err(DriftError::Command)?;
    let unknown: Vec<&Difference> =
        batch.iter().filter(|difference| !known.contains(&difference.id)).copied().collect();
    let mut scope = store.scope(Actor::System(Component::Projector)).await.map_err(&fault)?;
    read_side::remove(&mut scope, &ids(&unknown)).await.map_err(&fault)?;
    scope.commit().await.map_err(&fault)?;
    repaired.removed.extend(unknown.into_iter().cloned());
    Ok(())
}

async fn project_events(
    command: &Database,
    store: &Database,
    batch: &[&Difference],
    repaired: &mut Repaired,
) -> Result<(), DriftError> {
    let fault = DriftError::of(Store::Read);
    let events = recorded::by_ids(command, &ids(batch)).await.map_err(DriftError::Command)?;
    let mut done: Vec<Difference> = Vec::new();
    match replace_events(store, batch, &events).await {
        Ok(()) => done.extend(batch.iter().copied().cloned()),
        Err(error) if read_side::is_refusal(&error) => {
            // Some row of it: each by itself tells which.
            for difference in batch {
                let Some(event) = events.iter().find(|event| event.event_id == difference.id) else {
                    continue;
                };
                match replace_events(store, &[difference], std::slice::from_ref(event)).await {
                    Ok(()) => done.push((*difference).clone()),
                    Err(error) if read_side::is_refusal(&error) => repaired
                        .refused
                        .push(Refused { difference: (*difference).clone(), reason: error.to_string() }),
                    Err(error) => return Err(fault(error)),
                }
            }
        }
        Err(error) => return Err(fault(error)),
    }
    for difference in done {
        let list =
            if difference.kind == Kind::Changed { &mut repaired.replaced } else { &mut repaired.added };
        list.push(difference);
    }
    Ok(())
}

async fn replace_events(
    store: &Database,
    batch: &[&Difference],
    events: &[Recorded],
) -> Result<(), DatabaseError> {
    let changed: Vec<Uuid> = batch
        .iter()
        .filter(|difference| difference.kind == Kind::Changed)
        .map(|difference| difference.id)
        .collect();
    let mut scope = store.scope(Actor::System(Component::Projector)).await?;
    if !changed.is_empty() {
        read_side::remove(&mut scope, &changed).await?;
    }
    read_side::insert(&mut scope, "auth_events", events, None).await?;
    scope.commit().await
}

/// Makes rows of the registry what their events come to. The rows are locked first: what a forwarder delivered before that is among the
/// events that are read after it, and what it delivers later waits and is newer.
async fn mend_rows(
    command: &Database,
    store: &Database,
    table: Table,
    batch: &[&Difference],
    repaired: &mut Repaired,
) -> Result<(), DriftError> {
    let fault = DriftError::of(Store::Registry);
    let all = ids(batch);
    let mut scope = store.scope(Actor::System(Component::Registrar)).await.map_err(&fault)?;
    let locked = registry::lock(&mut scope, table, &all).await.map_err(&fault)?;
    let events =
        recorded::of_aggregates(command, table.aggregate(), &all).await.map_err(DriftError::Command)?;
    let rows = fold(events.iter().map(Happened::from))?;
    let expected: Vec<_> = rows.values().cloned().collect();
    // Those that are right by now are left alone.
    let mut wrong: Vec<Uuid> = registry::differing(&mut scope, table, &expected)
        .await
        .map_err(&fault)?
        .into_iter()
        .map(|row| row.id)
        .collect();
    let extra: Vec<Uuid> = locked.iter().filter(|id| !rows.contains_key(*id)).copied().collect();
    wrong.extend(&extra);
    // Only what was locked: a row that a forwarder has added since is newer than what is written here, which then changes nothing.
    let gone: Vec<Uuid> = wrong.iter().filter(|id| locked.contains(id)).copied().collect();
    registry::remove(&mut scope, table, &gone).await.map_err(&fault)?;
    registry::write(&mut scope, &expected, "").await.map_err(&fault)?;
    scope.commit().await.map_err(&fault)?;
    for difference in batch.iter().filter(|difference| wrong.contains(&difference.id)) {
        let list = match difference.kind {
            _ if extra.contains(&difference.id) => &mut repaired.removed,
            Kind::Missing => &mut repaired.added,
            Kind::Changed | Kind::Extra => &mut repaired.replaced,
        };
        list.push((*difference).clone());
    }
    Ok(())
}

//! The read side against the events, in buckets of 1,024 events by their ids, which sort by time. Of each bucket both sides are asked the
//! same: how many rows, the highest version, and all rows' hashes in one. Only buckets that differ are looked into.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::super::Store;
use super::super::recorded;
use super::{Difference, Drift, DriftError, Kind, Reach};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};

/// Events in a bucket.
const BUCKET: i64 = 1_024;
/// Buckets that one question is about.
const BUCKETS: i64 = 32;
/// Ids that one question names.
const IDS: usize = 2_000;
/// Rows that are read of one bucket: where somebody put more into one, the rest is found another time.
const ROWS: i64 = 50_000;

/// The hash of a row: the same text on any version of Postgres, whatever a session's settings.
const HASH: &str = "('x' || left(encode(sha256(convert_to(jsonb_build_array(event_id, workspace_id, aggregate_type, aggregate_id,
     version, event_type, schema_version, payload, metadata, (extract(epoch FROM occurred_at) * 1000000)::bigint)::text,
     'UTF8')), 'hex'), 16))::bit(64)::bigint";

/// One side of the comparison.
#[derive(Clone, Copy)]
enum Side<'a> {
    Events(&'a Database),
    Read(&'a Database),
}

/// Ids from one, not included, to another, included.
#[derive(Debug, Clone, Copy)]
struct Range {
    after: Uuid,
    to: Uuid,
}

/// What a side says of a bucket.
type Sum = (i64, Option<i64>, Option<i64>);

impl Side<'_> {
    fn table(self) -> &'static str {
        match self {
            Self::Events(_) => "auth_gateway.events",
            Self::Read(_) => "public.auth_events",
        }
    }

    async fn scope(self) -> Result<Scope, DriftError> {
        match self {
            Self::Events(database) => recorded::auditor(database).await,
            Self::Read(database) => database.scope(Actor::System(Component::Projector)).await,
        }
        .map_err(|error| self.fault(error))
    }

    fn fault(self, source: DatabaseError) -> DriftError {
        match self {
            Self::Events(_) => DriftError::Command(source),
            Self::Read(_) => DriftError::Store { store: Store::Read, source },
        }
    }

    async fn sums(self, starts: &[Uuid], range: Range) -> Result<BTreeMap<i32, Sum>, DriftError> {
        let statement = format!(
            "SELECT width_bucket(event_id, $1::uuid[]), count(*), max(version), bit_xor(hash)
             FROM (SELECT event_id, version, {HASH} AS hash FROM {} WHERE event_id > $2 AND event_id <= $3) AS rows
             GROUP BY 1",
            self.table()
        );
        let mut scope = self.scope().await?;
        let rows: Vec<(i32, i64, Option<i64>, Option<i64>)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(starts)
            .bind(range.after)
            .bind(range.to)
            .fetch_all(scope.connection())
            .await
            .map_err(|error| self.fault(error.into()))?;
        Ok(rows.into_iter().map(|(bucket, rows, version, hash)| (bucket, (rows, version, hash))).collect())
    }

    async fn hashes(self, range: Range) -> Result<BTreeMap<Uuid, i64>, DriftError> {
        let statement = format!(
            "SELECT event_id, {HASH} FROM {} WHERE event_id > $1 AND event_id <= $2 ORDER BY event_id LIMIT {ROWS}",
            self.table()
        );
        let mut scope = self.scope().await?;
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(range.after)
            .bind(range.to)
            .fetch_all(scope.connection())
            .await
            .map_err(|error| self.fault(error.into()))?;
        Ok(rows.into_iter().collect())
    }

    async fn hashes_of(self, ids: &[Uuid]) -> Result<BTreeMap<Uuid, i64>, DriftError> {
        let statement = format!("SELECT event_id, {HASH} FROM {} WHERE event_id = ANY ($1)", self.table());
        let mut scope = self.scope().await?;
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(ids)
            .fetch_all(scope.connection())
            .await
            .map_err(|error| self.fault(error.into()))?;
        Ok(rows.into_iter().collect())
    }
}

/// Compares the read side with the events.
pub async fn read_side(command: &Database, read: &Database, reach: Reach) -> Result<Drift, DriftError> {
    let (events, read) = (Side::Events(command), Side::Read(read));
    let clock = command.clock();
    let mut drift = Drift::new(Store::Read);
    let settled_to = settled_to(command, reach).await.map_err(DriftError::Command)?;
    let mut after = Uuid::nil();
    while !drift.is_over(reach, clock.instant()) {
        let (starts, last, events_in) =
            buckets(command, after, settled_to).await.map_err(DriftError::Command)?;
        // Past the last event there may still be rows that no event stands for.
        let is_last = events_in < BUCKET * BUCKETS;
        let range = Range { after, to: if is_last { settled_to } else { last } };
        let (ours, theirs) = (events.sums(&starts, range).await?, read.sums(&starts, range).await?);
        drift.compared += u64::try_from(events_in).unwrap_or(0);
        let numbers: BTreeSet<i32> = ours.keys().chain(theirs.keys()).copied().collect();
        for number in numbers {
            if ours.get(&number) != theirs.get(&number) {
                drift.buckets_differing += 1;
                descend(events, read, bucket_range(&starts, number, range), &mut drift).await?;
            }
        }
        after = range.to;
        if is_last {
            break;
        }
    }
    rows_ahead(events, read, settled_to, reach, &mut drift).await?;
    drift.differences.sort_unstable();
    drift.differences.dedup();
    Ok(drift)
}

/// Up to which id events are compared in bulk: nothing up to there is queued, and all of it is old enough to have been committed.
async fn settled_to(command: &Database, reach: Reach) -> Result<Uuid, DatabaseError> {
    let mut scope = recorded::auditor(command).await?;
    let (queued, now): (Option<Uuid>, f64) = sqlx::query_as(
        "SELECT (SELECT event_id FROM outbox WHERE destination_id = $1 ORDER BY event_id LIMIT 1),
                extract(epoch FROM clock_timestamp())::float8",
    )
    .bind(Store::Read.destination_id())
    .fetch_one(scope.connection())
    .await?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds of this millennium"
    )]
    let milliseconds = ((now - reach.settle.as_secs_f64()) * 1_000.0).max(0.0) as u128;
    // RFC 9562, 5.7: the first 48 bits of a UUIDv7 are milliseconds since the epoch.
    let old_enough = milliseconds << 80;
    let first_open = queued.map_or(old_enough, |id| old_enough.min(id.as_u128()));
    Ok(Uuid::from_u128(first_open.saturating_sub(1)))
}

/// The first ids of the next buckets, the last id of all of them, and how many events they hold.
async fn buckets(command: &Database, after: Uuid, to: Uuid) -> Result<(Vec<Uuid>, Uuid, i64), DatabaseError> {
    let mut scope = recorded::auditor(command).await?;
    let found: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT event_id, place FROM (
             SELECT event_id, row_number() OVER (ORDER BY event_id) AS place, count(*) OVER () AS events
             FROM (SELECT event_id FROM events WHERE event_id > $1 AND event_id <= $2 ORDER BY event_id LIMIT $3) AS next
         ) AS numbered
         WHERE (place - 1) % $4 = 0 OR place = events ORDER BY place",
    )
    .bind(after)
    .bind(to)
    .bind(BUCKET * BUCKETS)
    .bind(BUCKET)
    .fetch_all(scope.connection())
    .await?;
    let (last, events) = found.last().copied().unwrap_or((to, 0));
    let starts = found.iter().filter(|(_, place)| (place - 1) % BUCKET == 0).map(|(id, _)| *id).collect();
    Ok((starts, last, events))
}

/// The ids of a bucket; those before the first start are bucket 0.
fn bucket_range(starts: &[Uuid], number: i32, whole: Range) -> Range {
    let before = |id: &Uuid| Uuid::from_u128(id.as_u128().saturating_sub(1));
    let number = usize::try_from(number).unwrap_or(0);
    let start = number.checked_sub(1).and_then(|index| starts.get(index));
    Range { after: start.map_or(whole.after, before), to: starts.get(number).map_or(whole.to, before) }
}

/// Looks into a bucket that differs, and confirms what differs in it.
async fn descend(
    events: Side<'_>,
    read: Side<'_>,
    range: Range,
    drift: &mut Drift,
) -> Result<(), DriftError> {
    // The read side first: what is there and was no event before is not made one by being committed meanwhile.
    let theirs = read.hashes(range).await?;
    let ours = events.hashes(range).await?;
    let missing: Vec<Uuid> = ours.keys().filter(|id| !theirs.contains_key(*id)).copied().collect();
    let extra: Vec<Uuid> = theirs.keys().filter(|id| !ours.contains_key(*id)).copied().collect();
    let changed: Vec<Uuid> = theirs
        .iter()
        .filter(|(id, hash)| ours.get(*id).is_some_and(|our| our != *hash))
        .map(|(id, _)| *id)
        .collect();
    confirm_missing(events, read, &missing, drift).await?;
    confirm_extra(events, &extra, drift).await?;
    for ids in changed.chunks(IDS) {
        let (ours, theirs) = (events.hashes_of(ids).await?, read.hashes_of(ids).await?);
        let differs =
            |id: &&Uuid| matches!((ours.get(*id), theirs.get(*id)), (Some(our), Some(their)) if our != their);
        add(drift, Kind::Changed, ids.iter().filter(differs));
    }
    Ok(())
}

async fn confirm_missing(
    events: Side<'_>,
    read: Side<'_>,
    ids: &[Uuid],
    drift: &mut Drift,
) -> Result<(), DriftError> {
    let Side::Events(command) = events else { return Ok(()) };
    for ids in ids.chunks(IDS) {
        let settled = recorded::settled(command, Store::Read.destination_id(), ids)
            .await
            .map_err(DriftError::Command)?;
        let present = read.hashes_of(&settled).await?;
        add(drift, Kind::Missing, settled.iter().filter(|id| !present.contains_key(*id)));
    }
    Ok(())
}

async fn confirm_extra(events: Side<'_>, ids: &[Uuid], drift: &mut Drift) -> Result<(), DriftError> {
    let Side::Events(command) = events else { return Ok(()) };
    for ids in ids.chunks(IDS) {
        let known: BTreeSet<Uuid> =
            recorded::known(command, ids).await.map_err(DriftError::Command)?.into_iter().collect();
        add(drift, Kind::Extra, ids.iter().filter(|id| !known.contains(*id)));
    }
    Ok(())
}

/// Rows beyond what is compared in bulk, of which no event is known.
async fn rows_ahead(
    events: Side<'_>,
    read: Side<'_>,
    mut after: Uuid,
    reach: Reach,
    drift: &mut Drift,
) -> Result<(), DriftError> {
    let Side::Events(command) = events else { return Ok(()) };
    while !drift.is_over(reach, command.clock().instant()) {
        let mut scope = read.scope().await?;
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT event_id FROM public.auth_events WHERE event_id > $1 ORDER BY event_id LIMIT 10000",
        )
        .bind(after)
        .fetch_all(scope.connection())
        .await
        .map_err(|error| read.fault(error.into()))?;
        drop(scope);
        let Some(last) = ids.last() else { break };
        after = *last;
        confirm_extra(events, &ids, drift).await?;
    }
    Ok(())
}

fn add<'a>(drift: &mut Drift, kind: Kind, ids: impl Iterator<Item = &'a Uuid>) {
    drift.differences.extend(ids.map(|id| Difference { kind, table: "auth_events", id: *id }));
}

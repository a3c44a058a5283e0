//! Appending many events at once, for backfills: one statement for all of them and their outbox rows. The events of an aggregate get
//! consecutive versions in the order they are given in, chained to one another and to what was there.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};
use sqlx::types::Json;
use uuid::Uuid;

use super::append::{AppendError, Appended, Sealed, TRIES};
use super::new_event::NewEvent;
use crate::database::{DatabaseError, Scope, sqlstate};

/// An aggregate by what its key is made of.
type Key = (Uuid, &'static str, Uuid);
/// The last version and hash of an aggregate, by its place among those that were asked for.
type Heads = HashMap<usize, (i64, Vec<u8>)>;

/// An event with its place in the chain.
struct Chained<'a> {
    event: &'a Sealed,
    index: usize,
    version: i64,
    prev_hash: Option<Vec<u8>>,
    event_hash: Vec<u8>,
}

impl Scope {
    /// Records events in this transaction, all or none, and says where each of them stands, in the order they were given in. They
    /// are held in memory and sent at once: a thousand is a good number, not a million.
    pub async fn append_all(&mut self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        let sealed: Vec<Sealed> =
            events.into_iter().map(|event| self.seal(event)).collect::<Result<_, _>>()?;
        let Some(first) = sealed.first() else { return Ok(Vec::new()) };
        // Every batch takes the aggregates in one order, so that two of them do not deadlock.
        let mut runs: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
        for (index, event) in sealed.iter().enumerate() {
            let key = (event.workspace_id, event.aggregate.name(), event.aggregate_id);
            runs.entry(key).or_default().push(index);
        }
        for _ in 0..TRIES {
            self.run("SAVEPOINT append_all").await?;
            let heads = self.heads(&runs).await?;
            let chained = chain(&sealed, &runs, &heads);
            match self.insert(&chained).await {
                Ok(()) => {
                    self.run("RELEASE SAVEPOINT append_all").await?;
                    let mut appended: Vec<(usize, Appended)> = chained
                        .into_iter()
                        .map(|row| {
                            let event_id = row.event.event_id;
                            (row.index, Appended { event_id, version: row.version })
                        })
                        .collect();
                    appended.sort_unstable_by_key(|(index, _)| *index);
                    return Ok(appended.into_iter().map(|(_, appended)| appended).collect());
                }
                // Somebody else took one of the versions; by now it is known which.
                Err(error) if is_conflict(&error) => self.run("ROLLBACK TO SAVEPOINT append_all").await?,
                Err(error) => return Err(DatabaseError::from(error).into()),
            }
        }
        Err(first.conflict())
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), DatabaseError> {
        sqlx::raw_sql(statement).execute(self.connection()).await?;
        Ok(())
    }

    async fn heads(&mut self, runs: &BTreeMap<Key, Vec<usize>>) -> Result<Heads, DatabaseError> {
        let keys = || runs.keys();
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT asked.place, head.version, head.event_hash
             FROM unnest($1::uuid[], $2::text[], $3::uuid[]) WITH ORDINALITY
                  AS asked (workspace_id, aggregate_type, aggregate_id, place)
             CROSS JOIN LATERAL (
                 SELECT version, event_hash FROM events
                 WHERE workspace_id = asked.workspace_id AND aggregate_type = asked.aggregate_type
                   AND aggregate_id = asked.aggregate_id
                 ORDER BY version DESC LIMIT 1) AS head",
        )
        .bind(keys().map(|key| key.0).collect::<Vec<_>>())
        .bind(keys().map(|key| key.1).collect::<Vec<_>>())
        .bind(keys().map(|key| key.2).collect::<Vec<_>>())
        .fetch_all(self.connection())
        .await?;
        // WITH ORDINALITY counts from 1.
        let place = |place: i64| usize::try_from(place - 1).unwrap_or(usize::MAX);
        Ok(rows.into_iter().map(|(at, version, hash)| (place(at), (version, hash))).collect())
    }

    async fn insert(&mut self, rows: &[Chained<'_>]) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH appended AS (
                 INSERT INTO events (event_id, workspace_id, aggregate_type, aggregate_id, version, event_type,
                                     schema_version, payload, metadata, occurred_at, body, prev_hash, event_hash)
                 SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::text[],
                                      $7::smallint[], $8::jsonb[], $9::jsonb[], $10::timestamptz[], $11::bytea[],
                                      $12::bytea[], $13::bytea[])
             )
             INSERT INTO outbox (destination_id, lane, event_id)
             SELECT destinations.id, batch.lane, batch.event_id
             FROM unnest($1::uuid[], $3::text[], $14::smallint[]) WITH ORDINALITY
                  AS batch (event_id, aggregate_type, lane, place)
             JOIN outbox_destinations AS destinations
               ON destinations.enabled
              AND (destinations.aggregate_types IS NULL OR batch.aggregate_type = ANY (destinations.aggregate_types))
             ORDER BY destinations.id, batch.place",
        )
        .bind(column(rows, |row| row.event.event_id))
        .bind(column(rows, |row| row.event.workspace_id))
        .bind(column(rows, |row| row.event.aggregate.name()))
        .bind(column(rows, |row| row.event.aggregate_id))
        .bind(column(rows, |row| row.version))
        .bind(column(rows, |row| row.event.event_type))
        .bind(column(rows, |row| row.event.schema_version))
        .bind(column(rows, |row| Json(&row.event.payload)))
        .bind(column(rows, |row| Json(&row.event.metadata)))
        .bind(column(rows, |row| row.event.occurred_at))
        .bind(column(rows, |row| row.event.body.as_slice()))
        .bind(column(rows, |row| row.prev_hash.as_deref()))
        .bind(column(rows, |row| row.event_hash.as_slice()))
        .bind(column(rows, |row| row.event.lane()))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

fn column<'a, T>(rows: &'a [Chained<'_>], of: impl Fn(&'a Chained<'_>) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Numbers each aggregate's events on from its head and chains their hashes, aggregate by aggregate.
fn chain<'a>(sealed: &'a [Sealed], runs: &BTreeMap<Key, Vec<usize>>, heads: &Heads) -> Vec<Chained<'a>> {
    let mut chained = Vec::with_capacity(sealed.len());
    for (place, run) in runs.values().enumerate() {
        let (mut version, mut prev_hash) = match heads.get(&place) {
            Some((version, hash)) => (*version, Some(hash.clone())),
            None => (0, None),
        };
        for (index, event) in run.iter().filter_map(|index| sealed.get(*index).map(|event| (*index, event))) {
            version += 1;
            let mut hash = Sha256::new();
            if let Some(prev_hash) = &prev_hash {
                hash.update(prev_hash);
            }
            let event_hash = hash.chain_update(&event.body).finalize().to_vec();
            let before = prev_hash.replace(event_hash.clone());
            chained.push(Chained { event, index, version, prev_hash: before, event_hash });
        }
    }
    chained
}

/// A version that was taken meanwhile, or a deadlock with somebody who appends one by one.
fn is_conflict(error: &sqlx::Error) -> bool {
    match sqlstate(error).as_deref() {
        Some("40P01") => true,
        Some("23505") => error
            .as_database_error()
            .and_then(|error| error.constraint())
            .is_some_and(|constraint| constraint.ends_with("_version_key")),
        _ => false,
    }
}

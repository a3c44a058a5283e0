//! What must hold when a run is over: nothing lost, no gap, the sinks equal to the events, each effect once, first deliveries in order.
//! It reads only; what it finds is a list of sentences, empty when all is well.

use anyhow::Result;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::load::Acknowledged;

/// An event as both sides must have it, as one number: what differs anywhere differs here.
const DIGEST: &str = "count(*), coalesce(bit_xor(('x' || substr(md5(concat_ws('|', event_id, workspace_id, aggregate_type, aggregate_id, version,
     event_type, schema_version, payload, metadata, extract(epoch FROM occurred_at))), 1, 16))::bit(64)::bigint), 0)";

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Events there are.
    pub(crate) events: i64,
    /// Deliveries that a sink saw beyond the first of an event; harmless, and a sign that something happened.
    pub(crate) redelivered: i64,
}

/// A place where events arrived, with the observer's tables.
pub(crate) struct Sink<'a> {
    pub(crate) name: &'a str,
    pub(crate) connection: &'a mut PgConnection,
}

/// Checks everything. `command` is the command database's administrator.
pub(crate) async fn check(
    command: &mut PgConnection,
    sinks: &mut [Sink<'_>],
    acknowledged: &Acknowledged,
) -> Result<(Counts, Vec<String>)> {
    let mut found = Vec::new();
    lost(command, acknowledged, &mut found).await?;
    record(command, &mut found).await?;
    outbox(command, &mut found).await?;
    let mut counts = Counts::default();
    let (events, digest) = digest(command, "auth_gateway.events").await?;
    counts.events = events;
    for sink in sinks {
        let (arrived, theirs) = self::digest(sink.connection, "public.auth_events").await?;
        if (arrived, theirs) != (events, digest) {
            found.push(format!("the {} sink has {arrived} events of {events}, or others", sink.name));
            differences(command, sink, &mut found).await?;
        }
        counts.redelivered += arrivals(sink, &mut found).await?;
    }
    Ok((counts, found))
}

/// What was acknowledged is there, as it was told.
async fn lost(
    command: &mut PgConnection,
    acknowledged: &Acknowledged,
    found: &mut Vec<String>,
) -> Result<()> {
    let (ids, versions): (Vec<Uuid>, Vec<i64>) = acknowledged.events.iter().copied().unzip();
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT told.event_id, told.version FROM unnest($1::uuid[], $2::bigint[]) AS told (event_id, version)
         LEFT JOIN auth_gateway.events AS e USING (event_id, version) WHERE e.event_id IS NULL LIMIT 5",
    )
    .bind(ids)
    .bind(versions)
    .fetch_all(&mut *command)
    .await?;
    found.extend(
        rows.iter()
            .map(|(id, version)| format!("lost: event {id}, told to be version {version}, is not there")),
    );
    let (slugs, revisions): (Vec<String>, Vec<i64>) = acknowledged.revisions.iter().cloned().unzip();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT told.slug, told.revision FROM unnest($1::text[], $2::bigint[]) AS told (slug, revision)
         WHERE NOT EXISTS (
             SELECT FROM auth_gateway.projects AS p JOIN auth_gateway.events AS e ON e.aggregate_id = p.id
             WHERE p.slug = told.slug AND (e.payload ->> 'revision')::bigint = told.revision) LIMIT 5",
    )
    .bind(slugs)
    .bind(revisions)
    .fetch_all(&mut *command)
    .await?;
    found.extend(rows.iter().map(|(slug, revision)| {
        format!("lost: revision {revision} of project {slug}, told to be made, has no event")
    }));
    Ok(())
}

/// Versions are 1, 2, 3 … in every aggregate, chained; state has its events and events their state.
async fn record(command: &mut PgConnection, found: &mut Vec<String>) -> Result<()> {
    let broken = "SELECT aggregate_type || ' ' || aggregate_id || ' version ' || version FROM (
             SELECT *, row_number() OVER aggregate AS place, lag(event_hash) OVER aggregate AS before
             FROM auth_gateway.events
             WINDOW aggregate AS (PARTITION BY workspace_id, aggregate_type, aggregate_id ORDER BY version)) AS e
         WHERE version <> place OR prev_hash IS DISTINCT FROM before
            OR event_hash <> sha256(coalesce(prev_hash, ''::bytea) || body)
         LIMIT 5";
    sentences(command, broken, "a gap or a broken chain", found).await?;
    let half_made = "SELECT p.slug || ' has ' || r.revisions || ' revisions and ' || e.events || ' events of them'
         FROM auth_gateway.projects AS p
         CROSS JOIN LATERAL (SELECT count(*) AS revisions FROM auth_gateway.project_revisions AS r WHERE r.project_id = p.id) AS r
         CROSS JOIN LATERAL (SELECT count(DISTINCT payload ->> 'revision') AS events FROM auth_gateway.events AS e
                             WHERE e.aggregate_id = p.id AND payload ? 'revision') AS e
         WHERE r.revisions <> e.events LIMIT 5";
    sentences(command, half_made, "half made", found).await
}

/// Everything left the outbox, and nothing of it by being given up.
async fn outbox(command: &mut PgConnection, found: &mut Vec<String>) -> Result<()> {
    let left = "SELECT 'destination ' || destination_id || ': ' || count(*) || ' rows' FROM auth_gateway.outbox GROUP BY destination_id";
    sentences(command, left, "still queued", found).await?;
    let failed = "SELECT 'destination ' || destination_id || ', event ' || event_id || ': ' || coalesce(last_error, error_class)
         FROM auth_gateway.outbox_failed LIMIT 5";
    sentences(command, failed, "given up", found).await?;
    let parked = "SELECT 'destination ' || destination_id || ', ' || aggregate_type || ' ' || aggregate_id FROM auth_gateway.outbox_parked LIMIT 5";
    sentences(command, parked, "parked", found).await
}

/// What the sink's own observer saw. Returns how often something came again.
async fn arrivals(sink: &mut Sink<'_>, found: &mut Vec<String>) -> Result<i64> {
    let name = sink.name;
    let twice = "SELECT event_id || ' took effect ' || times || ' times' FROM faults.effects WHERE times <> 1 LIMIT 5";
    sentences(sink.connection, twice, &format!("{name} sink: effects"), found).await?;
    let without =
        "SELECT event_id::text FROM public.auth_events AS a FULL JOIN faults.effects AS e USING (event_id)
         WHERE a.event_id IS NULL OR e.event_id IS NULL LIMIT 5";
    sentences(sink.connection, without, &format!("{name} sink: an event without its effect"), found).await?;
    let order = "SELECT aggregate_type || ' ' || aggregate_id || ' version ' || version || ' came as number ' || place FROM (
             SELECT *, row_number() OVER (PARTITION BY workspace_id, aggregate_type, aggregate_id ORDER BY first) AS place
             FROM (SELECT workspace_id, aggregate_type, aggregate_id, version, min(place) AS first FROM faults.arrivals
                   GROUP BY workspace_id, aggregate_type, aggregate_id, version) AS firsts) AS ordered
         WHERE place <> version LIMIT 5";
    sentences(sink.connection, order, &format!("{name} sink: first delivery out of order"), found).await?;
    let again = "SELECT count(*) - count(DISTINCT event_id) FROM faults.arrivals";
    Ok(sqlx::query_scalar(again).fetch_one(&mut *sink.connection).await?)
}

async fn sentences(
    connection: &mut PgConnection,
    query: &str,
    what: &str,
    found: &mut Vec<String>,
) -> Result<()> {
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(connection).await?;
    found.extend(rows.iter().map(|row| format!("{what}: {row}")));
    Ok(())
}

async fn digest(connection: &mut PgConnection, table: &str) -> Result<(i64, i64)> {
    let row =
        sqlx::query(AssertSqlSafe(format!("SELECT {DIGEST} FROM {table}"))).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Names the first events that only one side has.
async fn differences(command: &mut PgConnection, sink: &mut Sink<'_>, found: &mut Vec<String>) -> Result<()> {
    let ids = |table: &str| AssertSqlSafe(format!("SELECT event_id FROM {table}"));
    let ours: std::collections::BTreeSet<Uuid> =
        sqlx::query_scalar(ids("auth_gateway.events")).fetch_all(command).await?.into_iter().collect();
    let theirs: std::collections::BTreeSet<Uuid> = sqlx::query_scalar(ids("public.auth_events"))
        .fetch_all(&mut *sink.connection)
        .await?
        .into_iter()
        .collect();
    found.extend(ours.difference(&theirs).take(5).map(|id| format!("{} sink: {id} is missing", sink.name)));
    found.extend(
        theirs.difference(&ours).take(5).map(|id| format!("{} sink: {id} was never committed", sink.name)),
    );
    Ok(())
}

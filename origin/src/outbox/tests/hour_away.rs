//! A destination that is down for an hour with 50,000 rows behind it.
//!
//! Leases and breakers go by the database's clock, which no test can move. An hour passes here by moving what that clock is compared
//! with: at each step every stored time of the outbox is put back by what is left of the breaker's wait, and the injected clock is put
//! forward by as much. What the statements see is what they would see after that wait; nobody waits for it.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::forwarders::{add, forwarders, queued, read_url};
use super::*;

const AWAY: i16 = 40;
const BACKLOG: i64 = 50_000;
const HOUR: f64 = 3_600.0;

/// Half a hundred thousand events of 500 aggregates, queued for the destination that is away.
async fn queue_backlog(t: &TestDatabase) {
    let statement = format!(
        "WITH new AS (
             INSERT INTO auth_gateway.events
             SELECT gen_random_uuid(), '{WORKSPACE}', 'grant', ('00000000-0000-0000-0000-' || lpad(to_hex(n % 500 + 4096), 12, '0'))::uuid,
                    n / 500 + 1, 'AuthorizationCodeReplayed', 1, '{{\"client_id\": \"demo-app\"}}', '{{}}', now(), '',
                    CASE WHEN n >= 500 THEN sha256('') END, sha256('')
             FROM generate_series(0, {BACKLOG} - 1) AS n RETURNING event_id, aggregate_id, version)
         INSERT INTO auth_gateway.outbox (destination_id, lane, event_id)
         SELECT {AWAY}, ('x' || right(aggregate_id::text, 4))::bit(16)::int % 64, event_id FROM new ORDER BY version"
    );
    execute(&mut t.admin().await, statement).await;
}

/// Appends one event after the other; when each was committed, by the database's clock.
async fn append_timed(t: &TestDatabase, events: u128) -> Vec<(Uuid, time::OffsetDateTime)> {
    let mut timed = Vec::new();
    for number in 0..events {
        let mut scope = t.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
        let event = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
        let done =
            scope.append(NewEvent::of(WORKSPACE, Uuid::from_u128(number % 7 + 1), &event)).await.unwrap();
        let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(scope.connection()).await.unwrap();
        scope.commit().await.unwrap();
        timed.push((done.event_id, now));
    }
    timed
}

/// How long these took to the read side, in milliseconds and in order; waits for the last.
async fn latencies(t: &TestDatabase, events: &[(Uuid, time::OffsetDateTime)]) -> Vec<f64> {
    let (ids, times): (Vec<Uuid>, Vec<time::OffsetDateTime>) = events.iter().copied().unzip();
    let mut read = t.read_side().await;
    loop {
        let found: Vec<f64> = sqlx::query_scalar(
            "SELECT (extract(epoch FROM received_at - committed_at) * 1000)::float8 AS took
             FROM unnest($1::uuid[], $2::timestamptz[]) AS sent (event_id, committed_at) JOIN public.auth_events USING (event_id)
             ORDER BY took",
        )
        .bind(&ids)
        .bind(&times)
        .fetch_all(&mut read)
        .await
        .unwrap();
        if found.len() == events.len() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lets what is left of the breaker's wait pass, as the module says; how many seconds that were.
async fn pass_wait(t: &TestDatabase, admin: &mut PgConnection) -> f64 {
    let passed: Option<f64> = sqlx::query_scalar(
        "WITH wait AS (
             SELECT breaker_until - clock_timestamp() AS left_over FROM auth_gateway.outbox_destinations
             WHERE id = $1 AND breaker_until > clock_timestamp()
         ), rows AS (
             UPDATE auth_gateway.outbox SET created_at = created_at - left_over, next_attempt_at = next_attempt_at - left_over FROM wait
         ), lanes AS (
             UPDATE auth_gateway.outbox_lanes SET leased_until = leased_until - left_over FROM wait WHERE leased_by IS NULL
         )
         UPDATE auth_gateway.outbox_destinations
         SET breaker_until = breaker_until - left_over, breaker_not_before = breaker_not_before - left_over
         FROM wait WHERE id = $1 RETURNING extract(epoch FROM left_over)::float8",
    )
    .bind(AWAY)
    .fetch_optional(admin)
    .await
    .unwrap();
    let passed = passed.unwrap_or(0.0);
    t.clock.advance(Duration::from_secs_f64(passed));
    passed
}

async fn away_options(t: &TestDatabase) -> (String, PgConnectOptions) {
    let name = format!("{}_away", t.read_admin.get_database().unwrap());
    let mut admin = t.admin().await;
    execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {}", t.read_admin.get_database().unwrap()))
        .await;
    let options = t.read_admin.clone().database(&name);
    (name, options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_away_with_fifty_thousand_rows_behind_it_fails_no_row_slows_no_other_and_drains_by_itself() {
    test_database::run_leaving_work(async |t| {
        let (name, away) = away_options(t).await;
        add(t, AWAY, "away").await;
        let read = read_url(t);
        let mut elsewhere = url::Url::parse(&read).unwrap();
        elsewhere.set_path(&name);
        let urls = [("READ_DATABASE_URL", read.as_str()), ("DESTINATION_AWAY_URL", elsewhere.as_str())];
        let all = forwarders(t, &urls, &["read-database", "away"]);
        let (stop, stopped) = watch::channel(false);
        let hour = async {
            let mut admin = t.admin().await;
            let before = latencies(t, &append_timed(t, 100).await).await;

            execute(&mut admin, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
            let throw_out = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
            execute(&mut admin, throw_out).await;
            queue_backlog(t).await;
            let (mut passed, mut outages, mut during) = (0.0, 0, Vec::new());
            while passed < HOUR {
                during.extend(latencies(t, &append_timed(t, 20).await).await);
                let waited = pass_wait(t, &mut admin).await;
                outages += i32::from(waited > 0.0);
                passed += waited;
            }
            during.sort_by(f64::total_cmp);

            let states = statistics(&t.database).await.unwrap();
            let state = states.into_iter().find(|state| state.destination == "away").unwrap();
            assert!(state.breaker_failures >= outages && outages > 10, "{outages} tries, {state:?}");
            assert!(state.breaker_error.is_some());
            assert!(state.oldest_seconds >= HOUR, "{state:?}");
            assert_eq!((state.failed, state.parked_aggregates, state.backing_off), (0, 0, 0));
            assert!(state.queued >= BACKLOG, "{state:?}");
            let charged = "auth_gateway.outbox WHERE attempts > 0 OR next_attempt_at IS NOT NULL";
            assert_eq!(count(t, charged).await, 0, "an outage was charged to a row");
            let middle = |sorted: &[f64]| (sorted[sorted.len() / 2], sorted[sorted.len() * 99 / 100]);
            let ((calm, calm_99), (meanwhile, meanwhile_99)) = (middle(&before), middle(&during));
            println!(
                "to the read side before: {calm:.0} ms in the middle, {calm_99:.0} ms at the 99th percentile; \
                 while the other was away: {meanwhile:.0} ms and {meanwhile_99:.0} ms"
            );
            assert!(meanwhile <= calm * 2.0 + 100.0, "{meanwhile} ms instead of {calm} ms");

            execute(&mut admin, format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await;
            let started = t.surroundings.clock.instant();
            while queued(t, AWAY).await > 0 {
                pass_wait(t, &mut admin).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            println!("{} rows in {} ms once it was back", state.queued, started.elapsed().as_millis());
            let _ = stop.send(true);
        };
        let limit = tokio::time::timeout(Duration::from_mins(5), async { tokio::join!(all.run(stopped), hour) });
        Box::pin(limit).await.expect("it drains by itself");

        assert_eq!(count(t, "auth_gateway.outbox_failed").await, 0);
        let mut there = away.connect().await.unwrap();
        let (arrived, last): (i64, i64) = sqlx::query_as(
            "SELECT count(*), (SELECT sum(last)::bigint FROM (
                 SELECT max(version) AS last FROM public.auth_events GROUP BY workspace_id, aggregate_type, aggregate_id) AS a)
             FROM public.auth_events",
        )
        .fetch_one(&mut there)
        .await
        .unwrap();
        assert_eq!((arrived, last), (count(t, "auth_gateway.events").await, arrived), "something is missing");
        drop(there);
        execute(&mut t.admin().await, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    })
    .await;
}

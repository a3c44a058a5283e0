//! The outbox against a real Postgres on both sides: order, poison, outages, crashes.

mod crash;
mod forwarders;
mod hour_away;
mod interleavings;
mod set_aside;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::Row;
use tokio::sync::{Mutex, Notify, watch};
use uuid::Uuid;

use crate::database::{Actor, Component};
use crate::events::NewEvent;
use crate::events::field::Identifier;
use crate::events::payload::AuthorizationCodeReplayed;
use crate::outbox::delivery::Delivery;
use crate::outbox::destination::{DeliveryFault, Destination, Postgres, Undelivered};
use crate::outbox::forwarder::{Forwarder, ForwarderError, Settings};
use crate::outbox::statistics;
use crate::test_database::{self, TestDatabase, execute};

const WORKSPACE: Uuid = Uuid::from_u128(0x77);

/// Appends `events` events, one scope each, spread over `aggregates` aggregates in turn.
async fn append(t: &TestDatabase, aggregates: u128, events: u128) {
    for number in 0..events {
        let mut scope = t.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
        let event = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
        let aggregate_id = Uuid::from_u128(number % aggregates + 1);
        scope.append(NewEvent::of(WORKSPACE, aggregate_id, &event)).await.unwrap();
        scope.commit().await.unwrap();
    }
}

async fn count(t: &TestDatabase, table: &str) -> i64 {
    let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let mut connection = if table.starts_with("public.") { t.read_side().await } else { t.admin().await };
    sqlx::query_scalar(statement).fetch_one(&mut connection).await.unwrap()
}

fn settings(name: &str, lease: Duration) -> Settings {
    let mut settings = Settings::new(name.to_owned(), 1, lease, Duration::from_millis(10));
    settings.first_backoff = Duration::from_millis(1);
    settings
}

/// Runs `forwarders` until `until` says so.
async fn run_until<D: Destination>(forwarders: &[&Forwarder<D>], until: impl AsyncFn() -> bool) {
    let (stop, stopped) = watch::channel(false);
    let all = async {
        match forwarders {
            [one] => one.run(stopped).await,
            [one, other] => {
                tokio::join!(one.run(stopped.clone()), other.run(stopped));
            }
            _ => panic!("one or two"),
        }
    };
    let watcher = async {
        while !until().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).unwrap();
    };
    let both = Box::pin(async { tokio::join!(all, watcher) });
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("it ends");
}

#[tokio::test]
async fn two_forwarders_deliver_everything_once_in_the_order_of_each_aggregate() {
    test_database::run(async |t| {
        append(t, 20, 300).await;
        let (one, other) = (t.real_forwarder("one"), t.real_forwarder("other"));
        run_until(&[&one, &other], async || {
            count(t, "auth_gateway.outbox WHERE destination_id = 1").await == 0
        })
        .await;

        let rows =
            sqlx::query("SELECT aggregate_id, version FROM public.auth_events ORDER BY received_at, version")
                .fetch_all(&mut t.read_side().await)
                .await
                .unwrap();
        assert_eq!(rows.len(), 300);
        let mut last: HashMap<Uuid, i64> = HashMap::new();
        for row in rows {
            let (aggregate, version): (Uuid, i64) = (row.get(0), row.get(1));
            assert_eq!(
                version,
                last.insert(aggregate, version).unwrap_or(0) + 1,
                "{aggregate} arrived out of order"
            );
        }
        let held: i64 =
            sqlx::query_scalar("SELECT count(*) FROM auth_gateway.outbox_lanes WHERE leased_by IS NOT NULL")
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap();
        assert_eq!(held, 0, "a forwarder that was told to stop kept a lease");
    })
    .await;
}

#[tokio::test]
async fn a_poisonous_row_parks_its_aggregate_and_nothing_else() {
    test_database::run_leaving_work(async |t| {
        let poisonous = Uuid::from_u128(3);
        execute(
            &mut t.read_side().await,
            format!(
                "ALTER TABLE public.auth_events ADD CHECK (aggregate_id <> '{poisonous}' OR version <> 2)"
            ),
        )
        .await;
        append(t, 5, 20).await;
        let forwarder = t.real_forwarder("one");
        run_until(&[&forwarder], async || {
            count(t, "auth_gateway.outbox WHERE destination_id = 1").await == 0
        })
        .await;
        // Of five aggregates with four events each, the poisonous one stops after its first.
        assert_eq!(count(t, "public.auth_events").await, 17);
        let failed: Vec<(i64, i16, String)> = sqlx::query_as(
            "SELECT e.version, f.attempts, f.error_class FROM auth_gateway.outbox_failed AS f
             JOIN auth_gateway.events AS e USING (event_id) WHERE e.aggregate_id = $1 ORDER BY f.id",
        )
        .bind(poisonous)
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        let behind = |version| (version, 0, "behind".to_owned());
        assert_eq!(failed, [(2, 5, "refused".to_owned()), behind(3), behind(4)]);

        // What the parked aggregate does later is set aside; what others do arrives.
        append(t, 5, 5).await;
        let drained = forwarder.drain().await.unwrap();
        assert_eq!((drained.delivered, drained.parked, drained.waiting), (4, 1, 0));
        assert!(!drained.is_complete());
        let state = statistics(&t.database).await.unwrap();
        assert_eq!((state[0].queued, state[0].failed, state[0].parked_aggregates), (0, 4, 1));
    })
    .await;
}

#[tokio::test]
async fn a_row_that_waits_for_its_next_attempt_holds_up_its_aggregate_only() {
    test_database::run_leaving_work(async |t| {
        let slow = Uuid::from_u128(1);
        let check =
            format!("ALTER TABLE public.auth_events ADD CONSTRAINT no CHECK (aggregate_id <> '{slow}')");
        execute(&mut t.read_side().await, check).await;
        append(t, 3, 9).await;
        let mut patient = settings("patient", Duration::from_secs(10));
        patient.first_backoff = Duration::from_mins(1);
        let forwarder = Forwarder::new(t.forwarder.clone(), Postgres::new(t.read.clone()), patient);
        let drained = forwarder.drain().await.unwrap();
        assert_eq!((drained.delivered, drained.refused, drained.waiting), (6, 1, 3));

        // Mended, and its time come, it goes on where it stopped.
        execute(&mut t.read_side().await, "ALTER TABLE public.auth_events DROP CONSTRAINT no".to_owned())
            .await;
        let early = forwarder.drain().await.unwrap();
        assert_eq!((early.delivered, early.waiting), (0, 3));
        execute(&mut t.admin().await, "UPDATE auth_gateway.outbox SET next_attempt_at = now()".to_owned())
            .await;
        assert_eq!(forwarder.drain().await.unwrap().delivered, 3);
        assert_eq!(count(t, "public.auth_events").await, 9);
    })
    .await;
}

#[tokio::test]
async fn an_outage_costs_no_attempt_and_everything_arrives_after_it() {
    test_database::run(async |t| {
        append(t, 4, 12).await;
        let mut read = t.read_side().await;
        let role: String =
            sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut read).await.unwrap();
        // Away: nobody may connect, and whoever is connected is thrown out.
        let mut admin = t.admin().await;
        execute(&mut admin, format!("ALTER DATABASE {role} ALLOW_CONNECTIONS false")).await;
        drop(read);
        let throw_out =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{role}'");
        execute(&mut admin, throw_out).await;

        let forwarder = t.real_forwarder("one");
        let outages = async || {
            let failures = "SELECT breaker_failures FROM auth_gateway.outbox_destinations WHERE id = 1";
            sqlx::query_scalar::<_, i32>(failures).fetch_one(&mut t.admin().await).await.unwrap()
        };
        run_until(&[&forwarder], async || outages().await >= 4).await;
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 12);
        let attempts: i16 = sqlx::query_scalar("SELECT max(attempts) FROM auth_gateway.outbox")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert_eq!(attempts, 0, "an outage was charged to a row");
        assert!(statistics(&t.database).await.unwrap()[0].breaker_error.is_some());

        execute(&mut admin, format!("ALTER DATABASE {role} ALLOW_CONNECTIONS true")).await;
        run_until(&[&forwarder], async || {
            count(t, "auth_gateway.outbox WHERE destination_id = 1").await == 0
        })
        .await;
        assert_eq!(count(t, "public.auth_events").await, 12);
        assert_eq!(outages().await, 0, "the breaker stayed open");
    })
    .await;
}

#[tokio::test]
async fn a_missing_table_is_an_outage_and_parks_nothing() {
    test_database::run(async |t| {
        append(t, 2, 4).await;
        execute(&mut t.read_side().await, "ALTER TABLE public.auth_events RENAME TO elsewhere".to_owned())
            .await;
        let error = t.real_forwarder("one").drain().await.unwrap_err();
        assert!(error.to_string().contains("auth_events"), "{error}");
        assert_eq!(count(t, "auth_gateway.outbox_failed").await, 0);
        execute(&mut t.read_side().await, "ALTER TABLE public.elsewhere RENAME TO auth_events".to_owned())
            .await;
    })
    .await;
}

/// Delivers for real, then never answers: what a crash between delivery and acknowledgement looks like from outside.
struct DeliversAndDies {
    real: Postgres,
    delivered: Notify,
}

impl Destination for DeliversAndDies {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        self.real.deliver(batch).await?;
        self.delivered.notify_one();
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_crash_after_delivery_and_before_the_acknowledgement_delivers_no_row_twice() {
    test_database::run(async |t| {
        append(t, 3, 9).await;
        let destination = DeliversAndDies { real: Postgres::new(t.read.clone()), delivered: Notify::new() };
        let dying =
            Forwarder::new(t.forwarder.clone(), destination, settings("dying", Duration::from_secs(2)));
        let (_keep, stop) = watch::channel(false);
        tokio::select! {
            () = dying.run(stop) => panic!("it does not end by itself"),
            () = dying.destination().delivered.notified() => {}
        }
        drop(dying);
        assert_eq!(count(t, "public.auth_events").await, 9);
        assert_eq!(
            count(t, "auth_gateway.outbox WHERE destination_id = 1").await,
            9,
            "it was acknowledged after all"
        );
        // The next one takes over when the lease has run out, and what is there already stays as it is.
        assert_eq!(t.real_forwarder("next").drain().await.unwrap().delivered, 9);
        assert_eq!(count(t, "public.auth_events").await, 9);
    })
    .await;
}

/// Delivers for real, but waits at the door the first time.
struct Paused {
    real: Postgres,
    first: AtomicBool,
    reached: Notify,
    go_on: Notify,
}

impl Destination for Paused {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        self.real.deliver(batch).await?;
        if self.first.swap(false, Ordering::SeqCst) {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn whoever_lost_the_lease_can_acknowledge_nothing() {
    test_database::run(async |t| {
        append(t, 1, 3).await;
        let destination = Paused {
            real: Postgres::new(t.read.clone()),
            first: AtomicBool::new(true),
            reached: Notify::new(),
            go_on: Notify::new(),
        };
        let zombie = Forwarder::new(t.forwarder.clone(), destination, settings("zombie", Duration::from_mins(1)));
        let (stop, stopped) = watch::channel(false);
        let others = async {
            zombie.destination().reached.notified().await;
            // Time passes; somebody else takes the lane over and is still at it.
            execute(
                &mut t.admin().await,
                "UPDATE auth_gateway.outbox_lanes SET epoch = epoch + 1, leased_by = 'other' WHERE leased_by = 'zombie'"
                    .to_owned(),
            )
            .await;
            zombie.destination().go_on.notify_one();
            stop.send(true).unwrap();
        };
        tokio::join!(zombie.run(stopped), others);
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 3, "a zombie acknowledged what was no longer its own");
        let holders: Vec<String> =
            sqlx::query_scalar("SELECT leased_by FROM auth_gateway.outbox_lanes WHERE leased_by IS NOT NULL")
                .fetch_all(&mut t.admin().await)
                .await
                .unwrap();
        assert_eq!(holders, ["other"], "a zombie gave back what was no longer its own");
        execute(&mut t.admin().await, "UPDATE auth_gateway.outbox_lanes SET leased_until = now()".to_owned()).await;
    })
    .await;
}

/// Answers the same thing to everything, after it has taken the first row.
struct Answers(DeliveryFault);

impl Destination for Answers {
    async fn deliver(&self, _: &[Delivery]) -> Result<(), Undelivered> {
        Err(Undelivered { delivered: vec![0], fault: self.0.clone() })
    }

    fn most_rows(&self) -> usize {
        2
    }
}

#[tokio::test]
async fn a_destination_that_wants_nothing_any_more_is_disabled_and_its_rows_stay() {
    test_database::run_leaving_work(async |t| {
        append(t, 4, 12).await;
        let gone = Answers(DeliveryFault::Gone("410 Gone".to_owned()));
        let forwarder = Forwarder::new(t.forwarder.clone(), gone, settings("one", Duration::from_secs(10)));
        let error = forwarder.drain().await.unwrap_err();
        assert!(matches!(&error, ForwarderError::Gone(reason) if reason == "410 Gone"), "{error}");
        // What it took before it said so is settled; nothing else is.
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 11);
        let state = &statistics(&t.database).await.unwrap()[0];
        assert!(!state.enabled);
        assert_eq!(state.disabled_reason.as_deref(), Some("410 Gone"));
        append(t, 4, 4).await;
        assert_eq!(
            count(t, "auth_gateway.outbox WHERE destination_id = 1").await,
            11,
            "something was queued for a destination that is disabled"
        );
    })
    .await;
}

#[tokio::test]
async fn a_time_that_the_destination_named_is_kept_even_by_those_who_carry_once() {
    test_database::run_leaving_work(async |t| {
        append(t, 4, 12).await;
        let retry_after = Some(Duration::from_mins(10));
        let busy = Answers(DeliveryFault::Outage { reason: "429".to_owned(), retry_after });
        let forwarder = Forwarder::new(t.forwarder.clone(), busy, settings("one", Duration::from_secs(10)));
        forwarder.drain().await.unwrap_err();
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 11);
        let error = t.real_forwarder("other").drain().await.unwrap_err();
        assert!(error.to_string().contains("asked to be left alone until"), "{error}");
        let state = &statistics(&t.database).await.unwrap()[0];
        let seconds = state.breaker_seconds.unwrap();
        assert!((590.0..=600.0).contains(&seconds), "it is tried again in {seconds} s");
        // Its time come, all of it goes.
        let due = "UPDATE auth_gateway.outbox_destinations SET breaker_not_before = now()";
        execute(&mut t.admin().await, due.to_owned()).await;
        assert_eq!(t.real_forwarder("other").drain().await.unwrap().delivered, 11);
        assert_eq!(statistics(&t.database).await.unwrap()[0].breaker_seconds, None);
    })
    .await;
}

#[tokio::test]
async fn a_destination_gets_the_aggregates_that_it_asked_for() {
    test_database::run_leaving_work(async |t| {
        let mut admin = t.admin().await;
        let only = "UPDATE auth_gateway.outbox_destinations SET aggregate_types = '{session}' WHERE id = 1";
        execute(&mut admin, only.to_owned()).await;
        append(t, 2, 2).await;
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 0);
        let more =
            "UPDATE auth_gateway.outbox_destinations SET aggregate_types = '{session,grant}' WHERE id = 1";
        execute(&mut admin, more.to_owned()).await;
        append(t, 2, 2).await;
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 2);
    })
    .await;
}

/// Counts batches and remembers their sizes.
#[derive(Default)]
struct Sizes {
    batches: Mutex<Vec<usize>>,
    rows: AtomicUsize,
}

impl Destination for Sizes {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        self.batches.lock().await.push(batch.len());
        self.rows.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn batches_grow_while_there_is_more_than_fits() {
    test_database::run_leaving_work(async |t| {
        execute(
            &mut t.admin().await,
            "WITH new AS (
                 INSERT INTO auth_gateway.events
                 SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000077', 'grant',
                        '00000000-0000-0000-0000-000000000001', n, 'X', 1, '{}', '{}', now(), '',
                        CASE WHEN n > 1 THEN sha256('') END, sha256('')
                 FROM generate_series(1, 3000) AS n RETURNING event_id, version)
             INSERT INTO auth_gateway.outbox (destination_id, lane, event_id) SELECT 1, 5, event_id FROM new ORDER BY version"
                .to_owned(),
        )
        .await;
        let settings = settings("one", Duration::from_secs(10));
        let forwarder = Forwarder::new(t.forwarder.clone(), Sizes::default(), settings);
        assert_eq!(forwarder.drain().await.unwrap().delivered, 3_000);
        let batches = forwarder.destination().batches.lock().await;
        assert_eq!(batches[..5], [50, 100, 200, 400, 800]);
        assert_eq!(batches[5..].iter().max(), Some(&1_000));
        assert_eq!(count(t, "auth_gateway.outbox WHERE destination_id = 1").await, 0);
    })
    .await;
}

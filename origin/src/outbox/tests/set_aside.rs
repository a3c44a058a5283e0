//! What was set aside, replayed and discarded, while events are appended and carried.

use serde_json::Value;

use super::*;
use crate::outbox::{self, FailedFilter, SetAsideError, Which};

const DESTINATION: &str = "read-database";

fn aggregate(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// The read side refuses this version of the aggregate, until it is mended.
async fn poison(t: &TestDatabase, aggregate: Uuid, version: i64) {
    let check = format!(
        "ALTER TABLE public.auth_events ADD CONSTRAINT poison CHECK (aggregate_id <> '{aggregate}' OR version <> {version})"
    );
    execute(&mut t.read_side().await, check).await;
}

async fn mend(t: &TestDatabase) {
    execute(&mut t.read_side().await, "ALTER TABLE public.auth_events DROP CONSTRAINT poison".to_owned())
        .await;
}

/// Carries until nothing is queued.
async fn carry(t: &TestDatabase) {
    let forwarder = t.real_forwarder("carrier");
    run_until(&[&forwarder], async || count(t, "auth_gateway.outbox WHERE destination_id = 1").await == 0)
        .await;
}

/// The versions of an aggregate in the order they arrived in.
async fn arrived(t: &TestDatabase, aggregate: Uuid) -> Vec<i64> {
    let rows = sqlx::query_scalar(
        "SELECT version FROM public.auth_events WHERE aggregate_id = $1 ORDER BY received_at, version",
    );
    rows.bind(aggregate).fetch_all(&mut t.read_side().await).await.unwrap()
}

async fn last_operation(t: &TestDatabase) -> (String, Value) {
    sqlx::query_as(
        "SELECT event_type, payload FROM auth_gateway.events WHERE aggregate_type = 'outbox_destination'
         ORDER BY version DESC LIMIT 1",
    )
    .fetch_one(&mut t.admin().await)
    .await
    .unwrap()
}

async fn all_failed(t: &TestDatabase) -> Vec<outbox::FailedEvent> {
    outbox::failed(&t.database, &FailedFilter { limit: 100, ..FailedFilter::default() }).await.unwrap()
}

#[tokio::test]
async fn what_failed_is_listed_with_its_reason_and_replayed_in_order() {
    test_database::run(async |t| {
        poison(t, aggregate(2), 2).await;
        append(t, 3, 12).await;
        carry(t).await;
        append(t, 3, 3).await;
        carry(t).await;
        assert_eq!(arrived(t, aggregate(2)).await, [1]);

        let listed = all_failed(t).await;
        let found: Vec<_> = listed.iter().map(|e| (e.version, e.error_class.as_str(), e.attempts)).collect();
        assert_eq!(found, [(2, "refused", 5), (3, "behind", 0), (4, "behind", 0), (5, "behind", 0)]);
        assert!(listed.iter().all(|e| e.aggregate_id == aggregate(2) && e.destination == DESTINATION));
        assert!(listed[0].reason.as_deref().unwrap().contains("poison"), "{:?}", listed[0].reason);
        let elsewhere =
            FailedFilter { aggregate_id: Some(aggregate(1)), limit: 9, ..FailedFilter::default() };
        assert_eq!(outbox::failed(&t.database, &elsewhere).await.unwrap(), []);

        mend(t).await;
        // Newer rows of the aggregate wait in the queue already; and one named event takes its whole aggregate along.
        append(t, 3, 3).await;
        let replayed =
            outbox::replay(&t.database, DESTINATION, Which::Event(listed[2].event_id)).await.unwrap();
        assert_eq!((replayed.events, replayed.aggregates), (4, 1));
        carry(t).await;
        assert_eq!(arrived(t, aggregate(2)).await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(count(t, "auth_gateway.outbox_parked").await, 0);

        let (event_type, payload) = last_operation(t).await;
        assert_eq!(event_type, "OutboxEventsReplayed");
        let bounds = (listed.iter().map(|e| e.event_id).min(), listed.iter().map(|e| e.event_id).max());
        assert_eq!(
            payload,
            serde_json::json!({
                "destination": DESTINATION, "events": 4, "aggregates": 1,
                "first_event_id": bounds.0, "last_event_id": bounds.1,
            })
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_discarded_never_arrives_and_its_aggregate_goes_on() {
    test_database::run_leaving_work(async |t| {
        poison(t, aggregate(1), 2).await;
        append(t, 1, 4).await;
        carry(t).await;
        let listed = all_failed(t).await;
        // One that stands behind: the aggregate stays parked, since the refused one is still there.
        let done = outbox::discard(&t.database, DESTINATION, Which::Event(listed[1].event_id)).await.unwrap();
        assert_eq!((done.events, done.released), (1, 0));
        assert_eq!(count(t, "auth_gateway.outbox_parked").await, 1);
        // The refused one: what stood behind it goes on.
        let done = outbox::discard(&t.database, DESTINATION, Which::Event(listed[0].event_id)).await.unwrap();
        assert_eq!((done.events, done.released), (1, 1));
        append(t, 1, 1).await;
        carry(t).await;
        assert_eq!(arrived(t, aggregate(1)).await, [1, 4, 5]);
        assert_eq!(last_operation(t).await.0, "OutboxEventsDiscarded");

        // A whole aggregate, and then all of nothing.
        mend(t).await;
        poison(t, aggregate(1), 6).await;
        append(t, 1, 3).await;
        carry(t).await;
        let done = outbox::discard(&t.database, DESTINATION, Which::Aggregate(aggregate(1))).await.unwrap();
        assert_eq!((done.events, done.aggregates, done.released), (3, 1, 0));
        append(t, 1, 1).await;
        carry(t).await;
        assert_eq!(arrived(t, aggregate(1)).await, [1, 4, 5, 9]);
        let operations = count(t, "auth_gateway.events WHERE aggregate_type = 'outbox_destination'").await;
        assert_eq!(outbox::discard(&t.database, DESTINATION, Which::All).await.unwrap().events, 0);
        assert_eq!(
            count(t, "auth_gateway.events WHERE aggregate_type = 'outbox_destination'").await,
            operations
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    test_database::run(async |t| {
        let error = outbox::replay(&t.database, "nowhere", Which::All).await.unwrap_err();
        assert!(matches!(&error, SetAsideError::UnknownDestination(name) if name == "nowhere"), "{error}");
        let error = outbox::discard(&t.database, DESTINATION, Which::Event(aggregate(9))).await.unwrap_err();
        assert!(matches!(&error, SetAsideError::Nothing(_)), "{error}");
        assert_eq!(count(t, "auth_gateway.events").await, 0, "nothing happened, and it was recorded");
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_was_read_while_the_aggregate_was_parked_sets_nothing_aside_after_a_replay() {
    test_database::run(async |t| {
        poison(t, aggregate(1), 1).await;
        append(t, 1, 2).await;
        carry(t).await;
        mend(t).await;
        // In flight: a row of the parked aggregate, which the forwarder is to set aside, beside one that it delivers.
        append(t, 2, 2).await;
        let destination = Paused {
            real: Postgres::new(t.read.clone()),
            first: AtomicBool::new(true),
            reached: Notify::new(),
            go_on: Notify::new(),
        };
        let forwarder =
            Forwarder::new(t.forwarder.clone(), destination, settings("slow", Duration::from_secs(10)));
        let (stop, stopped) = watch::channel(false);
        let operator = async {
            forwarder.destination().reached.notified().await;
            assert_eq!(outbox::replay(&t.database, DESTINATION, Which::All).await.unwrap().events, 2);
            forwarder.destination().go_on.notify_one();
            while count(t, "auth_gateway.outbox WHERE destination_id = 1").await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send(true).unwrap();
        };
        tokio::join!(forwarder.run(stopped), operator);
        assert_eq!(count(t, "auth_gateway.outbox_failed").await, 0, "it was set aside after the replay");
        assert_eq!(arrived(t, aggregate(1)).await, [1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn order_holds_while_operators_replay_and_others_append_and_carry() {
    test_database::run(async |t| {
        poison(t, aggregate(1), 3).await;
        let (one, other) = (t.real_forwarder("one"), t.real_forwarder("other"));
        let (stop, stopped) = watch::channel(false);
        let writer = async {
            for _ in 0..40 {
                append(t, 2, 2).await;
            }
        };
        let operator = async {
            for round in 0..12 {
                while round < 6 && count(t, "auth_gateway.outbox_parked").await == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                if round == 5 {
                    mend(t).await;
                }
                outbox::replay(&t.database, DESTINATION, Which::All).await.unwrap();
            }
        };
        let work = async {
            tokio::join!(writer, operator);
            // What was parked between the mending and the replay before it.
            while count(t, "auth_gateway.outbox WHERE destination_id = 1").await
                + count(t, "auth_gateway.outbox_failed").await
                > 0
            {
                outbox::replay(&t.database, DESTINATION, Which::All).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.send(true).unwrap();
        };
        let all = Box::pin(async { tokio::join!(one.run(stopped.clone()), other.run(stopped), work) });
        tokio::time::timeout(Duration::from_mins(1), all).await.expect("it ends");
        for number in [1, 2] {
            assert_eq!(arrived(t, aggregate(number)).await, (1..=40).collect::<Vec<i64>>());
        }
    })
    .await;
}

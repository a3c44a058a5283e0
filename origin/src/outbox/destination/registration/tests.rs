//! Destinations that come and go while others append.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::events::payload::AuthorizationCodeReplayed;
use crate::outbox::lane_of;
use crate::test_database::{self, TestDatabase, execute};

const WORKSPACE: Uuid = Uuid::from_u128(0x77);

fn addition(name: &str, backfill: bool) -> Addition {
    Addition {
        name: name.to_owned(),
        kind: "webhook".to_owned(),
        options: json!({"url": "https://receiver.example/hooks"}),
        aggregate_types: None,
        backfill,
    }
}

async fn append_in(scope: &mut Scope, aggregate: u128) {
    let event = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
    scope.append(NewEvent::of(WORKSPACE, Uuid::from_u128(aggregate), &event)).await.unwrap();
}

async fn begin(t: &TestDatabase) -> Scope {
    t.database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap()
}

async fn append(t: &TestDatabase, aggregate: u128) {
    let mut scope = begin(t).await;
    append_in(&mut scope, aggregate).await;
    scope.commit().await.unwrap();
}

/// What is queued for a destination, in the order of each lane.
async fn queued(t: &TestDatabase, id: i16) -> Vec<(i16, Uuid, Uuid, String, i64)> {
    sqlx::query_as(
        "SELECT o.lane, e.workspace_id, e.aggregate_id, e.aggregate_type, e.version
         FROM auth_gateway.outbox AS o JOIN auth_gateway.events AS e USING (event_id)
         WHERE o.destination_id = $1 ORDER BY o.lane, o.id",
    )
    .bind(id)
    .fetch_all(&mut t.admin().await)
    .await
    .unwrap()
}

/// Every event there is must be queued exactly once, each aggregate in order and in its own lane.
async fn assert_whole(t: &TestDatabase, id: i16) {
    let rows = queued(t, id).await;
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM auth_gateway.events")
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
    assert_eq!(i64::try_from(rows.len()).unwrap(), events, "a gap, or one twice");
    let mut last = std::collections::HashMap::new();
    for (lane, workspace_id, aggregate_id, aggregate_type, version) in rows {
        assert_eq!(lane, lane_of(workspace_id, &aggregate_type, aggregate_id));
        let last = last.entry((workspace_id, aggregate_type, aggregate_id)).or_insert(0_i64);
        *last += 1;
        assert_eq!(version, *last, "out of order");
    }
}

async fn is_somebody_waiting_for_a_lock(t: &TestDatabase) -> bool {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
                        WHERE NOT l.granted AND d.datname = current_database())",
    )
    .fetch_one(&mut t.admin().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_backfill_has_neither_gap_nor_overlap_while_others_append() {
    test_database::run_leaving_work(async |t| {
        for number in 0..60 {
            append(t, number % 7).await;
        }
        let over = AtomicBool::new(false);
        let writer = async |offset: u128| {
            let mut number = offset;
            while !over.load(Ordering::SeqCst) {
                // Old aggregates and new ones, two events a scope.
                let mut scope = begin(t).await;
                append_in(&mut scope, number % 11).await;
                append_in(&mut scope, 1_000 + number % 5 + offset * 10).await;
                scope.commit().await.unwrap();
                number += 1;
            }
            number - offset
        };
        let adder = async {
            let mut ids = Vec::new();
            for name in ["first", "second", "third"] {
                tokio::time::sleep(Duration::from_millis(60)).await;
                ids.push(add(&t.database, &addition(name, true)).await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
            over.store(true, Ordering::SeqCst);
            ids
        };
        let (mine, yours, theirs, ids) = tokio::join!(writer(1), writer(2), writer(3), adder);
        assert!(mine + yours + theirs > 20, "nobody appended meanwhile");
        for Added { id, backfilled, .. } in ids {
            assert!(backfilled >= 60, "{backfilled}");
            assert_whole(t, id).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_backfill_waits_for_an_append_that_is_not_committed_and_takes_it_along() {
    test_database::run_leaving_work(async |t| {
        append(t, 1).await;
        let mut open = begin(t).await;
        append_in(&mut open, 1).await;
        let adding = async { add(&t.database, &addition("late", true)).await.unwrap() };
        let committing = async {
            while !is_somebody_waiting_for_a_lock(t).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Another append comes while the table is locked: it waits, and sees the destination.
            let third = append(t, 1);
            let commit = async {
                append_in(&mut open, 2).await;
                open.commit().await.unwrap();
            };
            tokio::join!(commit, third);
        };
        let (added, ()) = tokio::join!(adding, committing);
        assert_eq!(added.backfilled, 3);
        assert_whole(t, added.id).await;
    })
    .await;
}

#[tokio::test]
async fn an_append_that_never_ends_keeps_nobody_waiting_for_long() {
    test_database::run_leaving_work(async |t| {
        let mut open = begin(t).await;
        append_in(&mut open, 1).await;
        let refused = add(&t.database, &addition("late", true)).await.unwrap_err();
        assert!(matches!(refused, RegistrationError::Busy), "{refused}");
        drop(open);
        let listed = list(&t.database, None).await.unwrap();
        assert!(listed.iter().all(|one| one.name != "late"));
    })
    .await;
}

#[tokio::test]
async fn a_backfill_that_was_interrupted_delivers_nothing_is_shown_and_can_be_finished() {
    test_database::run_leaving_work(async |t| {
        append(t, 1).await;
        // As if it had been killed between its two transactions.
        let id = add_once(&t.database, &addition("half", true)).await.unwrap();
        append(t, 1).await;
        let shown = list(&t.database, Some("half")).await.unwrap().remove(0);
        assert!(shown.is_backfilling && shown.enabled);
        let leasable: i64 =
            sqlx::query_scalar("SELECT count(*) FROM auth_gateway.outbox_lanes WHERE destination_id = $1")
                .bind(id)
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap();
        assert_eq!(leasable, 0);
        assert!(enable(&t.database, "half", true).await.unwrap().changed);
        assert_whole(t, id).await;
        assert!(!list(&t.database, Some("half")).await.unwrap()[0].is_backfilling);
        // And one that is not to be finished can be removed.
        add_once(&t.database, &addition("other", true)).await.unwrap();
        assert!(remove(&t.database, "other", true).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn only_the_aggregates_asked_for_are_queued() {
    test_database::run_leaving_work(async |t| {
        append(t, 1).await;
        let mut some = addition("some", true);
        some.aggregate_types = Some(vec!["session".to_owned()]);
        let some = add(&t.database, &some).await.unwrap();
        let mut grants = addition("grants", true);
        grants.aggregate_types = Some(vec!["grant".to_owned()]);
        let grants = add(&t.database, &grants).await.unwrap();
        assert_eq!((some.backfilled, grants.backfilled), (0, 1));
        append(t, 1).await;
        assert_eq!((queued(t, some.id).await.len(), queued(t, grants.id).await.len()), (0, 2));
    })
    .await;
}

#[tokio::test]
async fn removing_refuses_while_events_are_left_and_a_number_is_never_used_again() {
    test_database::run_leaving_work(async |t| {
        let first = add(&t.database, &addition("hooks", false)).await.unwrap();
        assert!(first.id >= 16);
        let twice = add(&t.database, &addition("hooks", false)).await.unwrap_err();
        assert!(matches!(twice, RegistrationError::Exists(_)), "{twice}");
        append(t, 1).await;
        let refused = remove(&t.database, "hooks", false).await.unwrap_err().to_string();
        // The event, and that of its own registration.
        assert!(refused.contains("2 queued") && refused.contains("--drop-queued"), "{refused}");
        assert_eq!(remove(&t.database, "hooks", true).await.unwrap(), Removed { dropped: 2 });
        assert!(matches!(
            remove(&t.database, "hooks", true).await.unwrap_err(),
            RegistrationError::Unknown(_)
        ));
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM auth_gateway.outbox WHERE destination_id = $1)
                  + (SELECT count(*) FROM auth_gateway.outbox_lanes WHERE destination_id = $1)",
        )
        .bind(first.id)
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(left, 0);
        let second = add(&t.database, &addition("hooks", false)).await.unwrap();
        assert!(second.id > first.id);
        let own = remove(&t.database, "read-database", true).await.unwrap_err();
        assert!(matches!(own, RegistrationError::Own(_)), "{own}");
    })
    .await;
}

#[tokio::test]
async fn what_happened_while_it_was_disabled_comes_with_a_backfill() {
    test_database::run_leaving_work(async |t| {
        let id = add(&t.database, &addition("hooks", false)).await.unwrap().id;
        append(t, 1).await;
        assert!(disable(&t.database, "hooks").await.unwrap());
        assert!(!disable(&t.database, "hooks").await.unwrap());
        append(t, 1).await;
        let enabled = enable(&t.database, "hooks", true).await.unwrap();
        // Its registration, both appends and its being disabled were; its being enabled is queued like any other event.
        assert_eq!(enabled, Enabled { changed: true, backfilled: 4 });
        assert_whole(t, id).await;
        let again = enable(&t.database, "hooks", false).await.unwrap();
        assert!(!again.changed);
        let refused = enable(&t.database, "hooks", true).await.unwrap_err();
        assert!(matches!(refused, RegistrationError::IsEnabled(_)), "{refused}");
        // 410 disables it as well; why is shown, and gone when it is enabled again.
        execute(
            &mut t.admin().await,
            "UPDATE auth_gateway.outbox_destinations SET enabled = false, disabled_reason = '410 Gone' WHERE name = 'hooks'"
                .to_owned(),
        )
        .await;
        let shown = list(&t.database, Some("hooks")).await.unwrap().remove(0);
        assert_eq!((shown.enabled, shown.disabled_reason.as_deref()), (false, Some("410 Gone")));
        assert!(enable(&t.database, "hooks", false).await.unwrap().changed);
        assert_eq!(list(&t.database, Some("hooks")).await.unwrap()[0].disabled_reason, None);
    })
    .await;
}

#[tokio::test]
async fn every_change_is_an_event_and_none_holds_a_secret() {
    test_database::run_leaving_work(async |t| {
        add(&t.database, &addition("hooks", false)).await.unwrap();
        disable(&t.database, "hooks").await.unwrap();
        enable(&t.database, "hooks", false).await.unwrap();
        remove(&t.database, "hooks", true).await.unwrap();
        let events: Vec<(String, Value)> = sqlx::query_as(
            "SELECT event_type, payload FROM auth_gateway.events WHERE aggregate_type = 'outbox_destination' ORDER BY version",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        let types: Vec<&str> = events.iter().map(|(event_type, _)| event_type.as_str()).collect();
        assert_eq!(
            types,
            [
                "OutboxDestinationAdded",
                "OutboxDestinationDisabled",
                "OutboxDestinationEnabled",
                "OutboxDestinationRemoved"
            ]
        );
        assert_eq!(
            events[0].1,
            json!({"destination": "hooks", "kind": "webhook", "url": "https://receiver.example/hooks",
                   "aggregate_types": null, "backfill": false})
        );
        for options in [
            json!({"url": "https://user:hunter2@receiver.example/"}),
            json!({"url": "https://receiver.example/?key=hunter2"}),
            json!({"secrets": "whsec_hunter2"}),
        ] {
            let refused = add(&t.database, &Addition { options, ..addition("leaky", false) }).await.unwrap_err();
            assert!(matches!(refused, RegistrationError::Options(_)) && !refused.to_string().contains("hunter2"));
        }
        for name in ["", "Hooks", "1st", "a_b", "a b", "a.b", &"a".repeat(64)] {
            let refused = add(&t.database, &addition(name, false)).await.unwrap_err();
            assert!(matches!(refused, RegistrationError::Name(_)), "{name}: {refused}");
        }
        let sealer = Addition { kind: "sealer".to_owned(), ..addition("own", false) };
        assert!(matches!(add(&t.database, &sealer).await.unwrap_err(), RegistrationError::Kind(_)));
    })
    .await;
}

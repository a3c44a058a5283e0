//! What is called a difference, and what is not.

use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::{append, apply, drain, in_real_time, make_unqueued};
use crate::projection::Store;
use crate::projection::drift::{Difference, Drift, Kind, Reach, find, read_side, registry};
use crate::projection::repair::repair;
use crate::test_database::{self, TestDatabase, execute};

/// Everything at once, however young.
const AT_ONCE: Reach = Reach { settle: Duration::ZERO, most: 10_000, deadline: None };

fn of(kind: Kind, table: &'static str, id: Uuid) -> Difference {
    Difference { kind, table, id }
}

async fn compare(t: &TestDatabase) -> Drift {
    read_side(&t.database, &t.read, AT_ONCE).await.unwrap()
}

#[tokio::test]
async fn only_buckets_that_differ_are_looked_into_and_every_row_that_differs_is_found_and_mended() {
    test_database::run_leaving_work(async |t| {
        make_unqueued(t, 10_000).await;
        let mut read = t.read_side().await;
        let nothing = compare(t).await;
        assert_eq!((nothing.compared, nothing.differences.len(), nothing.is_complete), (10_000, 10_000, false));
        assert!(nothing.differences.iter().all(|difference| difference.kind == Kind::Missing));
        let repaired = repair(&nothing, &t.database, &t.read).await.unwrap();
        assert_eq!((repaired.added.len(), repaired.mended()), (10_000, 10_000));
        let same = compare(t).await;
        assert_eq!((same.compared, same.buckets_differing, same.differences.len(), same.is_complete), (10_000, 0, 0, true));

        let event = |n: u128| Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + n);
        // An id between two others, one before all, one after all and one of another version: nobody's events.
        let strangers = [Uuid::from_u128(1), Uuid::from_u128(event(5_000).as_u128() + (1 << 64)), Uuid::from_u128(u128::MAX)];
        execute(
            &mut read,
            format!(
                "DELETE FROM public.auth_events WHERE event_id = '{}';
                 UPDATE public.auth_events SET payload = '{{}}' WHERE event_id = '{}';
                 UPDATE public.auth_events SET occurred_at = occurred_at + interval '1 microsecond' WHERE event_id = '{}';
                 INSERT INTO public.auth_events
                 SELECT id, gen_random_uuid(), 'grant', gen_random_uuid(), 1, 'X', 1, '{{}}', '{{}}', now() FROM unnest('{{{},{},{}}}'::uuid[]) AS id",
                event(0), event(2_000), event(9_999), strangers[0], strangers[1], strangers[2]
            ),
        )
        .await;
        let found = compare(t).await;
        let mut expected = vec![
            of(Kind::Missing, "auth_events", event(0)),
            of(Kind::Changed, "auth_events", event(2_000)),
            of(Kind::Changed, "auth_events", event(9_999)),
        ];
        expected.extend(strangers.map(|id| of(Kind::Extra, "auth_events", id)));
        assert_eq!(found.differences, expected);
        // The first, the one with 2,000, the last; two of the strangers are in or beyond these.
        assert!(found.buckets_differing <= 4, "{} buckets were looked into", found.buckets_differing);

        let repaired = repair(&found, &t.database, &t.read).await.unwrap();
        assert_eq!((repaired.added.len(), repaired.replaced.len(), repaired.removed.len(), repaired.refused.len()), (1, 2, 3, 0));
        assert_eq!(compare(t).await.differences, []);
        // Twice is harmless.
        let again = repair(&found, &t.database, &t.read).await.unwrap();
        assert_eq!(again.refused, []);
        assert_eq!(compare(t).await.differences, []);
    })
    .await;
}

#[tokio::test]
async fn what_is_queued_or_set_aside_is_no_difference_and_what_was_acknowledged_and_is_not_there_is_one() {
    test_database::run_leaving_work(async |t| {
        append(&t.database, 3, 0..9).await;
        assert_eq!(compare(t).await.differences, [], "what is queued was called missing");
        let mut read = t.read_side().await;
        let check = "ALTER TABLE public.auth_events ADD CONSTRAINT no CHECK (aggregate_id <> '00000000-0000-0000-0000-000000000001')";
        execute(&mut read, check.to_owned()).await;
        let forwarder = t.real_forwarder("one");
        let mut admin = t.admin().await;
        while super::count(&mut admin, "auth_gateway.outbox WHERE destination_id = 1").await > 0 {
            forwarder.drain().await.unwrap();
            execute(&mut admin, "UPDATE auth_gateway.outbox SET next_attempt_at = now()".to_owned()).await;
        }
        assert_eq!(super::count(&mut admin, "auth_gateway.outbox_failed").await, 3);
        assert_eq!(compare(t).await.differences, [], "what was set aside was called missing");

        // Somebody made it go away; and the store will not take it back.
        execute(&mut admin, "DELETE FROM auth_gateway.outbox_failed WHERE error_class = 'refused'".to_owned()).await;
        let found = compare(t).await;
        assert_eq!(found.differences.len(), 1);
        let repaired = repair(&found, &t.database, &t.read).await.unwrap();
        assert_eq!(repaired.mended(), 0);
        assert!(repaired.refused[0].reason.contains("violates check constraint"), "{:?}", repaired.refused);
    })
    .await;
}

/// Appends and deliveries go on while both stores are compared again and again: whatever is seen of them is no difference.
#[tokio::test]
async fn traffic_is_never_called_a_difference() {
    test_database::run(async |t| {
        let live = in_real_time(t);
        let (stop, stopped) = watch::channel(false);
        let (read, registrar) = (t.real_forwarder("read"), t.registry_forwarder("registry"));
        let traffic = async {
            for round in 0..25_u128 {
                append(&live, 7, round * 8..(round + 1) * 8).await;
                apply(&live, &format!("name {round}")).await;
            }
            stop.send(true).unwrap();
        };
        let comparing = async {
            let mut comparisons = 0;
            while !*stopped.borrow() {
                for (store, database) in [(Store::Read, &t.read), (Store::Registry, &t.registry)] {
                    let drift = find(store, &t.database, database, AT_ONCE).await.unwrap();
                    assert_eq!(drift.differences, [], "{store:?} was said to differ while it was in use");
                    comparisons += 1;
                }
            }
            comparisons
        };
        let forwarding = async { tokio::join!(read.run(stopped.clone()), registrar.run(stopped.clone())) };
        let (comparisons, ..) = Box::pin(async { tokio::join!(comparing, traffic, forwarding) }).await;
        assert!(comparisons >= 10, "only {comparisons} comparisons");
        live.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_was_changed_by_hand_is_found_and_mended() {
    test_database::run(async |t| {
        apply(&t.database, "one").await;
        apply(&t.database, "two").await;
        assert_eq!(registry(&t.database, &t.registry, AT_ONCE).await.unwrap().differences, [], "it is still queued");
        drain(t).await;
        let mut admin = t.registry_side().await;
        let (client, project): (Uuid, Uuid) =
            sqlx::query_as("SELECT (SELECT id FROM public.oauth_clients), (SELECT id FROM public.projects)")
                .fetch_one(&mut admin)
                .await
                .unwrap();
        let stranger = Uuid::from_u128(9);
        for (damage, expected) in [
            ("UPDATE public.oauth_clients SET redirect_uris = '{https://evil.example/}'".to_owned(), vec![of(Kind::Changed, "oauth_clients", client)]),
            // A version that nothing has: no event would change the row any more.
            ("UPDATE public.oauth_clients SET version = 99, name = 'x'".to_owned(), vec![of(Kind::Changed, "oauth_clients", client)]),
            ("UPDATE public.projects SET version = 1, slug = 'other', created_at = now()".to_owned(), vec![of(Kind::Changed, "projects", project)]),
            ("DELETE FROM public.projects; DELETE FROM public.oauth_clients".to_owned(),
             vec![of(Kind::Missing, "oauth_clients", client), of(Kind::Missing, "projects", project)]),
            (format!("INSERT INTO public.projects VALUES ('{stranger}', '{stranger}', 's', 's', '[]', 1, 1, now(), now())"),
             vec![of(Kind::Extra, "projects", stranger)]),
        ] {
            execute(&mut admin, damage.clone()).await;
            let found = registry(&t.database, &t.registry, AT_ONCE).await.unwrap();
            assert_eq!(found.differences, expected, "{damage}");
            let repaired = repair(&found, &t.database, &t.registry).await.unwrap();
            assert_eq!((repaired.mended(), repaired.refused.len()), (expected.len(), 0), "{damage}");
            let again = repair(&found, &t.database, &t.registry).await.unwrap();
            assert_eq!(again.mended(), 0, "{damage}: what was right was mended again");
            assert_eq!(registry(&t.database, &t.registry, AT_ONCE).await.unwrap().differences, [], "{damage}");
        }
    })
    .await;
}

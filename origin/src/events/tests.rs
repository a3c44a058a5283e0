//! Appending against a real Postgres.

use serde_json::{Value, json};
use shared::scope::Scopes;
use sqlx::Row;
use uuid::Uuid;

use super::field::{Identifier, Name};
use super::payload::{AuthorizationCodeReplayed, ConsentGranted, SessionEnd, SessionEnded, WorkspaceCreated};
use super::{AppendError, Appended, NewEvent};
use crate::database::{Actor, Component, DatabaseError};
use crate::test_database;

const WORKSPACE: Uuid = Uuid::from_u128(0x77);

fn operator() -> Actor {
    Actor::System(Component::Operator)
}

fn created(id: Uuid) -> NewEvent {
    NewEvent::of(id, id, &WorkspaceCreated { slug: Identifier::of("demo"), name: Name::of("Demo") })
}

fn replayed(grant: u128) -> NewEvent {
    let payload = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
    NewEvent::of(WORKSPACE, Uuid::from_u128(grant), &payload)
}

#[tokio::test]
async fn an_event_says_what_who_when_and_for_which_request() {
    test_database::run(async |t| {
        let (request_id, user_id) = (Uuid::from_u128(5), Uuid::from_u128(6));
        let actor = Actor::Workspace {
            workspace_id: WORKSPACE,
            user_id: Some(user_id),
            service_name: "gateward".into(),
        };
        let mut scope = t.database.scope(actor).await.unwrap().correlated(request_id);
        let consent = ConsentGranted {
            user_id,
            client_id: Identifier::of("demo-app"),
            scopes: Scopes::parse("notes:write notes:read").unwrap(),
        };
        let appended = scope.append(NewEvent::of(WORKSPACE, Uuid::from_u128(9), &consent)).await.unwrap();
        assert_eq!(appended.version, 1);
        scope.commit().await.unwrap();

        let row =
            sqlx::query("SELECT * FROM auth_gateway.events").fetch_one(&mut t.admin().await).await.unwrap();
        assert_eq!(row.get::<Uuid, _>("event_id"), appended.event_id);
        assert_eq!(row.get::<String, _>("event_type"), "ConsentGranted");
        assert_eq!(row.get::<String, _>("aggregate_type"), "grant");
        assert_eq!(row.get::<time::OffsetDateTime, _>("occurred_at"), t.clock.now());
        assert_eq!(
            row.get::<Value, _>("payload"),
            json!({"user_id": user_id, "client_id": "demo-app", "scopes": "notes:read notes:write"})
        );
        assert_eq!(
            row.get::<Value, _>("metadata"),
            json!({
                "actor": {"kind": "workspace", "workspace_id": WORKSPACE, "user_id": user_id},
                "service_name": "gateward",
                "correlation_id": request_id,
                "causation_id": null,
            })
        );
        let body: Value = serde_json::from_slice(row.get("body")).unwrap();
        assert_eq!(body["payload"], row.get::<Value, _>("payload"));
        assert_eq!(body["occurred_at"], "2026-11-21T10:00:00.000000Z");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_recorded_without_a_commit_and_versions_have_no_gap_after_it() {
    test_database::run(async |t| {
        let mut scope = t.database.scope(operator()).await.unwrap();
        assert_eq!(scope.append(created(WORKSPACE)).await.unwrap().version, 1);
        scope.rollback().await.unwrap();
        let mut scope = t.database.scope(operator()).await.unwrap();
        assert_eq!(scope.append(created(WORKSPACE)).await.unwrap().version, 1);
        assert_eq!(scope.append(created(WORKSPACE)).await.unwrap().version, 2);
        scope.commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn thirty_two_writers_of_one_aggregate_leave_no_gap() {
    test_database::run(async |t| {
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let database = t.database.clone();
            writers.spawn(async move {
                let mut conflicts = 0;
                loop {
                    let mut scope = database.scope(operator()).await.unwrap();
                    match scope.append(replayed(1)).await {
                        Ok(Appended { version, .. }) => {
                            scope.commit().await.unwrap();
                            return (version, conflicts);
                        }
                        Err(AppendError::Conflict { aggregate: "grant", .. }) => conflicts += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        let mut versions: Vec<i64> =
            writers.join_all().await.into_iter().map(|(version, _)| version).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=32).collect::<Vec<i64>>());
    })
    .await;
}

/// Every aggregate's versions without a gap, its chain whole, and its outbox rows in the order of its versions.
async fn assert_whole(t: &test_database::TestDatabase, events: i64) {
    let (all, broken, disordered): (i64, i64, i64) = sqlx::query_as(
        "WITH e AS (
             SELECT *, row_number() OVER a AS place, lag(event_hash) OVER a AS before
             FROM auth_gateway.events
             WINDOW a AS (PARTITION BY workspace_id, aggregate_type, aggregate_id ORDER BY version)
         ), q AS (
             SELECT version, row_number() OVER (PARTITION BY destination_id, workspace_id, aggregate_type, aggregate_id ORDER BY id) AS place
             FROM auth_gateway.outbox JOIN e USING (event_id))
         SELECT (SELECT count(*) FROM e),
                (SELECT count(*) FROM e WHERE version <> place OR prev_hash IS DISTINCT FROM before
                                           OR event_hash <> sha256(coalesce(prev_hash, ''::bytea) || body)),
                (SELECT count(*) FROM q WHERE version <> place)",
    )
    .fetch_one(&mut t.admin().await)
    .await
    .unwrap();
    assert_eq!((all, broken, disordered), (events, 0, 0));
}

#[tokio::test]
async fn many_events_are_appended_at_once_and_continue_what_was_there() {
    test_database::run(async |t| {
        let mut scope = t.database.scope(operator()).await.unwrap();
        assert_eq!(scope.append_all(Vec::new()).await.unwrap(), []);
        assert_eq!(scope.append(replayed(2)).await.unwrap().version, 1);
        // Aggregates in turns: each goes on where it was, in the order given.
        let batch: Vec<NewEvent> = [3, 2, 1, 2, 3, 2].into_iter().map(replayed).collect();
        let appended = scope.append_all(batch).await.unwrap();
        let versions: Vec<i64> = appended.iter().map(|appended| appended.version).collect();
        assert_eq!(versions, [1, 2, 1, 3, 2, 4]);
        assert_eq!(scope.append(replayed(2)).await.unwrap().version, 5);
        scope.commit().await.unwrap();
        let stored: Vec<(Uuid, i64)> = sqlx::query_as("SELECT event_id, version FROM auth_gateway.events")
            .fetch_all(&mut t.admin().await)
            .await
            .unwrap();
        assert!(appended.iter().all(|a| stored.contains(&(a.event_id, a.version))), "{appended:?}");
        assert_whole(t, 8).await;
    })
    .await;
}

#[tokio::test]
async fn batches_and_single_appends_of_the_same_aggregates_leave_no_gap() {
    test_database::run(async |t| {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8_u128 {
            let database = t.database.clone();
            writers.spawn(async move {
                for round in 0..4 {
                    loop {
                        let mut scope = database.scope(operator()).await.unwrap();
                        // Each in an order of its own, so that they would deadlock if it were kept.
                        let batch = (0..24).map(|n| replayed(1 + (n * (writer + 1) + round) % 6)).collect();
                        let result = match scope.append_all(batch).await {
                            Ok(_) if writer % 2 == 0 => scope.append(replayed(99)).await.map(drop),
                            result => result.map(drop),
                        };
                        match result {
                            Ok(()) => break scope.commit().await.unwrap(),
                            Err(
                                AppendError::Conflict { .. }
                                | AppendError::Database(DatabaseError::Contended(_)),
                            ) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
        writers.join_all().await;
        assert_whole(t, 8 * 4 * 24 + 4 * 4).await;
    })
    .await;
}

#[tokio::test]
async fn an_append_gives_up_after_three_more_tries_and_says_so() {
    test_database::run_leaving_work(async |t| {
        // Whatever version is tried, it is taken: the last one is hidden from the reader.
        let mut admin = t.admin().await;
        let mut scope = t.database.scope(operator()).await.unwrap();
        let hidden = scope.append(replayed(1)).await.unwrap().event_id;
        scope.commit().await.unwrap();
        let hide = format!(
            "DROP POLICY system ON auth_gateway.events;
             CREATE POLICY system ON auth_gateway.events FOR ALL TO gateward_system
             USING (event_id <> '{hidden}') WITH CHECK (true)"
        );
        test_database::execute(&mut admin, hide).await;
        let mut scope = t.database.scope(operator()).await.unwrap();
        let error = scope.append(replayed(1)).await.unwrap_err();
        assert!(matches!(error, AppendError::Conflict { aggregate: "grant", .. }), "{error}");
        let error = scope.append_all(vec![replayed(1)]).await.unwrap_err();
        assert!(matches!(error, AppendError::Conflict { aggregate: "grant", .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_cannot_append_for_another_and_a_person_only_for_themselves() {
    test_database::run(async |t| {
        let tenant = Actor::Workspace { workspace_id: WORKSPACE, user_id: None, service_name: "test".into() };
        let mut scope = t.database.scope(tenant).await.unwrap();
        let error = scope.append(created(Uuid::from_u128(0x78))).await.unwrap_err();
        assert!(error.to_string().contains("row-level security"), "{error}");
        drop(scope);

        let (ann, bob) = (Uuid::from_u128(0xA), Uuid::from_u128(0xB));
        let mut admin = t.admin().await;
        for id in [ann, bob] {
            test_database::execute(
                &mut admin,
                format!(
                    "INSERT INTO auth_gateway.user_accounts (id, email, email_salt, created_at, updated_at)
                     VALUES ('{id}', '{id}@example.test', decode(repeat('00', 16), 'hex'), now(), now());
                     INSERT INTO auth_gateway.sessions
                     (id, user_id, token_hash, created_at, last_seen_at, expires_at, absolute_expires_at, amr, auth_time)
                     VALUES ('{id}', '{id}', sha256('{id}'), now(), now(), now(), now(), '{{otp}}', now())"
                ),
            )
            .await;
        }
        let ended = |user_id| SessionEnded { user_id, reason: SessionEnd::SignedOut };
        let mut scope = t.database.scope(Actor::Person { user_id: ann }).await.unwrap();
        scope.append(NewEvent::of_platform(ann, &ended(ann))).await.unwrap();
        scope.commit().await.unwrap();
        let mut scope = t.database.scope(Actor::Person { user_id: bob }).await.unwrap();
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(scope.connection()).await.unwrap();
        assert_eq!(seen, 0, "a person sees another's events");
        let error = scope.append(NewEvent::of_platform(ann, &ended(ann))).await.unwrap_err();
        assert!(error.to_string().contains("row-level security"), "{error}");
    })
    .await;
}

//! Appending against a real Postgres.

use serde_json::{Value, json};
use shared::scope::Scopes;
use sqlx::Row;
use uuid::Uuid;

use super::field::{Identifier, Name};
use super::payload::{AuthorizationCodeReplayed, ConsentGranted, SessionEnd, SessionEnded, WorkspaceCreated};
use super::{AppendError, Appended, NewEvent};
use crate::database::{Actor, Component};
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

//! `POST /v1/sync/api-key`.

use std::time::Duration;

use serde_json::json;
use shared::{api_key::Environment, credential::CredentialKind, scope::Scopes};

use super::*;
use crate::{
    credentials::{self, KeyRequest},
    database::Actor,
    test_database,
};

async fn epoch(t: &TestDatabase) -> i64 {
    sqlx::query_scalar("SELECT credential_epoch FROM auth_gateway.projects")
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_lives_as_its_source_says_and_edges_know_it_by_its_hash() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        project(t, "notes").await;
        account(&test).await;
        let first = with(key(1, "first"), json!({"event_type": "CREATE", "created_at": "2026-11-01T00:00:00Z"}));
        let answer = good(&test, API_KEY, &first).await;
        assert_eq!(
            answer,
            json!({
                "success": true, "message": "API key created; only its hash is stored", "event_type": "ApiKeyCreated",
                "api_key_id": uuid(1), "key_hash_stored": true, "outcome": "created", "status": "active", "project": "notes",
            })
        );
        assert_eq!(epoch(t).await, 1);
        let resolved = resolve(&test, "first").await.unwrap();
        assert_eq!(resolved.id, uuid(1).to_string());
        assert_eq!((resolved.kind, resolved.project.as_str()), (CredentialKind::OpaqueToken, "notes"));
        assert_eq!((resolved.subject, resolved.epoch), (uuid(0xe0).to_string(), 1));
        assert_eq!(resolved.scopes, Scopes::parse("notes:read").unwrap());
        assert_eq!(resolved.issued_at, 1_793_491_200);

        let changes = json!({"event_type": "UPDATE", "permissions": ["notes:read", "notes:write"], "expires_at": "2026-12-01T00:00:00Z"});
        let answer = good(&test, API_KEY, &with(first.clone(), changes.clone())).await;
        assert_eq!((&answer["event_type"], &answer["outcome"]), (&json!("ApiKeyUpdated"), &json!("updated")));
        let resolved = resolve(&test, "first").await.unwrap();
        assert_eq!(resolved.scopes, Scopes::parse("notes:read notes:write").unwrap());
        assert_eq!((resolved.expires_at, resolved.epoch), (Some(1_796_083_200), 2));

        let rotated = json!({"event_type": "ROTATE", "key_hash": hash("second"), "old_key_hash": hash("first")});
        let answer = good(&test, API_KEY, &with(with(first.clone(), changes), rotated)).await;
        assert_eq!(answer["event_type"], "ApiKeyRotated");
        assert_eq!(resolve(&test, "first").await, None);
        assert!(resolve(&test, "second").await.is_some());

        let revoked = with(first, json!({"event_type": "REVOKE", "key_hash": hash("second")}));
        let answer = good(&test, API_KEY, &revoked).await;
        assert_eq!((&answer["event_type"], &answer["status"]), (&json!("ApiKeyRevoked"), &json!("revoked")));
        assert_eq!(resolve(&test, "second").await, None);
        assert_eq!(epoch(t).await, 4);
        // What edges may still remember is refused by its id.
        let compiled = test.origin.policy.current(&t.database).await.unwrap();
        assert!(compiled.policy.revocations.tokens.contains_key(&uuid(1).to_string()));
        assert_eq!(
            events(t, "api_key", uuid(1)).await,
            ["ApiKeyCreated@1", "ApiKeyUpdated@2", "ApiKeyRotated@3", "ApiKeyRevoked@4"]
        );
        let payloads: Vec<Value> = sqlx::query_scalar(
            "SELECT payload FROM auth_gateway.events WHERE aggregate_type = 'api_key' ORDER BY version",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(payloads[1]["permissions"], "notes:read notes:write");
        assert_eq!(payloads[1]["expires_at"], "2026-12-01T00:00:00.000000Z");
        let all = json!(payloads).to_string();
        for secret in ["first", "second"] {
            let sha256 = Sha256::digest(secret);
            assert!(!all.contains(&hash(secret)) && !all.contains(&base64url::encode(&sha256)), "{all}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_what_is_late_neither() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        project(t, "notes").await;
        account(&test).await;
        let at = |second: u8, secret: &str, event_type: &str| {
            let stamp = format!("2026-11-21T10:00:{second:02}+00:00");
            with(key(1, secret), json!({"updated_at": stamp, "event_type": event_type}))
        };
        let outcome = async |record: Value| good(&test, API_KEY, &record).await["outcome"].clone();
        // The update is there before what it updates.
        assert_eq!(outcome(at(2, "b", "ROTATE")).await, "created");
        assert_eq!(outcome(at(1, "a", "CREATE")).await, "unchanged");
        for _ in 0..3 {
            assert_eq!(outcome(at(2, "b", "ROTATE")).await, "unchanged");
        }
        assert!(resolve(&test, "b").await.is_some() && resolve(&test, "a").await.is_none());
        assert_eq!(events(t, "api_key", uuid(1)).await, ["ApiKeyRotated@1"]);
        assert_eq!(epoch(t).await, 1);
        // Revoked is revoked, however old the news, and nothing brings it back.
        assert_eq!(outcome(at(1, "a", "REVOKE")).await, "updated");
        for record in [at(9, "c", "UPDATE"), at(1, "a", "REVOKE"), at(2, "b", "ROTATE"), key(1, "b")] {
            let answer = good(&test, API_KEY, &record).await;
            assert_eq!((&answer["outcome"], &answer["status"]), (&json!("unchanged"), &json!("revoked")));
        }
        for secret in ["a", "b", "c"] {
            assert_eq!(resolve(&test, secret).await, None);
        }
        assert_eq!(events(t, "api_key", uuid(1)).await, ["ApiKeyRotated@1", "ApiKeyRevoked@2"]);
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_revoked_before_it_came_never_works() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        project(t, "notes").await;
        account(&test).await;
        let revoked = with(key(1, "a"), json!({"event_type": "REVOKE"}));
        assert_eq!(good(&test, API_KEY, &revoked).await["outcome"], "created");
        assert_eq!(good(&test, API_KEY, &key(1, "a")).await["status"], "revoked");
        assert_eq!(resolve(&test, "a").await, None);
        assert_eq!(events(t, "api_key", uuid(1)).await, ["ApiKeyRevoked@1"]);
    })
    .await;
}

#[tokio::test]
async fn an_organizations_first_key_makes_its_workspace_and_its_keys_stay_there() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        account(&test).await;
        let answer = good(&test, API_KEY, &key(1, "a")).await;
        // For no project yet: it is kept, and opens nothing.
        assert_eq!(answer["project"], Value::Null);
        assert_eq!(resolve(&test, "a").await, None);
        assert_eq!(events(t, "workspace", organization()).await, ["WorkspaceCreated@1"]);
        good(&test, API_KEY, &with(key(2, "b"), json!({"organization_id": uuid(0xb0)}))).await;
        for (workspace, own, other) in [(organization(), 1, 2), (uuid(0xb0), 2, 1)] {
            let actor =
                Actor::Workspace { workspace_id: workspace, user_id: None, service_name: "test".to_owned() };
            let mut scope = t.database.scope(actor).await.unwrap();
            let seen: Vec<Uuid> =
                sqlx::query_scalar("SELECT id FROM api_keys").fetch_all(scope.connection()).await.unwrap();
            scope.rollback().await.unwrap();
            assert_eq!(seen, [uuid(own)], "and not {other}");
        }
        // Once there is a project, the same key again is for it.
        project(t, "notes").await;
        assert_eq!(good(&test, API_KEY, &key(1, "a")).await["project"], "notes");
        assert_eq!(resolve(&test, "a").await.unwrap().project, "notes");
        // With several, it is for the one it is for, or the one that is named.
        project(t, "more").await;
        assert_eq!(good(&test, API_KEY, &key(1, "a")).await["outcome"], "unchanged");
        let named = with(key(1, "a"), json!({"project": "more"}));
        assert_eq!(good(&test, API_KEY, &named).await["project"], "more");
        assert_eq!(good(&test, API_KEY, &key(3, "c")).await["project"], Value::Null);
        let foreign = with(key(4, "d"), json!({"organization_id": uuid(0xb0), "project": "notes"}));
        let (status, slug, fields) = refused(&test, API_KEY, &foreign).await;
        assert_eq!((status, slug.as_str(), fields[0].as_str()), (422, "sync-refused", "project"));
    })
    .await;
}

#[tokio::test]
async fn row_22_nobody_takes_what_is_anothers() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        project(t, "notes").await;
        account(&test).await;
        good(&test, API_KEY, &key(1, "a")).await;
        let request = KeyRequest {
            project: "notes".to_owned(),
            name: "own".to_owned(),
            subject: None,
            scopes: Scopes::default(),
            lifetime: None,
            addresses: Vec::new(),
            created_by: "ann".to_owned(),
        };
        let own = credentials::create(&t.database, Environment::Live, &request).await.unwrap();
        let before = everything(t).await;
        for (record, field) in [
            // Another organization's key, by its id; another key's hash; a key that was made here.
            (with(key(1, "x"), json!({"organization_id": uuid(0xb0)})), "id"),
            (with(key(1, "x"), json!({"organization_id": uuid(0xb0), "event_type": "REVOKE"})), "id"),
            (key(2, "a"), "key_hash"),
            (with(key(2, "a"), json!({"event_type": "REVOKE"})), "key_hash"),
            (with(key(2, "a"), json!({"organization_id": uuid(0xb0)})), "key_hash"),
            (with(key(2, "x"), json!({"id": own.id})), "id"),
            (with(key(2, "x"), json!({"id": own.id, "event_type": "REVOKE"})), "id"),
        ] {
            let (status, slug, fields) = refused(&test, API_KEY, &record).await;
            assert_eq!(
                (status, slug.as_str(), fields),
                (409, "sync-conflict", vec![field.to_owned()]),
                "{record}"
            );
        }
        assert_eq!(everything(t).await, before, "a refused webhook left something");
        assert!(resolve(&test, "a").await.is_some());
    })
    .await;
}

#[tokio::test]
async fn each_fault_names_its_field_and_leaves_nothing() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        account(&test).await;
        let before = everything(t).await;
        for (changes, field) in [
            (json!({"user_id": uuid(0xe1)}), "user_id"),
            (json!({"organization_id": null}), "organization_id"),
            (json!({"organization_id": Uuid::nil()}), "organization_id"),
            (json!({"key_hash": "not a hash"}), "key_hash"),
            (json!({"event_type": "EXPLODE"}), "event_type"),
            (json!({"project": "none"}), "project"),
        ] {
            let (status, slug, fields) = refused(&test, API_KEY, &with(key(1, "a"), changes.clone())).await;
            assert_eq!(
                (status, slug.as_str(), fields),
                (422, "sync-refused", vec![field.to_owned()]),
                "{changes}"
            );
        }
        assert_eq!(everything(t).await, before, "a refused webhook left something");
    })
    .await;
}

#[tokio::test]
async fn a_raw_key_is_refused_wherever_it_stands_and_is_nowhere_afterwards() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        account(&test).await;
        let before = everything(t).await;
        let raw = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
        let bare = "b0Qh3PzT9xLmN2vKc7RwYs4JdF8gHa1Ue5Io6Ap0ZkX";
        let mut refusals = 0;
        for value in [raw, bare, "gw_live_abc", "whsec_abc", "pk_test_1", "eyJhbGciOiJub25lIn0.e30."] {
            for record in [
                with(key(1, "a"), json!({"name": value})),
                with(key(1, "a"), json!({"unknown": value})),
                with(key(1, "a"), json!({"deep": {"er": [value]}})),
                with(key(1, "a"), json!({"event_type": value})),
                with(key(1, "a"), json!({"id": value})),
                with(key(1, "a"), json!({value: true})),
            ] {
                let answer = send(&test, API_KEY, &record).await;
                assert_eq!(answer.problem(), (422, "raw-key-refused".to_owned()), "{record}");
                assert!(!String::from_utf8_lossy(&answer.body).contains(value), "{record}");
                refusals += 1;
            }
        }
        let answer = send(&test, API_KEY, &with(key(1, "a"), json!({"key_hash": raw}))).await;
        assert_eq!(answer.problem(), (422, "raw-key-refused".to_owned()));
        assert_eq!(counted(&test, "raw_key").await, refusals + 1);
        let after = everything(t).await;
        assert_eq!(after, before);
        assert!(!after.contains(raw) && !after.contains(bare));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_make_one_key_in_one_workspace() {
    test_database::run(async |t| {
        let test = Arc::new(TestOrigin::new(t));
        account(&test).await;
        let mut made = 0;
        for answer in at_once(&test, API_KEY, vec![key(1, "a"); 12]).await {
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            made += usize::from(answer.json()["outcome"] == "created");
        }
        assert_eq!(made, 1);
        assert_eq!(events(t, "api_key", uuid(1)).await, ["ApiKeyCreated@1"]);
        t.clock.advance(Duration::from_secs(1));
        // And several keys at once, of one organization.
        let records: Vec<Value> = (2..14).map(|number| key(number, &number.to_string())).collect();
        for answer in at_once(&test, API_KEY, records).await {
            assert_eq!(answer.json()["outcome"], "created");
        }
        assert_eq!(count(t, "security_service.projects").await, 1);
    })
    .await;
}

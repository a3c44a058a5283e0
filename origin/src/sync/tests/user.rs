//! `POST /v1/sync/user`.

use std::time::Duration;

use serde_json::json;
use time::{OffsetDateTime, macros::datetime};

use super::*;
use crate::{
    events::field::{CommitmentSalt, Pseudonym},
    retention, test_database,
};

#[derive(sqlx::FromRow, Debug, PartialEq)]
struct Row {
    email: String,
    metadata: Value,
    last_sign_in_at: Option<OffsetDateTime>,
    status: String,
}

async fn row(t: &TestDatabase, id: Uuid) -> Row {
    sqlx::query_as(
        "SELECT email, metadata, last_sign_in_at, status FROM auth_gateway.user_accounts WHERE id = $1",
    )
    .bind(id)
    .fetch_one(&mut t.admin().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_account_is_made_changed_and_left_alone_when_nothing_is_new() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let id = uuid(1);
        let made = json!({
            "id": id, "email": " Ann.Lee+x@Example.TEST ", "metadata": {"plan": "pro", "n": [1, {"a": null}]},
            "last_sign_in_at": "2026-11-20T09:00:00.5Z", "role": "authenticated", "provider": "email",
        });
        let answer = good(&test, USER, &made).await;
        assert_eq!(answer["user_id"], json!(id));
        assert_eq!((&answer["outcome"], &answer["event_type"]), (&json!("created"), &json!("UserUpserted")));
        let first = row(t, id).await;
        assert_eq!(first.email, "ann.lee+x@example.test");
        assert_eq!(first.metadata, made["metadata"]);
        assert_eq!(first.last_sign_in_at, Some(datetime!(2026-11-20 09:00:00.5 UTC)));

        // The same again, in another spelling: nothing happens.
        t.clock.advance(Duration::from_mins(1));
        for _ in 0..2 {
            let again = with(made.clone(), json!({"email": "ANN.lee+x@example.test"}));
            assert_eq!(good(&test, USER, &again).await["outcome"], "unchanged");
        }
        assert_eq!(events(t, "user_account", id).await, ["UserUpserted@1"]);

        // What is not said stays; an earlier sign-in does not take a later one's place.
        let moved = json!({"id": id, "email": "ann@example.test", "last_sign_in_at": "2026-11-19T09:00:00Z"});
        assert_eq!(good(&test, USER, &moved).await["outcome"], "updated");
        let second = row(t, id).await;
        assert_eq!(second, Row { email: "ann@example.test".to_owned(), ..first });
        let emptied = json!({"id": id, "email": "ann@example.test", "metadata": {}, "last_sign_in_at": "2026-11-21T09:00:00Z"});
        assert_eq!(good(&test, USER, &emptied).await["outcome"], "updated");
        let third = row(t, id).await;
        assert_eq!(third.metadata, json!({}));
        assert_eq!(third.last_sign_in_at, Some(datetime!(2026-11-21 09:00 UTC)));
        assert_eq!(events(t, "user_account", id).await, ["UserUpserted@1", "UserUpserted@2", "UserUpserted@3"]);
    })
    .await;
}

#[tokio::test]
async fn an_event_holds_the_address_as_a_commitment_only() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let id = uuid(1);
        good(&test, USER, &json!({"id": id, "email": "ann@example.test", "metadata": {"phone": "555-0100"}})).await;
        let (payload, salt): (Value, Vec<u8>) = sqlx::query_as(
            "SELECT e.payload, u.email_salt FROM auth_gateway.events AS e JOIN auth_gateway.user_accounts AS u ON u.id = e.aggregate_id",
        )
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
        let commitment = Pseudonym::commit(CommitmentSalt(salt.try_into().unwrap()), "ann@example.test");
        assert_eq!(payload["email"], serde_json::to_value(commitment).unwrap());
        assert!(!payload.to_string().contains("ann") && !payload.to_string().contains("555"), "{payload}");
    })
    .await;
}

#[tokio::test]
async fn what_comes_late_undoes_nothing() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let id = uuid(1);
        let at = |second: u8, email: &str| {
            json!({"id": id, "email": email, "updated_at": format!("2026-11-21T10:00:{second:02}Z"), "metadata": {"at": second}})
        };
        assert_eq!(good(&test, USER, &at(2, "b@example.test")).await["outcome"], "created");
        assert_eq!(good(&test, USER, &at(1, "a@example.test")).await["outcome"], "unchanged");
        assert_eq!(good(&test, USER, &at(3, "c@example.test")).await["outcome"], "updated");
        assert_eq!(good(&test, USER, &at(2, "b@example.test")).await["outcome"], "unchanged");
        // The latest sign-in counts, whatever else is out of date; nothing else comes with it.
        let late = with(at(1, "a@example.test"), json!({"last_sign_in_at": "2026-11-21T09:59:00Z"}));
        assert_eq!(good(&test, USER, &late).await["outcome"], "updated");
        let row = row(t, id).await;
        assert_eq!((row.email.as_str(), row.metadata["at"].as_i64()), ("c@example.test", Some(3)));
        assert_eq!(row.last_sign_in_at, Some(datetime!(2026-11-21 09:59 UTC)));
    })
    .await;
}

#[tokio::test]
async fn row_17_an_address_of_another_account_is_refused_and_nothing_is_told_of_it() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let (one, other) = (uuid(1), uuid(2));
        good(&test, USER, &json!({"id": one, "email": "ann@example.test"})).await;
        good(&test, USER, &json!({"id": other, "email": "bob@example.test"})).await;
        let before = everything(t).await;
        for (id, email) in [(uuid(3), "Ann@example.test"), (other, "ann@example.test")] {
            let answer = send(&test, USER, &json!({"id": id, "email": email})).await;
            assert_eq!(answer.problem(), (409, "sync-conflict".to_owned()));
            assert_eq!(answer.json()["faults"], json!([{"field": "email", "why": "is another account's"}]));
            let said = String::from_utf8_lossy(&answer.body).to_lowercase();
            assert!(!said.contains("ann@") && !said.contains(&one.to_string()), "{said}");
        }
        assert_eq!(counted(&test, "conflict").await, 2);
        assert_eq!(everything(t).await, before);
    })
    .await;
}

#[tokio::test]
async fn an_erased_account_stays_erased() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let user = json!({"id": uuid(1), "email": "ann@example.test", "metadata": {"phone": "555-0100"}});
        good(&test, USER, &user).await;
        retention::erase(&t.database, &retention::Person::Id(uuid(1))).await.unwrap();
        assert!(!everything(t).await.contains("555-0100"), "erasure left metadata");
        let (status, slug, fields) = refused(&test, USER, &user).await;
        assert_eq!((status, slug.as_str(), fields[0].as_str()), (409, "sync-conflict", "id"));
        // Nor do keys come back under its id.
        let (status, _, fields) =
            refused(&test, API_KEY, &with(key(1, "a"), json!({"user_id": uuid(1)}))).await;
        assert_eq!((status, fields[0].as_str()), (422, "user_id"));
    })
    .await;
}

#[tokio::test]
async fn each_fault_names_its_field_and_leaves_nothing() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let user = json!({"id": uuid(1), "email": "ann@example.test"});
        let before = everything(t).await;
        for (changes, fields) in [
            (json!({"id": null}), vec!["id"]),
            (json!({"id": "17"}), vec!["id"]),
            (json!({"id": Uuid::nil()}), vec!["id"]),
            (json!({"email": null}), vec!["email"]),
            (json!({"email": 7}), vec!["email"]),
            (json!({"email": "ann@evil.test@example.test"}), vec!["email"]),
            (
                json!({"id": "x", "email": "", "metadata": [], "last_sign_in_at": "now"}),
                vec!["id", "email", "metadata", "last_sign_in_at"],
            ),
            (json!({"metadata": {"a": "x".repeat(16_400)}}), vec!["metadata"]),
            (json!({"metadata": {"a": "\u{0}"}}), vec!["metadata"]),
            (json!({"updated_at": "x"}), vec!["updated_at"]),
        ] {
            let (status, slug, found) = refused(&test, USER, &with(user.clone(), changes.clone())).await;
            assert_eq!((status, slug.as_str()), (422, "sync-refused"), "{changes}");
            assert_eq!(found, fields);
        }
        for (changes, field) in [
            (json!({"metadata": {"note": "my key is sk_live_abcdefgh"}}), "metadata.note"),
            (json!({"encrypted_password": "$2a$10$abcdefghijklmnopqrstuv"}), "encrypted_password"),
            (json!({"recovery_token": "pkce_123"}), "recovery_token"),
            (json!({"display": "eyJhbGciOiJIUzI1NiJ9"}), "display"),
        ] {
            let (status, slug, found) = refused(&test, USER, &with(user.clone(), changes)).await;
            assert_eq!((status, slug.as_str(), found), (422, "raw-key-refused", vec![field.to_owned()]));
        }
        for text in ["", "null", "[]", "{\"id\":1", "{\"id\":1,\"id\":2}"] {
            let answer = send_text(&test, USER, text, "application/json").await;
            assert_eq!(answer.problem(), (400, "request-malformed".to_owned()), "{text}");
        }
        assert_eq!(
            (
                counted(&test, "field").await,
                counted(&test, "raw_key").await,
                counted(&test, "malformed").await
            ),
            (10, 4, 5)
        );
        assert_eq!(everything(t).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_make_one_account() {
    test_database::run(async |t| {
        let test = Arc::new(TestOrigin::new(t));
        let user = json!({"id": uuid(1), "email": "ann@example.test"});
        let mut made = 0;
        for answer in at_once(&test, USER, vec![user; 12]).await {
            assert_eq!(answer.status, 200);
            made += usize::from(answer.json()["outcome"] == "created");
        }
        assert_eq!(made, 1);
        assert_eq!(events(t, "user_account", uuid(1)).await, ["UserUpserted@1"]);
    })
    .await;
}

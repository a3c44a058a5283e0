//! Who may send: whoever knows the secret, or the one before while it is rotated.

use serde_json::json;

use super::*;
use crate::test_database;

const NEW: &str = "another-secret-of-the-webhooks-in-tests";

#[tokio::test]
async fn without_the_secret_nothing_is_read_and_only_a_count_is_left() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        let body = json!({"id": uuid(1), "email": "ann@example.test"}).to_string();
        let before = everything(t).await;
        let mut wrong = 0;
        for path in [USER, API_KEY, BACKFILL] {
            for secret in ["x", WEBHOOK_SECRET.get(1..).unwrap(), &format!("{WEBHOOK_SECRET}x"), NEW] {
                let headers = [("x-webhook-secret", secret), ("content-type", "application/json")];
                let answer = test.send("POST", path, &headers, &body).await;
                assert_eq!(answer.problem(), (401, "webhook-secret-refused".to_owned()));
                assert!(!String::from_utf8_lossy(&answer.body).contains(secret) || secret == "x");
                wrong += 1;
            }
            let none = test.send("POST", path, &[("content-type", "application/json")], &body).await;
            assert_eq!(none.problem().0, 401);
            let twice = [("x-webhook-secret", WEBHOOK_SECRET), ("x-webhook-secret", WEBHOOK_SECRET)];
            assert_eq!(test.send("POST", path, &twice, &body).await.problem().0, 401);
        }
        assert_eq!(
            (counted(&test, "secret_wrong").await, counted(&test, "secret_missing").await),
            (wrong, 6)
        );
        assert_eq!(everything(t).await, before, "a refused webhook left something");
        // The edge's assertion is still needed.
        let headers = [("x-webhook-secret", WEBHOOK_SECRET), ("content-type", "application/json")];
        let answer = test.send_bare("POST", USER, &headers, &body).await;
        assert_eq!(answer.problem(), (403, "assertion-refused".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn two_secrets_are_good_while_one_takes_the_others_place() {
    test_database::run(async |t| {
        let (old, both, new) = (
            TestOrigin::new(t),
            TestOrigin::with(
                t,
                t.database.clone(),
                &[("WEBHOOK_SECRET", NEW), ("WEBHOOK_SECRET_PREVIOUS", WEBHOOK_SECRET)],
            ),
            TestOrigin::with(t, t.database.clone(), &[("WEBHOOK_SECRET", NEW)]),
        );
        let body = json!({"id": uuid(1), "email": "ann@example.test"}).to_string();
        for (test, secret, status) in [
            (&old, WEBHOOK_SECRET, 200),
            (&old, NEW, 401),
            (&both, WEBHOOK_SECRET, 200),
            (&both, NEW, 200),
            (&new, NEW, 200),
            (&new, WEBHOOK_SECRET, 401),
        ] {
            let answer = test.send("POST", USER, &[("x-webhook-secret", secret)], &body).await;
            assert_eq!(answer.status, status);
        }
    })
    .await;
}

#[tokio::test]
async fn who_sends_stands_in_the_record_or_is_refused() {
    test_database::run(async |t| {
        let test = TestOrigin::new(t);
        account(&test).await;
        let body = key(1, "a").to_string();
        for name in ["", "a b", "a/b", "\u{e4}", &"a".repeat(65)] {
            let headers = [("x-webhook-secret", WEBHOOK_SECRET), ("x-service-name", name)];
            let answer = test.send("POST", API_KEY, &headers, &body).await;
            assert_eq!(answer.problem(), (400, "request-malformed".to_owned()), "{name:?}");
            assert_eq!(answer.json()["field"], "x-service-name");
        }
        assert_eq!(counted(&test, "service_name").await, 5);
        let answer = send(&test, API_KEY, &key(1, "a")).await;
        let request_id = answer.header("x-request-id").to_owned();
        let metadata: Vec<Value> =
            sqlx::query_scalar("SELECT metadata FROM auth_gateway.events WHERE aggregate_type = 'api_key'")
                .fetch_all(&mut t.admin().await)
                .await
                .unwrap();
        assert_eq!(metadata[0]["service_name"], "supabase.test");
        assert_eq!(metadata[0]["authenticated_as"], "sync");
        assert_eq!(metadata[0]["correlation_id"], request_id);
        assert_eq!(metadata[0]["actor"]["kind"], "workspace");
    })
    .await;
}

//! `POST /v1/sync/backfill-api-keys`.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    http::Request,
};
use hyper::body::Frame;
use serde_json::json;
use shared::assertion::HEADER;
use tower::ServiceExt as _;

use super::*;
use crate::{
    clock::Randomness,
    database::Database,
    sync::BACKFILLS_AT_ONCE,
    test_database::{self, TestDatabase},
};

const LINES: &str = "application/x-ndjson";

fn lines(records: &[Value]) -> String {
    records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect()
}

/// The report on a body, as one document.
async fn report(test: &TestOrigin, target: &str, body: &str, media_type: &str) -> Value {
    let answer = send_text(test, target, body, media_type).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

fn sums(report: &Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "refused"].map(|name| report[name].as_u64().unwrap())
}

/// `[row, id, field, problem]` of each fault.
fn faults(report: &Value) -> Vec<Value> {
    let slug = |fault: &Value| fault["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let faults = report["faults"].as_array().unwrap().iter();
    faults.map(|fault| json!([fault["row"], fault["id"], fault["field"], slug(fault)])).collect()
}

async fn stage(t: &TestDatabase) -> TestOrigin {
    let test = TestOrigin::new(t);
    project(t, "notes").await;
    account(&test).await;
    test
}

/// A body that comes in pieces, and may break off.
struct Pieces {
    pieces: VecDeque<Bytes>,
    breaks: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match self.pieces.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if std::mem::take(&mut self.breaks) => {
                Some(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
            }
            None => None,
        })
    }
}

/// Sends a body in pieces of this length, which may break off at the end; the report's lines.
async fn send_pieces(test: &TestOrigin, target: &str, body: &str, length: usize, breaks: bool) -> Vec<Value> {
    let pieces = body.as_bytes().chunks(length).map(Bytes::copy_from_slice).collect();
    let request = Request::post(target)
        .header(HEADER, test.assertion("POST", target, b""))
        .header("content-type", LINES)
        .header("accept", LINES)
        .header("x-webhook-secret", WEBHOOK_SECRET)
        .body(Body::new(Pieces { pieces, breaks }))
        .unwrap();
    let response = test.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], LINES);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    String::from_utf8(body.to_vec())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn rows_are_stored_and_bad_ones_are_told_with_row_id_field_and_problem() {
    test_database::run(async |t| {
        let test = stage(t).await;
        let foreign = with(key(6, "f"), json!({"user_id": uuid(0xe9)}));
        let taken = key(7, "a");
        let raw = with(key(8, "h"), json!({"name": "sk_live_abcdef"}));
        let many = json!({"id": uuid(9), "organization_id": 7});
        let rows = [
            key(1, "a").to_string(),
            "{bad}".to_owned(),
            "[1]".to_owned(),
            key(2, "b").to_string(),
            foreign.to_string(),
            taken.to_string(),
            raw.to_string(),
            many.to_string(),
            format!("{{\"id\":\"{}\"}}", "x".repeat(20_000)),
            key(3, "c").to_string(),
        ];
        let expected = [
            json!([2, null, null, "request-malformed"]),
            json!([3, null, null, "request-malformed"]),
            json!([5, uuid(6), "user_id", "sync-refused"]),
            json!([6, uuid(7), "key_hash", "sync-conflict"]),
            json!([7, uuid(8), "name", "raw-key-refused"]),
            json!([8, uuid(9), "user_id", "sync-refused"]),
            json!([9, null, null, "body-too-large"]),
        ];
        let array = format!("[{}]", rows.join(",\n "));
        for (turn, (body, media_type)) in [
            (rows.join("\n"), LINES),
            (array.clone(), "application/json"),
            (format!("{{\"source\":\"supabase\",\"keys\":{array}}}"), "application/json; charset=utf-8"),
        ]
        .iter()
        .enumerate()
        {
            let report = report(&test, BACKFILL, body, media_type).await;
            assert_eq!(sums(&report), if turn == 0 { [3, 0, 0, 7] } else { [0, 0, 3, 7] }, "{report}");
            let mut found = faults(&report);
            found.sort_by_key(|fault| fault[0].as_u64());
            assert_eq!(found, expected);
            assert_eq!(report["after"], 10);
            assert_eq!(
                (&report["total"], &report["synced"], &report["failed"]),
                (&json!(10), &json!(3), &json!(7))
            );
            assert_eq!((&report["complete"], &report["success"]), (&json!(true), &json!(false)));
            assert!(!report.to_string().contains("sk_live"));
        }
        assert_eq!(counted(&test, "malformed").await, 6);
        assert_eq!(counted(&test, "raw_key").await, 3);
        assert_eq!(events(t, "api_key", uuid(1)).await, ["ApiKeyCreated@1"]);
        assert!(resolve(&test, "c").await.is_some());
        assert!(!everything(t).await.contains("sk_live"));
    })
    .await;
}

#[tokio::test]
async fn a_backfill_repairs_what_has_drifted() {
    test_database::run(async |t| {
        let test = stage(t).await;
        for number in 1..=5 {
            good(&test, API_KEY, &key(number, &number.to_string())).await;
        }
        let rows = [
            key(1, "1"),
            with(key(2, "2"), json!({"name": "renamed"})),
            key(3, "another"),
            with(key(4, "4"), json!({"is_active": false})),
            with(key(6, "6"), json!({"status": "revoked"})),
            key(7, "7"),
        ];
        let found = report(&test, BACKFILL, &lines(&rows), LINES).await;
        assert_eq!(sums(&found), [2, 3, 1, 0], "{found}");
        for (number, expected) in [
            (1, vec!["ApiKeyCreated@1"]),
            (2, vec!["ApiKeyCreated@1", "ApiKeyUpdated@2"]),
            (3, vec!["ApiKeyCreated@1", "ApiKeyRotated@2"]),
            (4, vec!["ApiKeyCreated@1", "ApiKeyRevoked@2"]),
            (5, vec!["ApiKeyCreated@1"]),
            (6, vec!["ApiKeyRevoked@1"]),
            (7, vec!["ApiKeyCreated@1"]),
        ] {
            assert_eq!(events(t, "api_key", uuid(number)).await, expected, "{number}");
        }
        for (secret, is_known) in
            [("1", true), ("3", false), ("another", true), ("4", false), ("6", false), ("7", true)]
        {
            assert_eq!(resolve(&test, secret).await.is_some(), is_known, "{secret}");
        }
    })
    .await;
}

#[tokio::test]
async fn rows_about_one_key_and_hashes_that_move_are_taken_in_their_order() {
    test_database::run(async |t| {
        let test = stage(t).await;
        let rows = [
            key(1, "a"),
            key(2, "b"),
            // The same key again; then one takes the other's hash once that is free, and back.
            key(1, "c"),
            key(2, "a"),
            key(1, "d"),
            key(3, "c"),
            with(key(3, "c"), json!({"name": "renamed"})),
        ];
        let found = report(&test, BACKFILL, &lines(&rows), LINES).await;
        assert_eq!(sums(&found), [3, 4, 0, 0], "{found}");
        for (secret, owner) in [("d", Some(1)), ("a", Some(2)), ("c", Some(3)), ("b", None)] {
            let id = resolve(&test, secret).await.map(|resolved| resolved.id);
            assert_eq!(id, owner.map(|owner| uuid(owner).to_string()), "{secret}");
        }
        // Two that swap cannot both have their way, in whichever order; the first to ask waits for the other, and says so.
        let swap = [key(1, "a"), key(2, "d")];
        let found = report(&test, BACKFILL, &lines(&swap), LINES).await;
        assert_eq!(sums(&found), [0, 0, 0, 2], "{found}");
        // One that hands its hash on in the same batch is first asked, then stored.
        let chain = [key(1, "e"), key(2, "d")];
        let found = report(&test, BACKFILL, &lines(&chain), LINES).await;
        assert_eq!(sums(&found), [0, 2, 0, 0], "{found}");
    })
    .await;
}

#[tokio::test]
async fn what_came_before_a_break_is_kept_and_the_rest_can_be_sent() {
    test_database::run(async |t| {
        let test = stage(t).await;
        let rows: Vec<Value> = (1..=700).map(|number| key(number, &number.to_string())).collect();
        let all = lines(&rows);
        // Cut in the middle of row 621.
        let row_620 = lines(&rows[..620]).len();
        let cut = all.get(..row_620 + 40).unwrap();
        let said = send_pieces(&test, BACKFILL, cut, 1000, true).await;
        let last = said.last().unwrap();
        assert_eq!((said[0]["kind"].as_str(), last["kind"].as_str()), (Some("begun"), Some("report")));
        assert_eq!((&last["complete"], &last["after"]), (&json!(false), &json!(620)));
        assert_eq!(sums(last), [620, 0, 0, 0]);
        let detail = last["stopped"]["detail"].as_str().unwrap();
        assert!(
            detail.contains("at row 621, of which a part had come") && detail.contains("?after=620"),
            "{detail}"
        );
        assert_eq!(count(t, "security_service.api_keys").await, 620);
        // From there on; what lies before is only counted.
        let said = send_pieces(&test, &format!("{BACKFILL}?after=620"), &all, 7777, false).await;
        let last = said.last().unwrap();
        assert_eq!(
            (&last["complete"], &last["success"], &last["after"]),
            (&json!(true), &json!(true), &json!(700))
        );
        assert_eq!((sums(last), &last["skipped"]), ([80, 0, 0, 0], &json!(620)));
        // All of it again changes nothing.
        let said = send_pieces(&test, BACKFILL, &all, 100_000, false).await;
        assert_eq!(sums(said.last().unwrap()), [0, 0, 700, 0]);
        assert_eq!(count(t, "auth_gateway.events WHERE aggregate_type = 'api_key'").await, 700);
    })
    .await;
}

#[tokio::test]
async fn a_broken_tail_of_json_is_told_at_its_row() {
    test_database::run(async |t| {
        let test = stage(t).await;
        let (one, two) = (key(1, "a"), key(2, "b"));
        for (body, created, row, why) in [
            (format!("{{\"keys\":[{one},{two},{{\"id\":"), 2, 3, "ends before it is whole"),
            (format!("[{one},{two}"), 0, 3, "ends before it is whole"),
            (format!("[{one} {two}]"), 0, 2, "not followed by a comma"),
            ("17".to_owned(), 0, 1, "neither an array nor an object"),
        ] {
            let found = report(&test, BACKFILL, &body, "application/json").await;
            assert_eq!(found["created"], created);
            assert_eq!(faults(&found), [json!([row, null, null, "request-malformed"])]);
            assert_eq!((&found["complete"], &found["after"]), (&json!(false), &json!(row - 1)));
            assert!(found["stopped"]["detail"].as_str().unwrap().contains(why), "{found}");
        }
    })
    .await;
}

#[tokio::test]
async fn faults_beyond_ten_thousand_are_counted_and_hold_up_nothing() {
    test_database::run(async |t| {
        let test = stage(t).await;
        let body = "{}\n".repeat(10_050) + &key(1, "a").to_string();
        let found = report(&test, BACKFILL, &body, LINES).await;
        assert_eq!(sums(&found), [1, 0, 0, 10_050]);
        assert_eq!(
            (found["faults"].as_array().unwrap().len(), &found["faults_not_told"]),
            (10_000, &json!(50))
        );
        // To hear of the others, one goes on after the last that was told.
        let found = report(&test, &format!("{BACKFILL}?after=10000"), &body, LINES).await;
        assert_eq!((sums(&found), &found["skipped"]), ([0, 0, 1, 50], &json!(10_000)));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_backfill_is_refused_and_counted() {
    test_database::run(async |t| {
        let test = stage(t).await;
        for media_type in ["", "text/plain", "application/x-www-form-urlencoded"] {
            let answer = send_text(&test, BACKFILL, "[]", media_type).await;
            assert_eq!(answer.problem(), (400, "request-malformed".to_owned()));
            assert_eq!(answer.json()["field"], "Content-Type");
        }
        for query in ["after=x", "after=-1", "after=1&more=2", "after=99999999999999999999"] {
            let answer = send_text(&test, &format!("{BACKFILL}?{query}"), "[]", "application/json").await;
            assert_eq!(answer.problem(), (400, "request-malformed".to_owned()), "{query}");
            assert_eq!(answer.json()["field"], "after");
        }
        let permits: Vec<_> = (0..BACKFILLS_AT_ONCE)
            .map(|_| Arc::clone(&test.origin.backfills).try_acquire_owned().unwrap())
            .collect();
        let answer = send_text(&test, BACKFILL, "[]", "application/json").await;
        assert_eq!(
            (answer.problem(), answer.header("retry-after")),
            ((429, "rate-limited".to_owned()), "30")
        );
        drop(permits);
        let found = report(&test, BACKFILL, "[]", "application/json").await;
        assert_eq!((sums(&found), &found["complete"]), ([0; 4], &json!(true)));
        for (reason, expected) in [("media_type", 3), ("query", 4), ("busy", 1)] {
            assert_eq!(counted(&test, reason).await, expected);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backfills_and_webhooks_of_the_same_keys_at_once_come_to_one_state() {
    test_database::run(async |t| {
        let test = Arc::new(stage(t).await);
        let rows: Vec<Value> = (1..=300)
            .map(|number| {
                let organization_id = uuid(ORGANIZATION + number % 3);
                with(key(number, &number.to_string()), json!({"organization_id": organization_id}))
            })
            .collect();
        let mut backwards = rows.clone();
        backwards.reverse();
        let mut sending = JoinSet::new();
        for body in [lines(&rows), lines(&backwards)] {
            let test = Arc::clone(&test);
            sending.spawn(async move {
                let found = report(&test, BACKFILL, &body, LINES).await;
                assert_eq!(found["complete"], true, "{found}");
                sums(&found)
            });
        }
        let webhooks = at_once(&test, API_KEY, rows.iter().step_by(40).cloned().collect()).await;
        let mut created =
            webhooks.iter().filter(|answer| answer.json()["outcome"] == "created").count() as u64;
        for [made, updated, _, refused] in sending.join_all().await {
            assert_eq!((updated, refused), (0, 0));
            created += made;
        }
        assert_eq!(created, 300);
        assert_eq!(count(t, "auth_gateway.events WHERE aggregate_type = 'api_key'").await, 300);
        assert_eq!(count(t, "auth_gateway.workspaces").await, 4);
        t.clock.advance(Duration::from_secs(1));
    })
    .await;
}

#[tokio::test]
async fn a_database_that_goes_away_ends_it_where_it_stood() {
    test_database::run(async |t| {
        let test = stage(t).await;
        let rows: Vec<Value> = (1..=20).map(|number| key(number, &number.to_string())).collect();
        let gone = Database::new(
            "postgres://nobody@127.0.0.1:1/none".parse().unwrap(),
            1,
            t.clock.clone(),
            Randomness::System,
        );
        let away = TestOrigin::with(t, gone, &[]);
        let found = report(&away, &format!("{BACKFILL}?after=3"), &lines(&rows), LINES).await;
        assert_eq!((&found["complete"], &found["after"], sums(&found)), (&json!(false), &json!(3), [0; 4]));
        assert!(found["stopped"]["type"].as_str().unwrap().ends_with("/origin-unavailable"));
        let found = report(&test, &format!("{BACKFILL}?after=3"), &lines(&rows), LINES).await;
        assert_eq!(sums(&found), [17, 0, 0, 0]);
    })
    .await;
}

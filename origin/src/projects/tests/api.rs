//! `/v1/projects…` through the origin's router.

use serde_json::{Value, json};

use crate::http::test_origin::Answer;
use crate::operators::test_tokens::Desk;
use crate::test_database::{self, TestDatabase};

fn service(port: u16) -> Value {
    json!({"service": [{"slug": "api", "upstreams": [format!("http://127.0.0.1:{port}")]}]})
}

async fn put(desk: &Desk, slug: &str, seen: Option<i64>, body: &Value) -> Answer {
    let authorization = desk.deployer(desk.demo);
    let tag = seen.map(|revision| format!("\"{revision}\"")).unwrap_or_default();
    let mut headers = vec![("authorization", authorization.as_str())];
    if seen.is_some() {
        headers.push(("if-match", &tag));
    }
    desk.test.send("PUT", &format!("/v1/projects/{slug}"), &headers, &body.to_string()).await
}

async fn get(desk: &Desk, path: &str) -> Answer {
    desk.send("GET", &format!("/v1/projects{path}"), &desk.deployer(desk.demo), "").await
}

async fn revisions(t: &TestDatabase) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM auth_gateway.project_revisions")
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_read_can_be_changed_and_sent_back() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let read = get(&desk, "/notes").await;
        assert_eq!((read.status.as_u16(), read.header("etag")), (200, "\"1\""));
        assert_eq!(read.header("cache-control"), "no-store");
        let mut declaration = read.json();
        declaration["service"][0]["timeout"] = json!("5s");
        declaration["cors"] = json!({"origins": ["https://app.example.com"]});

        let before = desk.test.origin.policy.current(&t.database).await.unwrap().version;
        let changed = put(&desk, "notes", Some(1), &declaration).await;
        assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""));
        let paths: Vec<_> = changed.json()["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["path"].clone())
            .collect();
        assert_eq!(paths, ["cors", "service[api].timeout"]);
        // The next edge that asks gets it, without any waiting.
        let policy = desk.test.origin.policy.current(&t.database).await.unwrap();
        assert!(policy.version > before);
        assert_eq!(policy.policy.projects["notes"].services["api"].timeout_millis, Some(5_000));
        assert_eq!(get(&desk, "/notes").await.json(), declaration);

        let again = put(&desk, "notes", Some(2), &declaration).await;
        assert_eq!(
            (again.json()["revision"].clone(), again.json()["changes"].clone()),
            (json!(2), json!([]))
        );
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_a_roll_back_undoes_it() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let told = put(&desk, "notes?dry_run=true", None, &service(9200)).await;
        assert_eq!((told.status.as_u16(), told.header("etag")), (200, "\"1\""));
        assert_eq!(
            told.json()["changes"],
            json!([{"path": "service[api].upstreams", "before": ["http://127.0.0.1:9100"], "after": ["http://127.0.0.1:9200"]}])
        );
        assert_eq!(revisions(t).await, 2, "one for each project that was applied");

        put(&desk, "notes", None, &service(9200)).await;
        let authorization = desk.deployer(desk.demo);
        let target = "/v1/projects/notes/rollback";
        let back = desk.send("POST", target, &authorization, "{\"revision\": 1}").await;
        assert_eq!((back.status.as_u16(), back.header("etag")), (200, "\"3\""));
        assert_eq!(get(&desk, "/notes").await.json(), get(&desk, "/notes/revisions/1").await.json()["declaration"]);
        let listed = get(&desk, "/notes/revisions").await.json();
        let listed = listed["revisions"].as_array().unwrap();
        assert_eq!(listed.len(), 3);
        assert_eq!((&listed[0]["revision"], &listed[0]["restored_from"]), (&json!(3), &json!(1)));
        assert_eq!(listed[0]["actor"]["service_name"], "service:deployer");
        assert_eq!(get(&desk, "/notes/revisions?before=3").await.json()["revisions"][0]["revision"], 2);

        for (body, status, problem) in [
            ("{\"revision\": 9}", 404, "not-found"),
            ("{}", 400, "request-malformed"),
            ("", 400, "request-malformed"),
            ("{\"revision\": 1, \"extra\": 1}", 400, "request-malformed"),
        ] {
            let answer = desk.send("POST", target, &authorization, body).await;
            assert_eq!(answer.problem(), (status, problem.to_owned()), "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_changes_of_one_revision_one_is_told_that_the_other_came_between() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let (one, other) = (service(9201), service(9202));
        let (one, other) =
            tokio::join!(put(&desk, "notes", Some(1), &one), put(&desk, "notes", Some(1), &other));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412]);
        let refused = if one.status == 412 { one } else { other };
        assert_eq!(refused.problem(), (412, "revision-changed".to_owned()));
        assert_eq!(refused.json()["revision"], 2);
        for tag in ["2", "W/\"2\"", "\"x\"", "*", "\"1\", \"2\""] {
            let authorization = desk.deployer(desk.demo);
            let headers = [("authorization", authorization.as_str()), ("if-match", tag)];
            let answer =
                desk.test.send("PUT", "/v1/projects/notes", &headers, &service(9203).to_string()).await;
            assert_eq!(answer.problem(), (400, "request-malformed".to_owned()), "{tag}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_project_is_made_once() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        assert_eq!(put(&desk, "fresh?dry_run=true", Some(0), &service(9200)).await.json()["created"], true);
        assert_eq!(get(&desk, "/fresh").await.status, 404);
        let body = service(9200);
        let (one, other) =
            tokio::join!(put(&desk, "fresh", Some(0), &body), put(&desk, "fresh", Some(0), &body));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 412]);
        assert_eq!(get(&desk, "/fresh").await.header("etag"), "\"1\"");
    })
    .await;
}

#[tokio::test]
async fn every_fault_is_told_with_its_place() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let body = json!({"slug": "notes", "limit": [{"by": "key", "requests": 0, "window": "1s"}],
                          "service": [{"slug": "api", "upstreams": ["ftp://h"]}]});
        let answer = put(&desk, "notes", None, &body).await;
        assert_eq!(answer.problem(), (422, "declaration-faulty".to_owned()));
        let faults = answer.json()["faults"].clone();
        assert_eq!(faults[0]["pointer"], "/limit/0/requests");
        assert_eq!(faults[1]["pointer"], "/service/0/upstreams/0");
        assert!(answer.json()["request_id"].is_string());
        for (slug, body, status) in [
            ("notes", json!({"servise": []}), 422),
            ("notes", json!([1]), 422),
            ("notes", json!({"slug": "other"}), 422),
            ("oauth", service(9200), 422),
            ("No-Slug", service(9200), 422),
            ("notes?dry_run=maybe", service(9200), 400),
            ("notes?dryrun=true", service(9200), 400),
        ] {
            assert_eq!(put(&desk, slug, None, &body).await.status, status, "{slug} {body}");
        }
        let garbage = desk.send("PUT", "/v1/projects/notes", &desk.deployer(desk.demo), "{").await;
        assert_eq!(garbage.problem(), (400, "request-malformed".to_owned()));
        assert_eq!(revisions(t).await, 2);
    })
    .await;
}

#[tokio::test]
async fn a_token_of_one_workspace_neither_reads_nor_writes_anothers_project() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        for path in ["/theirs", "/theirs/revisions", "/theirs/revisions/1"] {
            assert_eq!(get(&desk, path).await.problem(), (404, "not-found".to_owned()), "{path}");
        }
        let theirs = put(&desk, "theirs", None, &service(6666)).await;
        assert_eq!(theirs.problem(), (403, "wrong-project".to_owned()));
        let dry = put(&desk, "theirs?dry_run=true", None, &service(6666)).await;
        assert_eq!(dry.problem(), (403, "wrong-project".to_owned()));
        let authorization = desk.deployer(desk.demo);
        let back =
            desk.send("POST", "/v1/projects/theirs/rollback", &authorization, "{\"revision\": 1}").await;
        assert_eq!(back.problem(), (404, "not-found".to_owned()));
        let policy = desk.test.origin.policy.current(&t.database).await.unwrap();
        let upstreams = &policy.policy.projects["theirs"].services["api"].upstreams;
        assert_eq!(upstreams[0].url, "http://127.0.0.1:9100");
        assert_eq!(revisions(t).await, 2);
    })
    .await;
}

#[tokio::test]
async fn what_a_service_calls_itself_stands_in_the_trail_beside_what_its_token_says() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let authorization = desk.deployer(desk.demo);
        let send = async |name: &str, port| {
            let headers = [("authorization", authorization.as_str()), ("x-service-name", name)];
            desk.test.send("PUT", "/v1/projects/notes", &headers, &service(port).to_string()).await
        };
        assert_eq!(send("billing-2", 9300).await.status.as_u16(), 200);
        let metadata: Value = sqlx::query_scalar(
            "SELECT metadata FROM auth_gateway.events WHERE aggregate_type = 'project' ORDER BY occurred_at DESC, version DESC LIMIT 1",
        )
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(
            (&metadata["service_name"], &metadata["authenticated_as"]),
            (&json!("billing-2"), &json!("service:deployer"))
        );
        let before = revisions(t).await;
        let refused = send("billing 2", 9400).await;
        assert_eq!(refused.problem(), (400, "request-malformed".to_owned()));
        assert_eq!(refused.json()["field"], "x-service-name");
        assert_eq!(revisions(t).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_change_that_others_were_in_the_way_of_again_and_again_is_a_conflict() {
    test_database::run_leaving_work(async |t| {
        let desk = Desk::set(t).await;
        // Whatever version is tried, it is taken by one that the tenant cannot see.
        let mut admin = t.admin().await;
        let taken: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT event_id FROM auth_gateway.events")
            .fetch_all(&mut admin)
            .await
            .unwrap();
        let taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
        let hide = format!(
            "DROP POLICY app ON auth_gateway.events;
             CREATE POLICY app ON auth_gateway.events FOR ALL TO gateward_app
             USING (event_id <> ALL ('{{{}}}'::uuid[])) WITH CHECK (true)",
            taken.join(",")
        );
        test_database::execute(&mut admin, hide).await;
        let answer = put(&desk, "notes", None, &service(9500)).await;
        assert_eq!(answer.problem(), (409, "conflict".to_owned()));
    })
    .await;
}

use std::time::Duration;

use shared::{
    assertion::{EdgeAssertion, ForwardedRequest, HEADER},
    policy::{ACKNOWLEDGEMENT_TARGET, TARGET},
    time::UnixMillis,
};

use super::super::propagation;
use crate::{
    http::test_origin::{ISSUER, TestOrigin},
    test_database,
};

/// Says as this isolate that it decides by this version: by asking for the policy, or only that.
async fn say(test: &TestOrigin, method: &str, target: &str, isolate: &str, version: u64) -> u16 {
    let request = ForwardedRequest { method, target, body: b"" };
    let now = UnixMillis(test.origin.clock.unix_millis());
    let assertion = EdgeAssertion::new("edge-1", ISSUER, "r", "192.0.2.7", version, &request, now)
        .of_isolate(isolate)
        .sign(&test.edge)
        .unwrap();
    test.send_bare(method, target, &[(HEADER, &assertion)], "").await.status.as_u16()
}

async fn report(test: &TestOrigin, isolate: &str, version: u64) {
    assert_eq!(say(test, "GET", TARGET, isolate, version).await, 200);
}

#[tokio::test]
async fn each_isolate_is_known_by_what_it_said_last_until_it_is_silent() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        let known = async || {
            let propagation = propagation(&databases.database).await.unwrap();
            let isolates = propagation.isolates.iter();
            let known: Vec<_> =
                isolates.map(|one| (one.isolate.clone(), one.policy_version, one.age_seconds)).collect();
            (known, propagation.behind(300).count())
        };
        let metric = async |name: &str| {
            let scraped = String::from_utf8(test.send_bare("GET", "/metrics", &[], "").await.body).unwrap();
            let prefix = format!("gateward_origin_policy_propagation_{name} ");
            scraped.lines().find_map(|line| line.strip_prefix(&prefix)?.parse::<i64>().ok()).unwrap()
        };
        report(&test, "a", 0).await;
        report(&test, "b", 1).await;
        // An edge of the version before.
        report(&test, "", 1).await;
        assert_eq!(known().await, (vec![("a".into(), 0, 0), (String::new(), 1, 0), ("b".into(), 1, 0)], 1));
        databases.clock.advance(Duration::from_secs(7));
        assert_eq!(
            [
                metric("known").await,
                metric("isolates").await,
                metric("behind").await,
                metric("seconds").await
            ],
            [1, 3, 1, 7]
        );
        assert_eq!(metric("oldest_version").await, 0);
        assert_eq!(say(&test, "POST", ACKNOWLEDGEMENT_TARGET, "a", 1).await, 204);
        assert_eq!(
            [metric("behind").await, metric("seconds").await, metric("oldest_version").await],
            [0, 0, 1]
        );
        databases.clock.advance(Duration::from_secs(594));
        assert_eq!(known().await, (vec![("a".into(), 1, 594)], 0));
        report(&test, "c", 1).await;
        let mut admin = databases.admin().await;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM auth_gateway.edge_isolates")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        assert_eq!(rows, 2, "those silent for ten minutes are gone");
    })
    .await;
}

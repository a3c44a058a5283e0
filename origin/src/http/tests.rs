use std::time::Duration;

use axum::{Router, routing::get};
use shared::assertion::HEADER;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{MAX_BODY_BYTES, Refused, server, test_origin::TestOrigin};
use crate::test_database;

#[tokio::test]
async fn nothing_but_ping_and_metrics_is_reachable_without_an_assertion() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/internal/policy"),
            ("POST", "/oauth/token"),
            ("GET", "/nothing"),
            ("POST", "/ping"),
            ("HEAD", "/metrics"),
            ("GET", "/ping/"),
            ("GET", "//ping"),
        ] {
            let answer = test.send_bare(method, target, &[], "").await;
            assert_eq!(answer.status, 403, "{method} {target}");
            if method != "HEAD" {
                assert_eq!(answer.problem(), (403, "assertion-refused".to_owned()), "{method} {target}");
            }
        }
        for target in ["/ping", "/metrics"] {
            assert_eq!(test.send_bare("GET", target, &[], "").await.status, 200, "{target}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_assertion_holds_for_one_request_only() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        let own = test.assertion("POST", "/nothing?a=1", b"x=1");
        let send = async |method, target, assertion: &str, body| {
            test.send_bare(method, target, &[(HEADER, assertion)], body).await.status.as_u16()
        };
        assert_eq!(send("POST", "/nothing?a=1", &own, "x=1").await, 404);
        assert_eq!(send("PUT", "/nothing?a=1", &own, "x=1").await, 403);
        assert_eq!(send("POST", "/nothing?a=2", &own, "x=1").await, 403);
        assert_eq!(send("POST", "/nothing", &own, "x=1").await, 403);
        assert_eq!(send("POST", "/nothing?a=1", &own, "x=2").await, 403);
        assert_eq!(send("POST", "/nothing?a=1", "", "x=1").await, 403);
        for length in (0..own.len()).step_by(7) {
            assert_eq!(
                send("POST", "/nothing?a=1", own.get(..length).unwrap(), "x=1").await,
                403,
                "{length}"
            );
        }
        let twice = [(HEADER, own.as_str()), (HEADER, own.as_str())];
        assert_eq!(test.send_bare("POST", "/nothing?a=1", &twice, "x=1").await.status, 403);
        databases.clock.advance(Duration::from_secs(30));
        assert_eq!(send("POST", "/nothing?a=1", &own, "x=1").await, 403);
    })
    .await;
}

#[tokio::test]
async fn a_body_is_bounded() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        let fits = "a".repeat(MAX_BODY_BYTES);
        assert_eq!(test.post("/nothing", &[], &fits).await.status, 404);
        let answer = test.send("POST", "/nothing", &[], &(fits + "a")).await;
        assert_eq!(answer.problem(), (413, "body-too-large".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_problem_names_the_request_and_is_never_stored() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        let answer = test.get("/nothing").await;
        assert_eq!(answer.problem(), (404, "not-found".to_owned()));
        assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
        assert_eq!(answer.header("cache-control"), "no-store");
        let answer = test.send("DELETE", "/internal/policy", &[], "").await;
        assert_eq!(answer.problem(), (405, "method-not-allowed".to_owned()));
        assert_eq!(answer.header("allow"), "GET,HEAD");
    })
    .await;
}

#[tokio::test]
async fn requests_are_counted_by_endpoint_and_the_scrape_is_not() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        test.get("/internal/policy").await;
        test.get("/internal/policy").await;
        test.get("/nothing?code=secret").await;
        for _ in 0..2 {
            let scraped = test.send_bare("GET", "/metrics", &[], "").await;
            let lines = String::from_utf8(scraped.body).unwrap();
            let has = |line: &str| assert!(lines.lines().any(|other| other == line), "{line} in\n{lines}");
            has(r#"gateward_origin_requests_total{endpoint="policy"} 2"#);
            has(r#"gateward_origin_requests_total{endpoint="none"} 1"#);
            has("gateward_origin_policy_version 1");
            has(r#"gateward_origin_outbox_queued{destination="read-database"} 0"#);
            has("gateward_origin_outbox_known 1");
            assert!(!lines.contains("secret") && !lines.contains(r#"endpoint="metrics""#), "{lines}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_panic_is_a_problem_of_that_request_alone() {
    async fn fault() -> Refused {
        panic!("on purpose")
    }
    test_database::run(async |databases| {
        let mut test = TestOrigin::new(databases);
        test.router = super::assemble(Router::new().route("/fault", get(fault)), test.origin.clone());
        let answer = test.get("/fault").await;
        assert_eq!(answer.problem(), (500, "internal".to_owned()));
        assert!(!String::from_utf8_lossy(&answer.body).contains("on purpose"));
    })
    .await;
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_ends() {
    test_database::run(async |databases| {
        let test = TestOrigin::new(databases);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server::serve_on(listener, test.origin.clone(), async move {
            let _ = stopped.await;
        }));
        let assertion = test.assertion("POST", "/nothing", b"abcd");
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /nothing HTTP/1.1\r\nhost: origin\r\n{HEADER}: {assertion}\r\ncontent-length: 4\r\n\r\nab"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        // The server has the connection once it answers on another one, which it accepted later.
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"GET /ping HTTP/1.1\r\nhost: origin\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        other.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stop.send(()).unwrap();
        connection.write_all(b"cd").await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    })
    .await;
}

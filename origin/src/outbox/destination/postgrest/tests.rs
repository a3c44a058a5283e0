//! The request as PostgREST gets it. That it does what it should in SQL is shown in `e2e/`, against a real Postgres.

use std::{net::IpAddr, time::Duration};

use serde_json::{Value, json};

use super::{Postgrest, ServiceKey, Settings};
use crate::{
    clock::Clock,
    egress::{
        Client,
        test_server::{Behaviour, TestServer, answer, roots},
    },
    outbox::destination::{DeliveryFault, Destination, test_rows::rows},
};

const KEY: &str = "sb_secret_0123456789abcdef";

fn postgrest(url: &str, base_path: &str, schema: Option<&str>) -> Postgrest {
    let loopback: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let client = Client::of_test(roots(), move |_| vec![loopback], &["127.0.0.1", "issuer.test"]).unwrap();
    let settings = Settings {
        url: url.parse().unwrap(),
        key: ServiceKey::parse(KEY).unwrap(),
        base_path: base_path.to_owned(),
        table: "auth_events".to_owned(),
        schema: schema.map(str::to_owned),
    };
    Postgrest::new(client, settings, Clock::fixed(time::macros::datetime!(2026-11-21 10:00 UTC)))
}

fn created() -> Behaviour {
    Behaviour::answer(|_| answer("201 Created", "", ""))
}

#[tokio::test]
async fn a_batch_is_one_request_in_the_form_that_supabase_expects() {
    let server = TestServer::start_tls(created()).await;
    postgrest(&server.https("/"), "/rest/v1", None).deliver(&rows(&[1, 1, 2])).await.unwrap();
    let request = server.received().remove(0);
    let columns = "event_id,workspace_id,aggregate_type,aggregate_id,version,event_type,schema_version,payload,metadata,occurred_at";
    let line = format!("POST /rest/v1/auth_events?on_conflict=event_id&columns={columns} HTTP/1.1\r\n");
    assert!(request.head.starts_with(&line), "{}", request.head);
    for (name, value) in [
        ("apikey", KEY),
        ("authorization", &format!("Bearer {KEY}")),
        ("prefer", "resolution=ignore-duplicates,return=minimal"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(request.header(name), Some(value));
    }
    assert_eq!(request.header("content-profile"), None);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body.as_array().unwrap().len(), 3);
    assert_eq!(
        body[1],
        json!({
            "event_id": "00000000-0000-0000-0000-000000000002",
            "workspace_id": "00000000-0000-0000-0000-000000000077",
            "aggregate_type": "session", "aggregate_id": "00000000-0000-0000-0000-000000000001", "version": 2,
            "event_type": "SessionStarted", "schema_version": 1, "payload": {"text": "ä\u{2028}\"\\"},
            "metadata": {"actor": {"kind": "system"}}, "occurred_at": "2026-11-21T10:00:00.5Z",
        })
    );
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn another_schema_is_named_and_a_server_of_ones_own_has_no_prefix() {
    let server = TestServer::start(created()).await;
    postgrest(&server.http("/db/"), "", Some("audit")).check().await.unwrap();
    let request = server.received().remove(0);
    assert!(request.head.starts_with("POST /db/auth_events?on_conflict=event_id&"), "{}", request.head);
    assert_eq!(request.header("content-profile"), Some("audit"));
    assert_eq!(request.body, b"[]");
}

#[tokio::test]
async fn a_refusal_is_told_from_an_outage_and_neither_shows_the_key_or_a_rows_values() {
    let server = TestServer::start(created()).await;
    let postgrest = postgrest(&server.http("/"), "/rest/v1", None);
    let error = |status: &'static str, headers: &'static str, code: &'static str| {
        Behaviour::answer(move |_| {
            let body = json!({"code": code, "message": "no", "details": "Key (x)=(hunter2)", "hint": null});
            answer(status, headers, &body.to_string())
        })
    };
    server.behave(error("409 Conflict", "", "23505"));
    let refused = postgrest.deliver(&rows(&[1, 2])).await.unwrap_err();
    assert!(refused.delivered.is_empty());
    assert!(matches!(&refused.fault, DeliveryFault::Refused(why) if why == "it answered 409 23505 (no)"));

    server.behave(error("503 Unavailable", "Retry-After: 30\r\n", "PGRST001"));
    let outage = postgrest.deliver(&rows(&[1])).await.unwrap_err().fault;
    assert!(
        matches!(&outage, DeliveryFault::Outage { retry_after: Some(after), .. } if *after == Duration::from_secs(30))
    );
    server.behave(Behaviour::answer(|received| {
        let body = json!({"code": "X", "message": format!("bad key {}", received.header("apikey").unwrap())});
        answer("401 Unauthorized", "", &body.to_string())
    }));
    let misconfigured = postgrest.deliver(&rows(&[1])).await.unwrap_err().fault;
    let elsewhere = TestServer::start(created()).await;
    let location = format!("Location: {}\r\n", elsewhere.http("/"));
    server.behave(Behaviour::answer(move |_| answer("308 Permanent", &location, "")));
    let moved = postgrest.deliver(&rows(&[1])).await.unwrap_err().fault;
    assert_eq!(elsewhere.asked(), 0, "the service key went to another host");
    for fault in [refused.fault, outage, misconfigured, moved] {
        let said = format!("{fault} {fault:?}");
        assert!(!said.contains("hunter2") && !said.contains(KEY), "{said}");
    }
    assert!(!format!("{postgrest:?}").contains(KEY));
}

#[test]
fn a_key_that_could_break_a_header_is_none() {
    for text in ["", "short", "0123456789abcdef\r\nX: y", "0123456789 abcdef", "0123456789äbcdef0"] {
        assert!(ServiceKey::parse(text).is_err(), "{text}");
    }
    assert!(
        ServiceKey::parse(&format!("eyJ{}.eyJ{}.{}", "a".repeat(40), "b".repeat(90), "c".repeat(43))).is_ok()
    );
}

//! Webhooks over real sockets: what is sent, what answers mean, and where nothing is ever sent.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signature, SigningKey};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::macros::datetime;
use uuid::Uuid;

use super::{Secret, Settings, Webhook};
use crate::{
    clock::Clock,
    egress::{
        Client,
        test_server::{Behaviour, Received, TestServer, answer, roots},
    },
    outbox::destination::{DeliveryFault, Destination, Undelivered, test_rows::rows},
};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SYMMETRIC: [u8; 24] = [5; 24];
const SEED: [u8; 32] = [7; 32];

fn secrets() -> Vec<Secret> {
    [("whsk_", Base64::encode_string(&SEED)), ("whsec_", Base64::encode_string(&SYMMETRIC))]
        .map(|(prefix, encoded)| Secret::parse(&format!("{prefix}{encoded}")).unwrap())
        .into()
}

fn clock() -> Clock {
    Clock::fixed(datetime!(2026-11-21 10:00 UTC))
}

fn webhook_by(client: Client, url: &str, clock: &Clock) -> Webhook {
    let settings = Settings {
        url: url.parse().unwrap(),
        secrets: secrets(),
        timeout: Duration::from_secs(2),
        concurrency: 4,
    };
    Webhook::new(client, settings, clock.clone())
}

/// A webhook at a server of the test's.
fn webhook(url: &str, clock: &Clock) -> Webhook {
    webhook_by(
        Client::of_test(roots(), |_| vec![LOOPBACK], &["127.0.0.1", "issuer.test"]).unwrap(),
        url,
        clock,
    )
}

/// The number of a status line.
fn number(status: &str) -> &str {
    status.split(' ').next().unwrap()
}

fn ok() -> Behaviour {
    Behaviour::answer(|_| answer("204 No Content", "", ""))
}

/// Refuses the events of these ids with a status.
fn refuses(status: &'static str, headers: &'static str, ids: &[u128]) -> Behaviour {
    let ids: Vec<String> = ids.iter().map(|id| Uuid::from_u128(*id).to_string()).collect();
    Behaviour::answer(move |received| {
        let id = received.header("webhook-id").unwrap().to_owned();
        if ids.contains(&id) { answer(status, headers, "no") } else { answer("200 OK", "", "") }
    })
}

fn verify(received: &Received) {
    let part = |name: &str| received.header(name).unwrap();
    let mut content = format!("{}.{}.", part("webhook-id"), part("webhook-timestamp")).into_bytes();
    content.extend(&received.body);
    let (first, second) = part("webhook-signature").split_once(' ').unwrap();
    let decode = |text: &str, scheme: &str| Base64::decode_vec(text.strip_prefix(scheme).unwrap()).unwrap();
    let signature = Signature::from_slice(&decode(first, "v1a,")).unwrap();
    SigningKey::from_bytes(&SEED).verifying_key().verify_strict(&content, &signature).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&SYMMETRIC).unwrap();
    mac.update(&content);
    mac.verify_slice(&decode(second, "v1,")).unwrap();
}

#[tokio::test]
async fn an_event_is_signed_with_every_secret_keeps_its_id_and_gets_a_new_timestamp() {
    let server = TestServer::start_tls(ok()).await;
    let clock = clock();
    let webhook = webhook(&server.https("/hooks/in?x=1"), &clock);
    webhook.deliver(&rows(&[1])).await.unwrap();
    clock.advance(Duration::from_secs(90));
    webhook.deliver(&rows(&[1])).await.unwrap();

    let received = server.received();
    assert_eq!(received.len(), 2);
    received.iter().for_each(verify);
    for (request, timestamp) in received.iter().zip([1_795_255_200, 1_795_255_290]) {
        assert!(request.head.starts_with("POST /hooks/in?x=1 HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.header("webhook-id"), Some("00000000-0000-0000-0000-000000000001"));
        assert_eq!(request.header("webhook-timestamp"), Some(timestamp.to_string().as_str()));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            event,
            json!({
                "type": "session.SessionStarted", "timestamp": "2026-11-21T10:00:00.5Z",
                "event_id": "00000000-0000-0000-0000-000000000001",
                "workspace_id": "00000000-0000-0000-0000-000000000077",
                "aggregate_type": "session", "aggregate_id": "00000000-0000-0000-0000-000000000001", "version": 1,
                "event_type": "SessionStarted", "schema_version": 1,
                "metadata": {"actor": {"kind": "system"}}, "data": {"text": "ä\u{2028}\"\\"},
            })
        );
    }
    assert_eq!(received[0].body, received[1].body);
}

#[tokio::test]
async fn an_aggregate_stays_in_order_while_others_go_beside_it() {
    let server = TestServer::start(ok()).await;
    let batch = rows(&[1, 2, 3, 1, 2, 3, 1, 4, 4, 1]);
    webhook(&server.http("/"), &clock()).deliver(&batch).await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 10);
    let mut seen = [0_i64; 5];
    for request in &received {
        verify(request);
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        let aggregate: Uuid = event["aggregate_id"].as_str().unwrap().parse().unwrap();
        let last = &mut seen[usize::try_from(aggregate.as_u128()).unwrap()];
        *last += 1;
        assert_eq!(event["version"], *last);
    }
    let connections = received.iter().map(|one| one.connection).max().unwrap();
    assert!((2..=4).contains(&connections), "{connections} connections for four at once");
}

#[tokio::test]
async fn a_refused_event_holds_up_its_aggregate_and_nothing_else() {
    for status in ["400 Bad Request", "409 Conflict", "413 Too Large", "422 Unprocessable"] {
        let server = TestServer::start(refuses(status, "", &[3])).await;
        let batch = rows(&[1, 2, 1, 2, 1]);
        let Undelivered { mut delivered, fault } =
            webhook(&server.http("/"), &clock()).deliver(&batch).await.unwrap_err();
        delivered.sort_unstable();
        assert_eq!(delivered, [0, 1, 3], "{status}");
        assert!(matches!(&fault, DeliveryFault::Refused(why) if why.contains(number(status))), "{fault}");
        assert_eq!(server.asked(), 4);
    }
}

#[tokio::test]
async fn an_outage_is_not_the_events_fault_and_retry_after_is_honoured() {
    for (status, headers, seconds) in [
        ("429 Too Many", "Retry-After: 17\r\n", Some(17)),
        ("503 Unavailable", "Retry-After: Sat, 21 Nov 2026 10:02:00 GMT\r\n", Some(120)),
        ("503 Unavailable", "Retry-After: 864000\r\n", Some(3_600)),
        ("500 Oh", "", None),
        ("502 Bad Gateway", "", None),
        ("504 Timeout", "", None),
        ("408 Timeout", "", None),
        ("401 Unauthorized", "", None),
        ("404 Not Found", "", None),
        ("418 Teapot", "", None),
    ] {
        let server = TestServer::start(refuses(status, headers, &[2])).await;
        let batch = rows(&[1, 1, 1]);
        let Undelivered { delivered, fault } =
            webhook(&server.http("/"), &clock()).deliver(&batch).await.unwrap_err();
        assert_eq!((delivered, server.asked()), (vec![0], 2), "{status}");
        let DeliveryFault::Outage { reason, retry_after } = fault else { panic!("{status}: {fault}") };
        assert!(reason.contains(number(status)), "{reason}");
        assert_eq!(retry_after, seconds.map(Duration::from_secs), "{status}");
    }
}

#[tokio::test]
async fn gone_is_gone_also_where_another_event_is_refused() {
    let server = TestServer::start(refuses("410 Gone", "", &[1])).await;
    let refused = webhook(&server.http("/"), &clock()).deliver(&rows(&[1, 1])).await.unwrap_err();
    assert!(matches!(refused.fault, DeliveryFault::Gone(_)) && refused.delivered.is_empty());
    let server = TestServer::start(Behaviour::answer(|received| {
        let is_first = received.header("webhook-id").unwrap().ends_with('1');
        answer(if is_first { "400 Bad" } else { "410 Gone" }, "", "")
    }))
    .await;
    let refused = webhook(&server.http("/"), &clock()).deliver(&rows(&[1, 2])).await.unwrap_err();
    assert!(matches!(refused.fault, DeliveryFault::Gone(_)), "{}", refused.fault);
}

#[tokio::test]
async fn attack_21_no_webhook_goes_where_it_may_not_whatever_the_name_says() {
    let server = TestServer::start(ok()).await;
    let port = server.port;
    let resolve = |name: &str| match name {
        "mixed.test" => vec!["8.8.8.8".parse().unwrap(), LOOPBACK],
        "metadata.test" => vec!["169.254.169.254".parse().unwrap()],
        "mapped.test" => vec!["::ffff:10.0.0.1".parse().unwrap()],
        _ => vec![LOOPBACK],
    };
    let client = Client::of_test(roots(), resolve, &["allowed.test"]).unwrap();
    for url in [
        format!("https://private.test:{port}/"),
        format!("https://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:7f00:1]:{port}/"),
        format!("https://mixed.test:{port}/"),
        "https://metadata.test/latest/meta-data/".to_owned(),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://mapped.test/".to_owned(),
        format!("https://allowed.test.:{port}/"),
    ] {
        let refused = webhook_by(client.clone(), &url, &clock()).deliver(&rows(&[1])).await.unwrap_err();
        let DeliveryFault::Outage { reason, .. } = &refused.fault else { panic!("{url}: {}", refused.fault) };
        assert!(
            reason.contains("private") && reason.contains("PRIVATE_DESTINATION_HOSTS"),
            "{url}: {reason}"
        );
    }
    assert_eq!(server.asked(), 0);
    let allowed = webhook_by(client, &format!("http://allowed.test:{port}/"), &clock());
    allowed.deliver(&rows(&[1])).await.unwrap();
}

#[tokio::test]
async fn attack_21_a_name_that_changes_its_mind_between_check_and_connect_changes_nothing() {
    let server =
        TestServer::start(Behaviour::answer(|_| answer("200 OK", "Connection: close\r\n", ""))).await;
    let looked_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked_up);
    let resolve = move |_: &str| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![LOOPBACK],
        _ => vec!["127.0.0.2".parse().unwrap()],
    };
    let client = Client::of_test(roots(), resolve, &["rebinding.test"]).unwrap();
    let url = format!("http://rebinding.test:{}/", server.port);
    // Five requests on five connections, and one look-up.
    webhook_by(client, &url, &clock()).deliver(&rows(&[1, 2, 1, 2, 3])).await.unwrap();
    assert_eq!((looked_up.load(Ordering::SeqCst), server.asked()), (1, 5));
}

#[tokio::test]
async fn attack_21_no_redirect_is_followed_and_nothing_signed_goes_elsewhere() {
    let elsewhere = TestServer::start(ok()).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        for target in [elsewhere.http("/"), "http://169.254.169.254/latest/meta-data/".to_owned()] {
            let location = format!("Location: {target}\r\n");
            let server = TestServer::start(Behaviour::answer(move |_| answer(status, &location, ""))).await;
            let refused = webhook(&server.http("/"), &clock()).deliver(&rows(&[1])).await.unwrap_err();
            let DeliveryFault::Outage { reason, .. } = &refused.fault else { panic!("{}", refused.fault) };
            assert!(reason.contains("redirects are not followed"), "{reason}");
            assert_eq!(server.asked(), 1);
        }
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn an_answer_without_end_and_a_receiver_that_says_nothing_are_bounded() {
    let server = TestServer::start(Behaviour::Flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")).await;
    webhook(&server.http("/"), &clock()).deliver(&rows(&[1])).await.unwrap();
    server.behave(Behaviour::Silent);
    let slow = webhook(&server.http("/"), &clock());
    let refused = slow.deliver(&rows(&[1, 1, 2])).await.unwrap_err();
    let DeliveryFault::Outage { reason, .. } = &refused.fault else { panic!("{}", refused.fault) };
    assert!(reason.contains("no answer within 2000 ms"), "{reason}");
    // One of each aggregate at most, and no second one.
    assert!(server.asked() <= 3);
}

#[tokio::test]
async fn a_slow_receiver_is_asked_for_less_at_a_time_and_a_fast_one_for_more() {
    let server = TestServer::start(ok()).await;
    let webhook = webhook(&server.http("/"), &clock());
    assert_eq!(webhook.most_rows(), 32);
    webhook.deliver(&rows(&[1; 32])).await.unwrap();
    assert_eq!(webhook.most_rows(), 64);
    // 300 ms each: within the second in which requests are begun there is time for a few.
    server.behave(Behaviour::answer(|_| {
        std::thread::sleep(Duration::from_millis(300));
        answer("200 OK", "", "")
    }));
    let Undelivered { delivered, fault } = webhook.deliver(&rows(&[1; 64])).await.unwrap_err();
    assert!((1..=5).contains(&delivered.len()), "{delivered:?}");
    assert_eq!(delivered, (0..delivered.len()).collect::<Vec<_>>());
    assert!(fault.to_string().contains("slow"), "{fault}");
    assert!((1..=2).contains(&webhook.most_rows()), "{}", webhook.most_rows());
}

#[tokio::test]
async fn the_test_message_is_signed_like_any_other_and_no_secret_is_ever_shown() {
    let server = TestServer::start(ok()).await;
    let webhook = webhook(&server.http("/secret-path"), &clock());
    webhook.check("0192").await.unwrap();
    let received = server.received().remove(0);
    verify(&received);
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(body, json!({"type": "test", "timestamp": "2026-11-21T10:00:00Z", "data": {}}));

    server.behave(Behaviour::Say(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()));
    let fault = webhook.check("0192").await.unwrap_err().to_string();
    assert!(!fault.contains("secret-path"), "{fault}");
    let shown = format!("{webhook:?}");
    assert!(shown.contains("Secret::Symmetric(…)") && !shown.contains(&format!("{SYMMETRIC:?}")), "{shown}");
}

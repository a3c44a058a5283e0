//! The guard and the connections, over real sockets.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{HeaderMap, Method, body::Bytes};
use url::Url;

use super::{
    Bounds, Call, Client, EgressFault,
    test_server::{Behaviour, TestServer, answer, roots},
};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const BOUNDS: Bounds = Bounds { look_up: Duration::from_secs(5), time: Duration::from_secs(5), body: 1_000 };

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn post(target: &str) -> Call {
    Call {
        method: Method::POST,
        target: target.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"body"),
    }
}

#[tokio::test]
async fn attack_21_a_session_goes_to_the_addresses_that_were_judged_and_to_no_others() {
    let server =
        TestServer::start(Behaviour::answer(|_| answer("200 OK", "Connection: close\r\n", ""))).await;
    let looked_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked_up);
    // One address when it is judged, another one, where nobody listens, ever after.
    let resolve = move |_: &str| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![LOOPBACK],
        _ => vec!["127.0.0.2".parse().unwrap()],
    };
    let client = Client::of_test(roots(), resolve, &["rebinding.test"]).unwrap();
    let at = url(&format!("http://rebinding.test:{}/", server.port));
    let session = client.open(&at, BOUNDS).await.unwrap();
    for _ in 0..3 {
        // Each on a connection of its own: the name is not looked up again.
        assert!(session.call(&post("/")).await.is_ok());
    }
    assert_eq!((looked_up.load(Ordering::SeqCst), server.asked()), (1, 3));
    let changed = client.open(&at, BOUNDS).await.unwrap();
    assert!(matches!(changed.call(&post("/")).await, Err(EgressFault::Connection(_))));
    assert_eq!(server.asked(), 3);
}

#[tokio::test]
async fn attack_21_a_name_that_turns_private_is_refused_at_the_next_session() {
    let count = AtomicUsize::new(0);
    let resolve = move |_: &str| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec!["8.8.8.8".parse().unwrap()],
        _ => vec!["::ffff:169.254.169.254".parse().unwrap()],
    };
    let client = Client::of_test(roots(), resolve, &[]).unwrap();
    let at = url("https://receiver.test/");
    assert!(client.open(&at, BOUNDS).await.is_ok());
    assert_eq!(client.open(&at, BOUNDS).await.err(), Some(EgressFault::PrivateAddress));
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let elsewhere = TestServer::start(Behaviour::answer(|_| answer("200 OK", "", ""))).await;
    let location = format!("Location: {}\r\n", elsewhere.http("/"));
    let server = TestServer::start(Behaviour::answer(move |_| answer("307 Temporary", &location, ""))).await;
    let client = Client::of_test(roots(), |_| vec![LOOPBACK], &["127.0.0.1"]).unwrap();
    let session = client.open(&url(&server.http("/")), BOUNDS).await.unwrap();
    let answered = session.call(&post("/")).await.unwrap();
    assert_eq!((answered.status.as_u16(), elsewhere.asked()), (307, 0));
}

#[tokio::test]
async fn connections_are_kept_and_one_that_was_lost_is_replaced() {
    let server = TestServer::start_tls(Behaviour::answer(|_| answer("200 OK", "", "ok"))).await;
    let client = Client::of_test(roots(), |_| vec![LOOPBACK], &["issuer.test"]).unwrap();
    let session = client.open(&url(&server.https("/")), BOUNDS).await.unwrap();
    for target in ["/a", "/b?c=d"] {
        let answered = session.call(&post(target)).await.unwrap();
        assert_eq!((answered.body.as_slice(), answered.is_whole), (&b"ok"[..], true));
    }
    // It says so and closes: the next call gets a connection of its own, and so does one whose kept connection is closed silently.
    server.behave(Behaviour::status("500 Oh", "", "no"));
    assert_eq!(session.call(&post("/c")).await.unwrap().status.as_u16(), 500);
    server.behave(Behaviour::answer(|_| answer("200 OK", "", "again")));
    assert_eq!(session.call(&post("/d")).await.unwrap().body, b"again");
    let received = server.received();
    let connections: Vec<usize> = received.iter().map(|one| one.connection).collect();
    assert_eq!(connections, [1, 1, 1, 2]);
    assert!(received.iter().all(|one| one.body == b"body" && one.head.starts_with("POST /")));
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let server = TestServer::start(Behaviour::Flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")).await;
    let client = Client::of_test(roots(), |_| vec![LOOPBACK], &["127.0.0.1"]).unwrap();
    let bounds = Bounds { time: Duration::from_millis(200), ..BOUNDS };
    let session = client.open(&url(&server.http("/")), bounds).await.unwrap();
    let answered = session.call(&post("/")).await.unwrap();
    assert_eq!((answered.body.len(), answered.is_whole), (1_000, false));
    server.behave(Behaviour::Silent);
    let slow = session.call(&post("/")).await.unwrap_err();
    assert_eq!(slow, EgressFault::TooSlow(Duration::from_millis(200)));
    // A head without end.
    server.behave(Behaviour::Flood("HTTP/1.1 200 OK\r\nX: "));
    assert!(matches!(session.call(&post("/")).await, Err(EgressFault::Connection(_))));
}

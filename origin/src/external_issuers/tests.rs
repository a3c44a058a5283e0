//! Fetching over real sockets, and keeping what was fetched in a real Postgres.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::RootCertStore;
use serde_json::{Value, json};

use super::{FetchFault, Fetcher, Outcome, list, refresh_due, request_all, statistics};
use crate::{
    egress::test_server::{Behaviour, TestServer, roots},
    projects,
    test_database::{self, TestDatabase, execute},
};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A fetcher for which every name is loopback, and which may go there.
fn fetcher() -> Fetcher {
    Fetcher::of_test(roots(), |_| vec![LOOPBACK], &["127.0.0.1", "issuer.test"]).unwrap()
}

fn key(kid: &str) -> Value {
    json!({
        "kty": "EC", "kid": kid, "use": "sig", "alg": "ES256", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn keys(kids: &[&str]) -> Behaviour {
    Behaviour::json(&json!({ "keys": kids.iter().map(|kid| key(kid)).collect::<Vec<_>>() }))
}

#[tokio::test]
async fn a_document_comes_over_http_and_https() {
    let (plain, tls) = (TestServer::start(keys(&["a"])).await, TestServer::start_tls(keys(&["a"])).await);
    for uri in [plain.http("/jwks?x=1"), tls.https("/.well-known/jwks.json")] {
        let document = fetcher().fetch(&uri).await.unwrap_or_else(|fault| panic!("{uri}: {fault}"));
        assert_eq!(serde_json::from_slice::<Value>(&document).unwrap()["keys"][0]["kid"], "a");
    }
    let head = plain.heads().remove(0).to_lowercase();
    assert!(head.starts_with("get /jwks?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", plain.port)), "{head}");
    assert!(!head.contains("cookie") && !head.contains("authorization"), "{head}");
    assert!(tls.heads()[0].to_lowercase().contains(&format!("\r\nhost: issuer.test:{}\r\n", tls.port)));
}

#[tokio::test]
async fn only_a_certificate_of_the_host_by_a_known_authority_will_do() {
    let issuer = TestServer::start_tls(keys(&["a"])).await;
    let hosts = &["issuer.test", "other.test", "127.0.0.1"];
    let stranger = Fetcher::of_test(RootCertStore::empty(), |_| vec![LOOPBACK], hosts).unwrap();
    let fault = stranger.fetch(&issuer.https("/")).await.unwrap_err();
    assert!(matches!(fault, FetchFault::Tls(_)), "{fault}");
    let known = Fetcher::of_test(roots(), |_| vec![LOOPBACK], hosts).unwrap();
    for host in ["other.test", "127.0.0.1"] {
        let fault = known.fetch(&format!("https://{host}:{}/", issuer.port)).await.unwrap_err();
        assert!(matches!(fault, FetchFault::Tls(_)), "{host}: {fault}");
    }
    assert_eq!(issuer.asked(), 0);
}

#[tokio::test]
async fn attack_21_no_fetch_goes_where_tenants_may_not() {
    let issuer = TestServer::start(keys(&["a"])).await;
    let port = issuer.port;
    let resolve = |name: &str| match name {
        "mixed.test" => vec!["8.8.8.8".parse().unwrap(), LOOPBACK],
        "metadata.test" => vec!["169.254.169.254".parse().unwrap()],
        "mapped.test" => vec!["::ffff:10.0.0.1".parse().unwrap()],
        "nothing.test" => vec![],
        _ => vec![LOOPBACK],
    };
    // One host of the operator's, and one that is allowed on another port only.
    let other_port = format!("10.0.0.9:{}", port.wrapping_add(1));
    let fetcher = Fetcher::of_test(roots(), resolve, &["idp.internal", &other_port]).unwrap();
    for uri in [
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("https://[::ffff:7f00:1]:{port}/"),
        format!("https://10.0.0.9:{port}/"),
        format!("https://0.0.0.0:{port}/"),
        format!("https://mixed.test:{port}/"),
        "https://metadata.test/latest/meta-data/".to_owned(),
        "https://mapped.test/".to_owned(),
        "https://[64:ff9b::a00:1]/".to_owned(),
        format!("https://idp.internal.:{port}/"),
    ] {
        let fault = fetcher.fetch(&uri).await.unwrap_err();
        assert!(matches!(fault, FetchFault::PrivateAddress), "{uri}: {fault}");
    }
    let fault = fetcher.fetch("https://nothing.test/").await.unwrap_err();
    assert!(matches!(fault, FetchFault::NoAddress), "{fault}");
    for uri in [
        "http://metadata.test/",
        "http://8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "https://user:password@8.8.8.8/",
        "gopher://127.0.0.1/",
        "data:application/json,{}",
        "",
    ] {
        let fault = fetcher.fetch(uri).await.unwrap_err();
        assert!(matches!(fault, FetchFault::Url(_)), "{uri}: {fault}");
    }
    assert_eq!(issuer.asked(), 0);
    // The operator's own word opens exactly what it names.
    assert!(fetcher.fetch(&format!("http://idp.internal:{port}/")).await.is_ok());
}

#[tokio::test]
async fn attack_21_a_name_that_changes_its_mind_changes_nothing() {
    let issuer = TestServer::start(keys(&["a"])).await;
    let looked_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked_up);
    // One address when it is judged, another one, where nobody listens, ever after.
    let resolve = move |_: &str| match count.fetch_add(1, Ordering::SeqCst) {
        0 => vec![LOOPBACK],
        _ => vec!["127.0.0.2".parse().unwrap()],
    };
    let fetcher = Fetcher::of_test(roots(), resolve, &["rebinding.test"]).unwrap();
    let uri = format!("http://rebinding.test:{}/", issuer.port);
    assert!(fetcher.fetch(&uri).await.is_ok(), "the connection goes to the address that was judged");
    assert_eq!((looked_up.load(Ordering::SeqCst), issuer.asked()), (1, 1));
    assert!(matches!(fetcher.fetch(&uri).await, Err(FetchFault::Connection(_))));
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn attack_21_a_redirect_is_not_followed() {
    let target = TestServer::start(keys(&["a"])).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
        "204 No Content",
        "500 Oh",
    ] {
        let location = format!("Location: {}\r\n", target.http("/"));
        let issuer = TestServer::start(Behaviour::status(status, &location, "")).await;
        let fault = fetcher().fetch(&issuer.http("/")).await.unwrap_err();
        let expected: u16 = status.split(' ').next().unwrap().parse().unwrap();
        assert!(matches!(fault, FetchFault::Status(status) if status == expected), "{fault}");
    }
    assert_eq!(target.asked(), 0);
}

#[tokio::test]
async fn size_and_time_are_bounded() {
    let fits = format!("{{\"keys\":[]{}}}", " ".repeat(64 * 1024 - 11));
    assert_eq!(fits.len(), 64 * 1024);
    let issuer = TestServer::start(Behaviour::status("200 OK", "", &fits)).await;
    assert_eq!(fetcher().fetch(&issuer.http("/")).await.unwrap().len(), 64 * 1024);
    issuer.behave(Behaviour::status("200 OK", "", &format!("{fits} ")));
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::TooLarge)));
    // Without a length that could be looked at first.
    issuer.behave(Behaviour::Flood("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::TooLarge)));
    // A head without end.
    issuer.behave(Behaviour::Flood("HTTP/1.1 200 OK\r\nX: "));
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::Connection(_))));
    issuer.behave(Behaviour::status("200 OK", "Content-Encoding: gzip\r\n", "x"));
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::ContentCoding)));
    issuer.behave(Behaviour::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()));
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::Connection(_))));
    issuer.behave(Behaviour::Say(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()));
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::Connection(_))));
    issuer.behave(Behaviour::Silent);
    assert!(matches!(fetcher().fetch(&issuer.http("/")).await, Err(FetchFault::TooSlow)));
}

/// A project that trusts an issuer.
async fn trust(t: &TestDatabase, uri: &str) {
    let text = "[workspace]\nslug = \"demo\"\nname = \"Demo\"\n[[project]]\nslug = \"notes\"\n[[project.service]]\nslug = \"api\"\n\
                upstreams = [\"http://127.0.0.1:9100\"]\n";
    projects::apply(&t.database, &projects::Declaration::parse(text).unwrap()).await.unwrap();
    let statement = format!(
        "INSERT INTO auth_gateway.external_issuers (id, workspace_id, project_id, issuer, jwks_uri, audiences, created_at, updated_at)
         SELECT '00000000-0000-0000-0000-0000000000e1', workspace_id, id, 'https://idp.test', '{uri}', '{{api}}', now(), now()
         FROM auth_gateway.projects"
    );
    execute(&mut t.admin().await, statement).await;
}

async fn refreshed(t: &TestDatabase) -> Vec<Outcome> {
    refresh_due(&t.database, &fetcher()).await.unwrap().into_iter().map(|one| one.outcome).collect()
}

async fn believed(t: &TestDatabase) -> Vec<String> {
    list(&t.database, Some("notes")).await.unwrap().remove(0).keys
}

fn kids(kids: &[&str]) -> Vec<String> {
    kids.iter().map(|kid| (*kid).to_owned()).collect()
}

#[tokio::test]
async fn keys_are_fetched_every_five_minutes_and_kept_while_the_issuer_fails() {
    test_database::run(async |t| {
        let issuer = TestServer::start(keys(&["a", "b"])).await;
        trust(t, &issuer.http("/jwks")).await;
        assert_eq!(refreshed(t).await, [Outcome::Changed { keys: kids(&["a", "b"]) }]);
        assert_eq!(believed(t).await, ["a", "b"]);
        assert_eq!(refreshed(t).await, []);

        t.clock.advance(Duration::from_secs(299));
        assert_eq!(refreshed(t).await, []);
        t.clock.advance(Duration::from_secs(1));
        assert_eq!(refreshed(t).await, [Outcome::Same { keys: kids(&["a", "b"]) }]);

        // It fails, in every way; what is there stays, and it is asked again at growing distances.
        t.clock.advance(Duration::from_mins(5));
        let mut pauses = [10_u64, 20, 40, 80, 160, 300, 300].into_iter();
        for behaviour in [
            Behaviour::status("503 Service Unavailable", "", ""),
            Behaviour::status("200 OK", "", "<html>"),
            Behaviour::status("200 OK", "", "{\"keys\": [], \"keys\": []}"),
            Behaviour::status("302 Found", "Location: /other\r\n", ""),
            Behaviour::Say(Vec::new()),
            Behaviour::status("404 Not Found", "", ""),
            Behaviour::status("500 Oh", "", ""),
        ] {
            issuer.behave(behaviour);
            let outcomes = refreshed(t).await;
            assert!(matches!(&outcomes[..], [Outcome::Failed { .. }]), "{outcomes:?}");
            assert_eq!(believed(t).await, ["a", "b"]);
            t.clock.advance(Duration::from_secs(pauses.next().unwrap() - 1));
            assert_eq!(refreshed(t).await, []);
            t.clock.advance(Duration::from_secs(1));
        }
        let listed = list(&t.database, None).await.unwrap().remove(0);
        assert_eq!(listed.failures, 7);
        let counted = statistics(&t.database).await.unwrap();
        assert_eq!((counted.trusted, counted.failing, counted.oldest_seconds), (1, 1, 300 + 910));
        assert!(listed.failure.unwrap().contains("500"));

        // It is back with other keys; the old ones are gone at once.
        issuer.behave(keys(&["b", "c"]));
        assert_eq!(refreshed(t).await, [Outcome::Changed { keys: kids(&["b", "c"]) }]);
        let listed = list(&t.database, None).await.unwrap().remove(0);
        assert_eq!((listed.keys, listed.failures, listed.failure), (kids(&["b", "c"]), 0, None));

        // A set that says that there are none is believed.
        issuer.behave(keys(&[]));
        request_all(&t.database, Some("notes")).await.unwrap();
        assert_eq!(refreshed(t).await, [Outcome::Changed { keys: kids(&[]) }]);
        assert_eq!(believed(t).await, [""; 0]);

        let events: Vec<Value> = sqlx::query_scalar(
            "SELECT payload -> 'keys' FROM auth_gateway.events WHERE event_type = 'ExternalIssuerKeysChanged' ORDER BY version",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(events, [json!(["a", "b"]), json!(["b", "c"]), json!([])]);
    })
    .await;
}

#[tokio::test]
async fn another_address_is_asked_at_once_and_what_the_old_one_says_is_dropped() {
    test_database::run(async |t| {
        let (old, new) = (TestServer::start(keys(&["old"])).await, TestServer::start(keys(&["new"])).await);
        trust(t, &old.http("/")).await;
        assert_eq!(refreshed(t).await, [Outcome::Changed { keys: kids(&["old"]) }]);
        let set = format!("UPDATE auth_gateway.external_issuers SET jwks_uri = '{}'", new.http("/"));
        execute(&mut t.admin().await, set).await;
        assert_eq!(refreshed(t).await, [Outcome::Changed { keys: kids(&["new"]) }]);
        assert_eq!(refreshed(t).await, []);
        assert_eq!(old.asked(), 1);

        // The address changes while the old one is being asked.
        let database = t.database.clone();
        new.behave(Behaviour::Silent);
        request_all(&t.database, None).await.unwrap();
        let asking = tokio::spawn(async move { refresh_due(&database, &fetcher()).await.unwrap() });
        while new.asked() < 2 {
            tokio::task::yield_now().await;
        }
        let set = format!("UPDATE auth_gateway.external_issuers SET jwks_uri = '{}'", old.http("/"));
        execute(&mut t.admin().await, set).await;
        let outcomes: Vec<Outcome> = asking.await.unwrap().into_iter().map(|one| one.outcome).collect();
        assert!(matches!(outcomes[0], Outcome::Failed { .. }), "{outcomes:?}");
        assert_eq!(outcomes[1..], [Outcome::Changed { keys: kids(&["old"]) }]);
        let listed = list(&t.database, None).await.unwrap().remove(0);
        assert_eq!((listed.failures, listed.failure), (0, None));
    })
    .await;
}

#[tokio::test]
async fn of_two_origins_one_asks() {
    test_database::run(async |t| {
        let issuer = TestServer::start(keys(&["a"])).await;
        trust(t, &issuer.http("/")).await;
        let (one, other) = (fetcher(), fetcher());
        let (one, other) = tokio::join!(refresh_due(&t.database, &one), refresh_due(&t.database, &other));
        assert_eq!(one.unwrap().len() + other.unwrap().len(), 1);
        assert_eq!(issuer.asked(), 1);
        // A disabled project's issuer is nobody's business.
        execute(&mut t.admin().await, "UPDATE auth_gateway.projects SET enabled = false".to_owned()).await;
        t.clock.advance(Duration::from_hours(1));
        assert_eq!(refreshed(t).await, []);
    })
    .await;
}

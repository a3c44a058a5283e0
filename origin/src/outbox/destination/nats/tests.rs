//! Against a real `nats-server`, which each test starts for itself on a port of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha512_256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Credentials, Nats, Server, Settings,
    connection::Connection,
    credentials::tests::{base32, seed_text, with_checksum},
};
use crate::{
    clock::{Clock, Randomness},
    egress::test_server::roots,
    outbox::destination::{DeliveryFault, Destination, Undelivered, test_rows::rows},
};

const VARIABLE: &str = "NATS_SERVER";

/// A server with JetStream that ends with its handle.
struct NatsServer {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl NatsServer {
    async fn start(configuration: &str) -> Self {
        let folder = std::env::temp_dir()
            .join(format!("gateward-nats-{}", Uuid::from_bytes(Randomness::System.bytes())));
        std::fs::create_dir_all(&folder).unwrap();
        Self::start_in(folder, configuration, -1).await
    }

    async fn start_in(folder: PathBuf, configuration: &str, port: i32) -> Self {
        let file = folder.join("server.conf");
        let all = format!(
            "listen: \"127.0.0.1:{port}\"\nports_file_dir: {folder:?}\njetstream {{ store_dir: {folder:?} }}\n{configuration}\n"
        );
        std::fs::write(&file, all).unwrap();
        let program = std::env::var(VARIABLE).unwrap_or_else(|_| "nats-server".to_owned());
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{program} does not start ({error}): this test needs a nats-server (2.9 or later); install Debian's package \
                     nats-server, or name one in {VARIABLE}. `cargo xtask test` installs it."
                )
            });
        let ports = folder.join(format!("nats-server_{}.ports", child.id()));
        let port = loop {
            let read = std::fs::read_to_string(&ports).ok();
            if let Some(found) = read.and_then(|text| port_in(&text)) {
                break found;
            }
            let log = || std::fs::read_to_string(folder.join("log")).unwrap();
            assert!(child.try_wait().unwrap().is_none(), "nats-server ended: {}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Self { child, folder, port }
    }

    fn settings(&self, credentials: Credentials) -> Settings {
        let server = Server {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            is_tls: false,
            credentials: Credentials::None,
        };
        Settings { servers: vec![server], credentials, roots: roots(), prefix: "acme.events".to_owned() }
    }

    fn nats(&self) -> Nats {
        Nats::new(self.settings(Credentials::None), Clock::System, Randomness::System)
    }

    /// Asks JetStream's own interface.
    async fn ask(&self, credentials: Credentials, subject: &str, request: &Value) -> Value {
        let inbox = format!("_INBOX.{}", Uuid::from_bytes(Randomness::System.bytes()).simple());
        let mut connection = Connection::open(&self.settings(credentials), inbox).await.unwrap();
        connection.request(subject, 0, request.to_string().as_bytes()).await.unwrap();
        serde_json::from_slice(&connection.message().await.unwrap().payload).unwrap()
    }

    async fn create_stream(&self, more: Value) {
        let mut configuration = json!({"name": "EVENTS", "subjects": ["acme.events.>"], "storage": "file"});
        configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.ask(Credentials::None, "$JS.API.STREAM.CREATE.EVENTS", &configuration).await;
        assert!(made["error"].is_null(), "{made}");
    }

    /// What the stream holds, in its order: subject, id, body.
    async fn messages(&self) -> Vec<(String, String, Value)> {
        let info = self.ask(Credentials::None, "$JS.API.STREAM.INFO.EVENTS", &json!({})).await;
        let mut messages = Vec::new();
        for number in 1..=info["state"]["last_seq"].as_u64().unwrap() {
            let got =
                self.ask(Credentials::None, "$JS.API.STREAM.MSG.GET.EVENTS", &json!({"seq": number})).await;
            let decode = |name: &str| Base64::decode_vec(got["message"][name].as_str().unwrap()).unwrap();
            let headers = String::from_utf8(decode("hdrs")).unwrap();
            let id = headers.lines().find_map(|line| line.strip_prefix("Nats-Msg-Id: ")).unwrap();
            let body = serde_json::from_slice(&decode("data")).unwrap();
            messages.push((got["message"]["subject"].as_str().unwrap().to_owned(), id.to_owned(), body));
        }
        messages
    }
}

fn port_in(text: &str) -> Option<u16> {
    let ports: Value = serde_json::from_str(text).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn reason(fault: &DeliveryFault) -> &str {
    let DeliveryFault::Outage { reason, .. } = fault else { panic!("{fault}") };
    reason
}

#[tokio::test]
async fn events_are_in_the_stream_once_and_in_the_order_of_each_aggregate() {
    let server = NatsServer::start("").await;
    server.create_stream(json!({})).await;
    let nats = server.nats();
    let aggregates: Vec<u8> = (0..600).map(|number: u32| u8::try_from(number * 7 % 40).unwrap()).collect();
    let batch = rows(&aggregates);
    nats.deliver(&batch[..400]).await.unwrap();
    // Again, as after a crash before the acknowledgement, and what comes after it; on the connection that was kept.
    nats.deliver(&batch[200..]).await.unwrap();
    // And by another process.
    server.nats().deliver(&batch).await.unwrap();

    let messages = server.messages().await;
    assert_eq!(messages.len(), 600);
    let mut last = [0_i64; 40];
    for (subject, id, body) in &messages {
        assert_eq!(subject, "acme.events.session.SessionStarted");
        assert_eq!(body["event_id"], *id);
        assert_eq!(body["data"], batch[0].payload);
        let aggregate: Uuid = body["aggregate_id"].as_str().unwrap().parse().unwrap();
        let last = &mut last[usize::try_from(aggregate.as_u128()).unwrap()];
        *last += 1;
        assert_eq!(body["version"], *last);
    }
}

#[tokio::test]
async fn a_missing_stream_is_an_outage_that_says_how_to_make_it() {
    let server = NatsServer::start("").await;
    let nats = server.nats();
    let Undelivered { delivered, fault } = nats.deliver(&rows(&[1, 1])).await.unwrap_err();
    assert!(delivered.is_empty());
    let said = reason(&fault);
    assert!(said.contains("no stream takes acme.events.session.SessionStarted"), "{said}");
    assert!(said.contains("nats stream add ACME_EVENTS --subjects 'acme.events.>'"), "{said}");
    let checked = nats.check().await.unwrap_err();
    assert!(reason(&checked).contains("nats stream add"), "{checked}");

    server.create_stream(json!({})).await;
    assert_eq!(nats.check().await.unwrap(), "EVENTS");
    nats.deliver(&rows(&[1, 1])).await.unwrap();
    assert_eq!(server.messages().await.len(), 2);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_refused_and_what_follows_it_in_its_aggregate_stays() {
    // Once by the stream, once by the server.
    for (configuration, stream) in [("", json!({"max_msg_size": 2_000})), ("max_payload: 2000", json!({}))] {
        let server = NatsServer::start(configuration).await;
        server.create_stream(stream).await;
        let nats = server.nats();
        let mut batch = rows(&[1, 2, 1, 2, 1]);
        batch[2].payload = json!({"text": "x".repeat(2_000)});
        let Undelivered { mut delivered, fault } = nats.deliver(&batch).await.unwrap_err();
        delivered.sort_unstable();
        assert_eq!(delivered, [0, 1, 3]);
        assert!(matches!(fault, DeliveryFault::Refused(_)), "{fault}");
        assert_eq!(server.messages().await.len(), 3);
    }
}

#[tokio::test]
async fn a_full_stream_and_a_server_without_jetstream_are_outages() {
    let server = NatsServer::start("").await;
    server.create_stream(json!({"max_msgs": 1, "discard": "new"})).await;
    let Undelivered { delivered, fault } = server.nats().deliver(&rows(&[1, 1, 1])).await.unwrap_err();
    assert_eq!(delivered, [0]);
    assert!(reason(&fault).contains("maximum messages"), "{fault}");

    let folder = server.folder.join("plain");
    std::fs::create_dir_all(&folder).unwrap();
    let plain = NatsServer::start_in(folder, "jetstream: disabled", -1).await;
    let fault = plain.nats().check().await.unwrap_err();
    assert!(reason(&fault).contains("no JetStream"), "{fault}");
}

#[tokio::test]
async fn a_server_that_went_away_is_an_outage_and_one_that_came_back_is_used_again() {
    let mut server = NatsServer::start("").await;
    server.create_stream(json!({})).await;
    let nats = server.nats();
    let batch = rows(&[1, 1, 1, 1]);
    nats.deliver(&batch[..1]).await.unwrap();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let fault = nats.deliver(&batch[1..]).await.unwrap_err().fault;
    assert!(reason(&fault).contains("connection failed"), "{fault}");

    // The same port and the same store.
    let (folder, port) = (server.folder.clone(), i32::from(server.port));
    let back = NatsServer::start_in(folder, "", port).await;
    nats.deliver(&batch[1..]).await.unwrap();
    assert_eq!(back.messages().await.len(), 4);
    // Before `server` takes the folder away.
    drop(back);
}

#[tokio::test]
async fn users_and_tokens_open_a_server_and_what_is_wrong_is_said_without_them() {
    let user = |password: &str| Credentials::User {
        user: "gateward".to_owned(),
        password: Zeroizing::new(password.to_owned()),
    };
    let token = |token: &str| Credentials::Token(Zeroizing::new(token.to_owned()));
    for (configuration, right, wrong) in [
        ("authorization { user: gateward, password: right }", user("right"), user("hunter2")),
        ("authorization { token: right }", token("right"), token("hunter2")),
    ] {
        let server = NatsServer::start(configuration).await;
        let nats = Nats::new(server.settings(right), Clock::System, Randomness::System);
        assert!(reason(&nats.check().await.unwrap_err()).contains("no stream"));
        for refused in [wrong, Credentials::None] {
            let nats = Nats::new(server.settings(refused), Clock::System, Randomness::System);
            let fault = nats.deliver(&rows(&[1])).await.unwrap_err().fault;
            assert!(reason(&fault).contains("Authorization Violation"), "{fault}");
            assert!(!fault.to_string().contains("hunter2") && !format!("{nats:?}").contains("hunter2"));
        }
    }
    // Of several servers the first that lets us in is taken.
    let server = NatsServer::start("").await;
    let mut settings = server.settings(Credentials::None);
    let away =
        Server { host: "127.0.0.1".to_owned(), port: 1, is_tls: false, credentials: Credentials::None };
    settings.servers.insert(0, away);
    assert!(
        reason(&Nats::new(settings, Clock::System, Randomness::System).check().await.unwrap_err())
            .contains("no stream")
    );
}

#[tokio::test]
async fn a_server_that_repeats_the_password_has_it_withheld() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"INFO {\"headers\":true,\"max_payload\":1000}\r\n").await.unwrap();
        let mut connect = vec![0; 4096];
        let read = stream.read(&mut connect).await.unwrap();
        let line = String::from_utf8_lossy(&connect[..read]).lines().next().unwrap().to_owned();
        stream.write_all(format!("-ERR 'no such user: {line}'\r\n").as_bytes()).await.unwrap();
    });
    let credentials =
        Credentials::User { user: "u".to_owned(), password: Zeroizing::new("hunter2".to_owned()) };
    let server = Server { host: "127.0.0.1".to_owned(), port, is_tls: false, credentials };
    let settings = Settings {
        servers: vec![server],
        credentials: Credentials::None,
        roots: roots(),
        prefix: "a".to_owned(),
    };
    let fault = Nats::new(settings, Clock::System, Randomness::System).check().await.unwrap_err();
    assert!(
        reason(&fault).contains("repeats the credentials") && !fault.to_string().contains("hunter2"),
        "{fault}"
    );
    echo.await.unwrap();
}

#[tokio::test]
async fn a_permission_that_is_missing_is_said() {
    let server = NatsServer::start(
        "authorization { users = [{ user: gateward, password: right, permissions: { publish: \"other.>\" } }] }",
    )
    .await;
    let credentials =
        Credentials::User { user: "gateward".to_owned(), password: Zeroizing::new("right".to_owned()) };
    let nats = Nats::new(server.settings(credentials), Clock::System, Randomness::System);
    let fault = nats.deliver(&rows(&[1])).await.unwrap_err().fault;
    assert!(reason(&fault).contains("Permissions Violation for Publish"), "{fault}");
}

#[tokio::test]
async fn tls_is_spoken_where_the_scheme_or_the_server_says_so_and_only_with_the_right_certificate() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/egress/fixtures");
    let (certificate, key) = (fixtures.join("issuer.pem"), fixtures.join("issuer.key.pem"));
    let tls = NatsServer::start(&format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}")).await;
    // Its certificate is of issuer.test, not of this address; the server demands TLS, whatever the scheme.
    for is_tls in [true, false] {
        let mut settings = tls.settings(Credentials::None);
        settings.servers[0].is_tls = is_tls;
        let fault = Nats::new(settings, Clock::System, Randomness::System).check().await.unwrap_err();
        assert!(reason(&fault).contains("TLS failed"), "{fault}");
    }
    // A server in the clear is not spoken to where TLS is asked for.
    let plain = NatsServer::start("").await;
    let mut settings = plain.settings(Credentials::None);
    settings.servers[0].is_tls = true;
    let fault = Nats::new(settings, Clock::System, Randomness::System).check().await.unwrap_err();
    assert!(reason(&fault).contains("TLS failed") || reason(&fault).contains("connection"), "{fault}");
}

/// A JWT of NATS: its id is a hash of its claims, and keys stand in it in their own encoding.
fn jwt(signer: &SigningKey, issuer: &str, subject: &str, name: &str, nats: &Value) -> String {
    let mut claims =
        json!({"jti": "", "iat": 1_795_255_200, "iss": issuer, "name": name, "sub": subject, "nats": nats});
    let hash = Sha512_256::digest(claims.to_string());
    claims["jti"] = base32(&hash).into();
    let encode = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
    let header = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}).to_string());
    let content = format!("{header}.{}", encode(claims.to_string()));
    let signature = signer.sign(content.as_bytes());
    format!("{content}.{}", Base64UrlUnpadded::encode_string(&signature.to_bytes()))
}

#[tokio::test]
async fn a_credentials_file_opens_a_server_that_knows_no_passwords() {
    let public = |key: &SigningKey, kind: u8| {
        let mut raw = vec![kind];
        raw.extend_from_slice(key.verifying_key().as_bytes());
        with_checksum(&mut raw);
        base32(&raw)
    };
    let [operator, account, user, system] = [1, 2, 3, 5].map(|seed: u8| SigningKey::from_bytes(&[seed; 32]));
    let (operator_id, account_id) = (public(&operator, 14 << 3), public(&account, 0));
    let (user_id, system_id) = (public(&user, 20 << 3), public(&system, 0));
    let own =
        jwt(&operator, &operator_id, &operator_id, "operator", &json!({"type": "operator", "version": 2}));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let account_claims = json!({"limits": limits, "type": "account", "version": 2});
    let account_jwt = jwt(&operator, &operator_id, &account_id, "account", &account_claims);
    // JetStream does not start without an account of the server's own.
    let system_claims = json!({"limits": {"subs": -1, "conn": -1, "data": -1, "payload": -1}, "type": "account", "version": 2});
    let system_jwt = jwt(&operator, &operator_id, &system_id, "system", &system_claims);
    let user_claims =
        json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
    let user_jwt = jwt(&account, &account_id, &user_id, "user", &user_claims);
    let server = NatsServer::start(&format!(
        "operator: {own}\nsystem_account: {system_id}\nresolver: MEMORY\n\
         resolver_preload {{ {account_id}: {account_jwt}, {system_id}: {system_jwt} }}"
    ))
    .await;
    let file = |seed: u8| {
        let seed = seed_text(&[seed; 32], 20 << 3);
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        Credentials::parse_file(&file).unwrap()
    };
    let stream = json!({"name": "EVENTS", "subjects": ["acme.events.>"], "storage": "memory"});
    let made = server.ask(file(3), "$JS.API.STREAM.CREATE.EVENTS", &stream).await;
    assert!(made["error"].is_null(), "{made}");
    let nats = Nats::new(server.settings(file(3)), Clock::System, Randomness::System);
    nats.deliver(&rows(&[1, 2])).await.unwrap();
    let stranger = Nats::new(server.settings(file(4)), Clock::System, Randomness::System);
    let fault = stranger.check().await.unwrap_err();
    assert!(reason(&fault).contains("Authorization Violation"), "{fault}");
}

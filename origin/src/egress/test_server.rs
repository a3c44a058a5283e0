//! A server of a test's own, on a real loopback socket, that says over HTTP/1.1 whatever the test wants, with or without TLS. Tests
//! only.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Answers with exactly these bytes and closes.
    Say(Vec<u8>),
    /// Sends this head and then body without end.
    Flood(&'static str),
    /// Reads the request and says nothing.
    Silent,
    /// Answers each request of a connection with what this makes of it, and keeps the connection open.
    Answer(Arc<dyn Fn(&Received) -> String + Send + Sync>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Request line and header fields.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The connection it came on, counted from 1.
    pub(crate) connection: usize,
}

impl Received {
    /// The value of a header field that is there once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.head.lines().skip(1).filter_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let value = found.next();
        assert!(found.next().is_none(), "{name} is there twice: {}", self.head);
        value
    }
}

impl Behaviour {
    /// 200 with this JSON.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::status("200 OK", "", &body.to_string())
    }

    /// Answers as the function says; [`answer`] makes answers.
    pub(crate) fn answer(answer: impl Fn(&Received) -> String + Send + Sync + 'static) -> Self {
        Self::Answer(Arc::new(answer))
    }

    /// This status, these further header lines (each ending in CRLF) and this body.
    pub(crate) fn status(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Say(
            format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .into(),
        )
    }
}

/// The server. It ends with its handle.
pub(crate) struct TestServer {
    pub(crate) port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    /// A server that speaks HTTP.
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::listen(behaviour, None).await
    }

    /// A server that speaks HTTPS, as `issuer.test`.
    pub(crate) async fn start_tls(behaviour: Behaviour) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("fixtures/issuer.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/issuer.key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let configuration = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::listen(behaviour, Some(TlsAcceptor::from(Arc::new(configuration)))).await
    }

    async fn listen(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (behaviour, asked) = (Arc::new(Mutex::new(behaviour)), Arc::new(AtomicUsize::new(0)));
        let received = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&behaviour), Arc::clone(&asked), Arc::clone(&received));
        let task = tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                let ((behaviour, asked, received), tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        // A caller that gives up in the handshake has asked nothing.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, connection, &behaviour, &asked, &received).await;
                            }
                        }
                        None => talk(stream, connection, &behaviour, &asked, &received).await,
                    }
                });
            }
        });
        Self { port, behaviour, asked, received, task }
    }

    /// From now on it does this.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// How many requests came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The heads of the requests that came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.received.lock().unwrap().iter().map(|one| one.head.clone()).collect()
    }

    /// The requests that came.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn https(&self, path: &str) -> String {
        format!("https://issuer.test:{}{path}", self.port)
    }
}

/// The authority that `issuer.test` has its certificate from.
pub(crate) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(include_bytes!("fixtures/authority.pem")).unwrap()).unwrap();
    roots
}

/// An answer to be sent on a connection that stays open.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    behaviour: &Mutex<Behaviour>,
    asked: &AtomicUsize,
    all: &Mutex<Vec<Received>>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let mut received = Received { head: String::from_utf8(head).unwrap(), body: Vec::new(), connection };
        let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
        received.body = vec![0; length];
        if stream.read_exact(&mut received.body).await.is_err() {
            return;
        }
        all.lock().unwrap().push(received.clone());
        asked.fetch_add(1, Ordering::SeqCst);
        let behaviour = behaviour.lock().unwrap().clone();
        // That the caller hangs up is part of most of these tests.
        let _ = match behaviour {
            Behaviour::Answer(answer) => {
                if stream.write_all(answer(&received).as_bytes()).await.is_ok() {
                    continue;
                }
                return;
            }
            Behaviour::Say(answer) => {
                let _ = stream.write_all(&answer).await;
                stream.shutdown().await
            }
            Behaviour::Flood(head) => {
                let mut sent = stream.write_all(head.as_bytes()).await;
                while sent.is_ok() {
                    sent = stream.write_all(&[b' '; 4096]).await;
                }
                sent
            }
            Behaviour::Silent => stream.read_u8().await.map(drop),
        };
        return;
    }
}

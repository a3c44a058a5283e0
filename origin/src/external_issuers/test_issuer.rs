//! An external issuer of a test's own: a real server on a loopback socket that says over HTTP/1.1 whatever the test wants, with or
//! without TLS. Tests only.

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

/// What the issuer does with a request.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    /// Answers with exactly these bytes and closes.
    Say(Vec<u8>),
    /// Sends this head and then body without end.
    Flood(&'static str),
    /// Reads the request and says nothing.
    Silent,
}

impl Behaviour {
    /// 200 with this JSON.
    pub(super) fn json(body: &serde_json::Value) -> Self {
        Self::status("200 OK", "", &body.to_string())
    }

    /// This status, these further header lines (each ending in CRLF) and this body.
    pub(super) fn status(status: &str, headers: &str, body: &str) -> Self {
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
pub(super) struct TestIssuer {
    pub(super) port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestIssuer {
    /// A server that speaks HTTP.
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        Self::listen(behaviour, None).await
    }

    /// A server that speaks HTTPS, as `issuer.test`.
    pub(super) async fn start_tls(behaviour: Behaviour) -> Self {
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
        let heads = Arc::new(Mutex::new(Vec::new()));
        let shared = (Arc::clone(&behaviour), Arc::clone(&asked), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let ((behaviour, asked, heads), tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        // A caller that gives up in the handshake has asked nothing.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                talk(stream, &behaviour, &asked, &heads).await;
                            }
                        }
                        None => talk(stream, &behaviour, &asked, &heads).await,
                    }
                });
            }
        });
        Self { port, behaviour, asked, heads, task }
    }

    /// From now on it does this.
    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// How many requests came.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The heads of the requests that came.
    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub(super) fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn https(&self, path: &str) -> String {
        format!("https://issuer.test:{}{path}", self.port)
    }
}

/// The authority that `issuer.test` has its certificate from.
pub(super) fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(include_bytes!("fixtures/authority.pem")).unwrap()).unwrap();
    roots
}

async fn talk(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: &Mutex<Behaviour>,
    asked: &AtomicUsize,
    heads: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    asked.fetch_add(1, Ordering::SeqCst);
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    let behaviour = behaviour.lock().unwrap().clone();
    // That the caller hangs up is part of most of these tests.
    let _ = match behaviour {
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
}

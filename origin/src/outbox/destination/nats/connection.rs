//! One connection to a NATS server, by its client protocol: INFO, CONNECT, HPUB, and the answers to what was published. Nothing is
//! ever sent again behind its owner's back, which is why this is no client library: one that reconnects by itself may bring a later
//! event of an aggregate before an earlier one that was lost with the connection. When anything is wrong, the connection is over.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
        BufStream,
    },
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{Server, Settings};
use crate::egress::shortened;

/// The longest line of control that is read, and the longest message, in bytes.
const MOST_LINE: u64 = 64 * 1024;
const MOST_MESSAGE: usize = 64 * 1024;

/// Why there is no connection, or no longer. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectionFault {
    /// It cannot be reached, or it hung up.
    #[error("the connection failed: {0}")]
    Lost(String),
    /// TLS could not be agreed on, or the certificate is not of that host.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// It does not let us in, or not do this.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// It says what no NATS server says.
    #[error("this is no NATS server with JetStream: {0}")]
    Protocol(&'static str),
}

impl From<std::io::Error> for ConnectionFault {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(shortened(&error))
    }
}

/// What the server says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    max_payload: usize,
    tls_required: bool,
    headers: bool,
    nonce: Option<String>,
}

/// A message to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Where it went: our inbox, with the number of what it answers.
    pub(super) subject: String,
    /// The status of its header section, where it has one: 503 where nobody listens.
    pub(super) status: Option<u16>,
    pub(super) payload: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that has been let in.
pub(super) struct Connection {
    stream: BufStream<Box<dyn Stream>>,
    inbox: String,
    max_payload: usize,
}

impl Connection {
    /// Connects to the first of the servers that lets us in.
    pub(super) async fn open(settings: &Settings, inbox: String) -> Result<Self, ConnectionFault> {
        let mut last = ConnectionFault::Protocol("no server is named");
        for server in &settings.servers {
            let opened = Self::open_one(settings, server, inbox.clone());
            match tokio::time::timeout(CONNECT, opened).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(fault)) => last = fault,
                Err(_) => {
                    last = ConnectionFault::Lost(format!("no answer within {} ms", CONNECT.as_millis()));
                }
            }
        }
        Err(last)
    }

    async fn open_one(settings: &Settings, server: &Server, inbox: String) -> Result<Self, ConnectionFault> {
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await?;
        stream.set_nodelay(true)?;
        let mut plain = BufReader::new(stream);
        let greeting = line(&mut plain).await?;
        let info = greeting.strip_prefix("INFO ").and_then(|info| serde_json::from_str::<Info>(info).ok());
        let info = info.ok_or(ConnectionFault::Protocol("it does not greet with INFO"))?;
        if !info.headers {
            return Err(ConnectionFault::Protocol("it does not take headers"));
        }
        let is_tls = server.is_tls || info.tls_required;
        if is_tls && !plain.buffer().is_empty() {
            // What came in the clear must not be taken for what comes over TLS.
            return Err(ConnectionFault::Protocol("it goes on in the clear before TLS"));
        }
        let stream: Box<dyn Stream> = if is_tls {
            let name = ServerName::try_from(server.host.clone()).map_err(|_| {
                ConnectionFault::Tls("its host is no name that a certificate can be for".into())
            })?;
            let tls = tls(settings.roots.clone()).map_err(|error| ConnectionFault::Tls(shortened(&error)))?;
            let stream = tls.connect(name, plain.into_inner()).await;
            Box::new(stream.map_err(|error| ConnectionFault::Tls(shortened(&error)))?)
        } else {
            Box::new(plain.into_inner())
        };
        let mut connection = Self { stream: BufStream::new(stream), inbox, max_payload: info.max_payload };
        let mut connect = json!({
            "verbose": false, "pedantic": false, "tls_required": is_tls, "headers": true, "no_responders": true,
            "echo": false, "lang": "rust", "name": "gateward", "version": env!("CARGO_PKG_VERSION"), "protocol": 0,
        });
        if let Value::Object(members) = &mut connect {
            members.extend(server.credentials(settings).members(info.nonce.as_deref()));
        }
        let inbox = &connection.inbox;
        let greeting = format!("CONNECT {connect}\r\nSUB {inbox}.* 1\r\nPING\r\n");
        connection.stream.write_all(greeting.as_bytes()).await?;
        connection.stream.flush().await?;
        connection.pong().await?;
        Ok(connection)
    }

    /// The largest message the server takes, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Whether it is still there.
    pub(super) async fn probe(&mut self) -> Result<(), ConnectionFault> {
        self.stream.write_all(b"PING\r\n").await?;
        self.stream.flush().await?;
        self.pong().await
    }

    /// Writes a message whose answer will come to our inbox as `number`; [`flush`](Self::flush) sends it.
    pub(super) async fn publish(
        &mut self,
        subject: &str,
        number: usize,
        headers: &str,
        payload: &[u8],
    ) -> Result<(), ConnectionFault> {
        let (head, all) = (headers.len(), headers.len() + payload.len());
        let line = format!("HPUB {subject} {}.{number} {head} {all}\r\n{headers}", self.inbox);
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.write_all(payload).await?;
        self.stream.write_all(b"\r\n").await?;
        Ok(())
    }

    /// Writes a request without headers.
    pub(super) async fn request(
        &mut self,
        subject: &str,
        number: usize,
        payload: &[u8],
    ) -> Result<(), ConnectionFault> {
        let line = format!("PUB {subject} {}.{number} {}\r\n", self.inbox, payload.len());
        self.stream.write_all(line.as_bytes()).await?;
        self.stream.write_all(payload).await?;
        self.stream.write_all(b"\r\n").await?;
        self.flush().await
    }

    /// Sends what was written.
    pub(super) async fn flush(&mut self) -> Result<(), ConnectionFault> {
        Ok(self.stream.flush().await?)
    }

    /// The next message.
    pub(super) async fn message(&mut self) -> Result<Message, ConnectionFault> {
        loop {
            if let Incoming::Message(message) = self.incoming().await? {
                return Ok(message);
            }
        }
    }

    /// The number at the end of a subject of our inbox.
    pub(super) fn number(&self, message: &Message) -> Option<usize> {
        message.subject.strip_prefix(&self.inbox)?.strip_prefix('.')?.parse().ok()
    }

    async fn pong(&mut self) -> Result<(), ConnectionFault> {
        loop {
            if let Incoming::Pong = self.incoming().await? {
                return Ok(());
            }
        }
    }

    async fn incoming(&mut self) -> Result<Incoming, ConnectionFault> {
        let line = line(&mut self.stream).await?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let fields: Vec<&str> = rest.split(' ').filter(|field| !field.is_empty()).collect();
        let length = |text: &str| {
            text.parse()
                .ok()
                .filter(|length| *length <= MOST_MESSAGE)
                .ok_or(ConnectionFault::Protocol(LENGTH))
        };
        match (verb.to_ascii_uppercase().as_str(), fields.as_slice()) {
            ("PING", _) => {
                self.stream.write_all(b"PONG\r\n").await?;
                self.stream.flush().await?;
                Ok(Incoming::Other)
            }
            ("PONG", _) => Ok(Incoming::Pong),
            ("+OK" | "INFO", _) => Ok(Incoming::Other),
            ("-ERR", _) => Err(ConnectionFault::Refused(shortened(&rest.trim_matches('\'')))),
            ("MSG", [subject, _, .., all]) => {
                let payload = self.payload(length(all)?).await?;
                Ok(Incoming::Message(Message { subject: (*subject).to_owned(), status: None, payload }))
            }
            ("HMSG", [subject, _, .., head, all]) => {
                let (head, mut headers) = (length(head)?, self.payload(length(all)?).await?);
                if head > headers.len() {
                    return Err(ConnectionFault::Protocol(LENGTH));
                }
                let payload = headers.split_off(head);
                let text = String::from_utf8_lossy(&headers);
                let status = text.lines().next().and_then(|first| first.split(' ').nth(1)?.parse().ok());
                Ok(Incoming::Message(Message { subject: (*subject).to_owned(), status, payload }))
            }
            _ => Err(ConnectionFault::Protocol("it says something that is not of the protocol")),
        }
    }

    async fn payload(&mut self, length: usize) -> Result<Vec<u8>, ConnectionFault> {
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        let mut end = [0; 2];
        self.stream.read_exact(&mut end).await?;
        if end == *b"\r\n" { Ok(payload) } else { Err(ConnectionFault::Protocol(LENGTH)) }
    }
}

/// How long one server may take to let us in.
const CONNECT: Duration = Duration::from_secs(3);
const LENGTH: &str = "a message is not as long as it says";

enum Incoming {
    Message(Message),
    Pong,
    Other,
}

async fn line(stream: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Result<String, ConnectionFault> {
    let mut line = Vec::new();
    stream.take(MOST_LINE).read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(ConnectionFault::Lost("the server hung up".to_owned()));
    }
    let line = String::from_utf8(line).map_err(|_| ConnectionFault::Protocol("a line is not text"))?;
    Ok(line.trim_end().to_owned())
}

fn tls(roots: RootCertStore) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let configuration = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(configuration)))
}

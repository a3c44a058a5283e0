//! What stands behind the workers while they are measured: an upstream that answers at once, and the origin's policy
//! endpoint with a signed policy. It may not check anything: it is not what is measured.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use shared::jwt::SigningKey;
use shared::policy::{Policy, PolicyStatement, RevocationFilter, STATEMENT_HEADER};
use shared::time::UnixMillis;

use crate::clock;

/// The body of every answer of the upstream.
const BODY: &str =
    r#"{"ok":true,"items":[1,2,3],"note":"as long as a small answer of a real service usually is"}"#;

/// A path with this is answered with the names of the headers that came.
pub(crate) const ECHO: &str = "/header-names";

/// A policy and the key that signs it.
pub(crate) struct SignedPolicy {
    issuer: String,
    content: Vec<u8>,
    body: Vec<u8>,
    key: SigningKey,
}

impl SignedPolicy {
    /// The policy as the endpoint will serve it.
    pub(crate) fn new(policy: Policy, filter: Option<&RevocationFilter>, key: SigningKey) -> Result<Self> {
        let content = serde_json::to_vec(&policy).context("the policy cannot be written as JSON")?;
        let body = match filter {
            Some(filter) => [content.as_slice(), b"\n", filter.bytes()].concat(),
            None => content.clone(),
        };
        Ok(Self { issuer: policy.issuer, content, body, key })
    }

    /// The policy, or 304 to whoever has it; confirmed now in either case.
    fn answer(&self, has_it: bool) -> Option<Vec<u8>> {
        let now = UnixMillis(u64::try_from(clock::unix_millis()).ok()?);
        let statement = PolicyStatement::new(&self.issuer, 1, now, &self.content).sign(&self.key)?;
        if has_it {
            return Some(
                format!(
                    "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n{STATEMENT_HEADER}: {statement}\r\n\r\n"
                )
                .into_bytes(),
            );
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: \"1\"\r\n{STATEMENT_HEADER}: {statement}\r\ncontent-length: {}\r\n\r\n",
            self.body.len()
        );
        Some([head.as_bytes(), &self.body].concat())
    }
}

/// A bound port that does not answer yet, so that its address can stand in the policy that it will serve.
pub(crate) struct Backend {
    listener: TcpListener,
    address: SocketAddr,
}

impl Backend {
    /// Takes a free port of loopback.
    pub(crate) fn bind() -> Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).context("no free port for the bench's upstream")?;
        let address = listener.local_addr().context("the bench's upstream has no address")?;
        Ok(Self { listener, address })
    }

    /// Where it will answer.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts answering; ends with the process.
    pub(crate) fn serve(self, policy: SignedPolicy) {
        let policy = Arc::new(policy);
        thread::spawn(move || {
            for stream in self.listener.incoming().flatten() {
                let policy = Arc::clone(&policy);
                thread::spawn(move || serve(stream, &policy));
            }
        });
    }
}

/// Answers one connection until it closes. A fault ends the connection, which the measurement reports.
fn serve(stream: TcpStream, policy: &SignedPolicy) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    let upstream = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let wants_policy = line.contains(" /internal/policy ");
        let wants_names = line.contains(ECHO);
        let mut names = Vec::new();
        let mut has_policy = false;
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            has_policy |= line.to_ascii_lowercase().starts_with("if-none-match:");
            if wants_names && let Some((name, _)) = line.split_once(':') {
                names.push(name.to_ascii_lowercase());
            }
        }
        if wants_names {
            names.sort_unstable();
            let names = names.join(" ");
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{names}", names.len());
            writer.write_all(answer.as_bytes()).ok()?;
        } else if wants_policy {
            writer.write_all(&policy.answer(has_policy)?).ok()?;
        } else {
            writer.write_all(upstream.as_bytes()).ok()?;
        }
    }
}

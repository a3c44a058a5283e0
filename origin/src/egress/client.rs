//! Who may be connected to, and the connections themselves.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, body::Bytes, header};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::{
    address::is_public,
    exchange::{Answer, Connection, Stream},
    shortened,
};

/// Connections that a session keeps for its next calls.
const MOST_IDLE: usize = 64;

/// Why there is no answer. Never holds more of a URL than its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressFault {
    /// The URL is not one that is called.
    #[error("the URL is not called: {0}")]
    Url(&'static str),
    /// The name has no address.
    #[error("the host has no address")]
    NoAddress,
    /// The name stands for an address that is not on the public Internet.
    #[error("the host has a private or special-purpose address")]
    PrivateAddress,
    /// No connection, or it broke.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// TLS could not be agreed on, or the certificate is not of that host.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    TooSlow(Duration),
}

/// What an answer may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long the look-up of the name may take.
    pub look_up: Duration,
    /// From connecting to the last byte of an answer.
    pub time: Duration,
    /// How much of an answer's body is read.
    pub body: usize,
}

/// A request.
#[derive(Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Header fields besides `Host`, `Accept-Encoding`, `User-Agent` and `Content-Length`.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Calls others. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    resolver: Resolver,
    private_hosts: Arc<[String]>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("private_hosts", &self.private_hosts).finish_non_exhaustive()
    }
}

/// Where addresses come from.
#[derive(Clone)]
enum Resolver {
    /// The system.
    System,
    /// A test.
    #[cfg(test)]
    Fixed(Arc<FixedNames>),
}

/// A test's idea of names.
#[cfg(test)]
type FixedNames = dyn Fn(&str) -> Vec<IpAddr> + Send + Sync;

/// The certificate authorities that the system trusts.
pub fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if unusable > 0 {
        tracing::debug!(unusable, "certificate authorities of the system were left out");
    }
    roots
}

impl Client {
    /// A client that trusts the system's certificate authorities. `private_hosts`, with or without a port, may have private
    /// addresses; all others must be on the public Internet.
    pub fn new(private_hosts: &[String]) -> Result<Self, rustls::Error> {
        Self::with(system_authorities(), Resolver::System, private_hosts)
    }

    /// A client of a test: its own authorities and its own idea of names.
    #[cfg(test)]
    pub(crate) fn of_test(
        roots: RootCertStore,
        resolve: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
        private_hosts: &[&str],
    ) -> Result<Self, rustls::Error> {
        let hosts: Vec<String> = private_hosts.iter().map(|host| (*host).to_owned()).collect();
        Self::with(roots, Resolver::Fixed(Arc::new(resolve)), &hosts)
    }

    fn with(
        roots: RootCertStore,
        resolver: Resolver,
        private_hosts: &[String],
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut configuration = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(configuration));
        Ok(Self { tls, resolver, private_hosts: private_hosts.into() })
    }

    /// Looks the URL's host up and judges its addresses. The calls of the session go to these and to no others.
    pub async fn open(&self, url: &Url, bounds: Bounds) -> Result<Session, EgressFault> {
        let is_tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EgressFault::Url("it is neither https nor http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressFault::Url("it has a user or password in it"));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(EgressFault::Url("it has no host"));
        };
        let judged = self.judged_addresses(&host, port, is_tls);
        let addresses = tokio::time::timeout(bounds.look_up, judged)
            .await
            .unwrap_or(Err(EgressFault::TooSlow(bounds.look_up)))?;
        let tls = match (is_tls, host) {
            (false, _) => None,
            (true, Host::Domain(name)) => {
                let name = ServerName::try_from(name.to_owned())
                    .map_err(|_| EgressFault::Url("its host is no name that a certificate can be for"))?;
                Some((self.tls.clone(), name))
            }
            (true, Host::Ipv4(address)) => {
                Some((self.tls.clone(), ServerName::IpAddress(IpAddr::from(address).into())))
            }
            (true, Host::Ipv6(address)) => {
                Some((self.tls.clone(), ServerName::IpAddress(IpAddr::from(address).into())))
            }
        };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        Ok(Session { authority: url.authority().to_owned(), addresses, tls, bounds, idle: Mutex::default() })
    }

    /// Every address of the host, each of them one that may be reached.
    async fn judged_addresses(
        &self,
        host: &Host<&str>,
        port: u16,
        is_tls: bool,
    ) -> Result<Vec<IpAddr>, EgressFault> {
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::from(*address)],
            Host::Ipv6(address) => vec![IpAddr::from(*address)],
            Host::Domain(name) => self.resolve(name, port).await?,
        };
        if addresses.is_empty() {
            return Err(EgressFault::NoAddress);
        }
        if !is_tls && !addresses.iter().all(|address| address.to_canonical().is_loopback()) {
            return Err(EgressFault::Url("it is http on a host that is not loopback"));
        }
        let named = [host.to_string(), format!("{host}:{port}")];
        let is_allowed = self.private_hosts.iter().any(|allowed| named.contains(allowed));
        // One private address among public ones is enough: which of them is taken, the name's owner decides.
        if is_allowed || addresses.iter().copied().all(is_public) {
            Ok(addresses)
        } else {
            Err(EgressFault::PrivateAddress)
        }
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<IpAddr>, EgressFault> {
        match &self.resolver {
            Resolver::System => tokio::net::lookup_host((name, port))
                .await
                .map(|found| found.map(|address| address.ip()).collect())
                .map_err(|_| EgressFault::NoAddress),
            #[cfg(test)]
            Resolver::Fixed(resolve) => Ok(resolve(name)),
        }
    }
}

/// Calls of one host, at the addresses that were judged when it was opened. Connections are kept for the next call; they end with
/// the session.
pub struct Session {
    authority: String,
    addresses: Vec<SocketAddr>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    bounds: Bounds,
    idle: Mutex<Vec<Connection>>,
}

impl Session {
    /// One call. Several may be under way at once. A call that a kept connection lost is made once more on a new one: what is called
    /// must bear that.
    pub async fn call(&self, call: &Call) -> Result<Answer, EgressFault> {
        let Bounds { time, .. } = self.bounds;
        tokio::time::timeout(time, self.call_without_limit(call))
            .await
            .unwrap_or(Err(EgressFault::TooSlow(time)))
    }

    async fn call_without_limit(&self, call: &Call) -> Result<Answer, EgressFault> {
        if let Some(kept) = self.take() {
            let exchanged = kept.exchange(self.request(call)?, self.bounds.body).await;
            if let Ok((answer, again)) = exchanged {
                self.keep(again);
                return Ok(answer);
            }
        }
        let broken = |error: hyper::Error| EgressFault::Connection(shortened(&error));
        let connection = Connection::over(self.connect().await?).await.map_err(broken)?;
        let (answer, again) =
            connection.exchange(self.request(call)?, self.bounds.body).await.map_err(broken)?;
        self.keep(again);
        Ok(answer)
    }

    fn request(&self, call: &Call) -> Result<Request<Full<Bytes>>, EgressFault> {
        let mut request = Request::builder()
            .method(&call.method)
            .uri(&call.target)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, concat!("gateward/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(call.body.clone()))
            .map_err(|_| EgressFault::Url("it cannot be written into a request"))?;
        request.headers_mut().extend(call.headers.clone());
        Ok(request)
    }

    /// A stream to the first of the addresses that answers.
    async fn connect(&self) -> Result<Box<dyn Stream>, EgressFault> {
        let mut last = EgressFault::NoAddress;
        for address in &self.addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Requests are small and answers are waited for.
                    let _ = stream.set_nodelay(true);
                    let Some((tls, name)) = &self.tls else { return Ok(Box::new(stream)) };
                    let stream = tls.connect(name.clone(), stream).await;
                    return stream
                        .map(|stream| Box::new(stream) as Box<dyn Stream>)
                        .map_err(|error| EgressFault::Tls(shortened(&error)));
                }
                Err(error) => last = EgressFault::Connection(shortened(&error)),
            }
        }
        Err(last)
    }

    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Option<Connection>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.extend(connection);
        }
    }
}

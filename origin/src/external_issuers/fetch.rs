//! One GET of a JWK set. The name is resolved once, every address it has is judged, and the connection goes to the address that was
//! judged: a name that changes its mind in between (DNS rebinding) changes nothing. No redirect, no proxy, no cookie, no
//! compression; 64 KiB and five seconds for all of it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::address::is_public;

/// The largest document that is read, in bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// How long a fetch may take, from the look-up of the name to the last byte.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a document did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchFault {
    /// The URL is not one that is fetched.
    #[error("its jwks_uri is not fetched: {0}")]
    Url(&'static str),
    /// The name has no address.
    #[error("the host of its jwks_uri has no address")]
    NoAddress,
    /// The name stands for an address that tenants may not reach through us.
    #[error(
        "the host of its jwks_uri has a private or special-purpose address; the operator allows hosts in PRIVATE_ISSUER_HOSTS"
    )]
    PrivateAddress,
    /// No connection, or it broke.
    #[error("the connection to its jwks_uri failed: {0}")]
    Connection(String),
    /// TLS could not be agreed on, or the certificate is not of that host.
    #[error("TLS with its jwks_uri failed: {0}")]
    Tls(String),
    /// Another status than 200.
    #[error("its jwks_uri answered {0}; redirects are not followed")]
    Status(u16),
    /// It is compressed, which was not asked for.
    #[error("its jwks_uri answered with a content coding that was not asked for")]
    ContentCoding,
    /// It is longer than 64 KiB.
    #[error("its jwks_uri answered with more than 64 KiB")]
    TooLarge,
    /// It took too long.
    #[error("its jwks_uri took longer than five seconds")]
    TooSlow,
}

/// Fetches. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    tls: TlsConnector,
    resolver: Resolver,
    private_hosts: Arc<[String]>,
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

impl Fetcher {
    /// A fetcher that trusts the system's certificate authorities. `private_hosts` are those of `jwks_uri`s, with or without a port,
    /// that may have private addresses.
    pub fn new(private_hosts: &[String]) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate authority of the system cannot be read");
        }
        let (_, unusable) = roots.add_parsable_certificates(found.certs);
        if unusable > 0 {
            tracing::debug!(unusable, "certificate authorities of the system were left out");
        }
        Self::with(roots, Resolver::System, private_hosts)
    }

    /// A fetcher of a test: its own authorities and its own idea of names.
    #[cfg(test)]
    pub(super) fn of_test(
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

    /// The document at `uri`.
    pub async fn fetch(&self, uri: &str) -> Result<Vec<u8>, FetchFault> {
        tokio::time::timeout(LIMIT, self.fetch_without_limit(uri)).await.unwrap_or(Err(FetchFault::TooSlow))
    }

    async fn fetch_without_limit(&self, uri: &str) -> Result<Vec<u8>, FetchFault> {
        let url = Url::parse(uri).map_err(|_| FetchFault::Url("it is no URL"))?;
        let is_tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(FetchFault::Url("it is neither https nor http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(FetchFault::Url("it has a user or password in it"));
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(FetchFault::Url("it has no host"));
        };
        let addresses = self.judged_addresses(&host, port, is_tls).await?;
        let stream = connect(&addresses, port).await?;
        if !is_tls {
            return get(stream, &url).await;
        }
        let name = match &host {
            Host::Domain(name) => ServerName::try_from((*name).to_owned())
                .map_err(|_| FetchFault::Url("its host is no name that a certificate can be for"))?,
            Host::Ipv4(address) => ServerName::IpAddress(IpAddr::from(*address).into()),
            Host::Ipv6(address) => ServerName::IpAddress(IpAddr::from(*address).into()),
        };
        let stream =
            self.tls.connect(name, stream).await.map_err(|error| FetchFault::Tls(shortened(&error)))?;
        get(stream, &url).await
    }

    /// Every address of the host, each of them one that may be reached.
    async fn judged_addresses(
        &self,
        host: &Host<&str>,
        port: u16,
        is_tls: bool,
    ) -> Result<Vec<IpAddr>, FetchFault> {
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::from(*address)],
            Host::Ipv6(address) => vec![IpAddr::from(*address)],
            Host::Domain(name) => self.resolve(name, port).await?,
        };
        if addresses.is_empty() {
            return Err(FetchFault::NoAddress);
        }
        if !is_tls && !addresses.iter().all(|address| address.to_canonical().is_loopback()) {
            return Err(FetchFault::Url("it is http on a host that is not loopback"));
        }
        let named = [host.to_string(), format!("{host}:{port}")];
        let is_allowed = self.private_hosts.iter().any(|allowed| named.contains(allowed));
        // One private address among public ones is enough: which of them is taken, the name's owner decides.
        if is_allowed || addresses.iter().copied().all(is_public) {
            Ok(addresses)
        } else {
            Err(FetchFault::PrivateAddress)
        }
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<Vec<IpAddr>, FetchFault> {
        match &self.resolver {
            Resolver::System => tokio::net::lookup_host((name, port))
                .await
                .map(|found| found.map(|address| address.ip()).collect())
                .map_err(|_| FetchFault::NoAddress),
            #[cfg(test)]
            Resolver::Fixed(resolve) => Ok(resolve(name)),
        }
    }
}

/// The first of these addresses that answers.
async fn connect(addresses: &[IpAddr], port: u16) -> Result<TcpStream, FetchFault> {
    let mut last = FetchFault::NoAddress;
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = FetchFault::Connection(shortened(&error)),
        }
    }
    Err(last)
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &Url,
) -> Result<Vec<u8>, FetchFault> {
    let broken = |error: hyper::Error| FetchFault::Connection(shortened(&error));
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let authority = url.authority();
    let request = Request::get(target)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::USER_AGENT, concat!("gateward/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchFault::Url("it cannot be written into a request"))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let conversation = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(FetchFault::Status(response.status().as_u16()));
        }
        let coding = response.headers().get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| coding != "identity") {
            return Err(FetchFault::ContentCoding);
        }
        match Limited::new(response.into_body(), MAX_BYTES).collect().await {
            Ok(body) => Ok(body.to_bytes().into()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(FetchFault::TooLarge),
            Err(error) => Err(FetchFault::Connection(shortened(&error))),
        }
    };
    // The connection lives as long as its one conversation, and ends with it: no task is left behind.
    tokio::pin!(connection, conversation);
    tokio::select! {
        biased;
        answer = &mut conversation => answer,
        ended = &mut connection => match ended {
            // The peer has closed after its answer, which is read from here.
            Ok(()) => conversation.await,
            Err(error) => Err(broken(error)),
        },
    }
}

/// An error as it is kept and shown: what a peer can put into one is not trusted to be short.
fn shortened(error: &impl ToString) -> String {
    error.to_string().chars().filter(|character| !character.is_control()).take(200).collect()
}

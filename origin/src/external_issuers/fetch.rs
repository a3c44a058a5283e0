//! One GET of a JWK set, to a public address only unless the operator has said otherwise ([`egress`](crate::egress)). No redirect, no
//! proxy, no cookie, no compression; 64 KiB and five seconds for all of it.

use std::time::Duration;

use hyper::{
    HeaderMap, Method, StatusCode,
    body::Bytes,
    header::{self, HeaderValue},
};
use url::Url;

use crate::egress::{Bounds, Call, Client, EgressFault};

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

impl From<EgressFault> for FetchFault {
    fn from(fault: EgressFault) -> Self {
        match fault {
            EgressFault::Url(why) => Self::Url(why),
            EgressFault::NoAddress => Self::NoAddress,
            EgressFault::PrivateAddress => Self::PrivateAddress,
            EgressFault::Connection(why) => Self::Connection(why),
            EgressFault::Tls(why) => Self::Tls(why),
            EgressFault::TooSlow(_) => Self::TooSlow,
        }
    }
}

/// Fetches. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher(Client);

impl Fetcher {
    /// A fetcher that trusts the system's certificate authorities. `private_hosts` are those of `jwks_uri`s, with or without a port,
    /// that may have private addresses.
    pub fn new(private_hosts: &[String]) -> Result<Self, rustls::Error> {
        Client::new(private_hosts).map(Self)
    }

    /// A fetcher of a test: its own authorities and its own idea of names.
    #[cfg(test)]
    pub(super) fn of_test(
        roots: rustls::RootCertStore,
        resolve: impl Fn(&str) -> Vec<std::net::IpAddr> + Send + Sync + 'static,
        private_hosts: &[&str],
    ) -> Result<Self, rustls::Error> {
        Client::of_test(roots, resolve, private_hosts).map(Self)
    }

    /// The document at `uri`.
    pub async fn fetch(&self, uri: &str) -> Result<Vec<u8>, FetchFault> {
        tokio::time::timeout(LIMIT, self.fetch_without_limit(uri)).await.unwrap_or(Err(FetchFault::TooSlow))
    }

    async fn fetch_without_limit(&self, uri: &str) -> Result<Vec<u8>, FetchFault> {
        let url = Url::parse(uri).map_err(|_| FetchFault::Url("it is no URL"))?;
        let session = self.0.open(&url, Bounds { look_up: LIMIT, time: LIMIT, body: MAX_BYTES }).await?;
        let accepted = HeaderValue::from_static("application/jwk-set+json, application/json");
        let answer = session
            .call(&Call {
                method: Method::GET,
                target: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
                headers: HeaderMap::from_iter([(header::ACCEPT, accepted)]),
                body: Bytes::new(),
            })
            .await?;
        if answer.status != StatusCode::OK {
            return Err(FetchFault::Status(answer.status.as_u16()));
        }
        let coding = answer.headers.get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| coding != "identity") {
            return Err(FetchFault::ContentCoding);
        }
        if answer.is_whole { Ok(answer.body) } else { Err(FetchFault::TooLarge) }
    }
}

//! What the shell read of a request, before anything was decided. It may not hold a conclusion.

use core::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::SignatureQuestion;
use crate::gcra::Outcome;

/// What was read of a request, and the answers to what earlier verdicts asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Path and query, exactly as received; empty when they cannot be told from the host ([`crate::path::target_of_url`]).
    pub target: &'a str,
    /// The peer's address, from a source that the deployment trusts.
    pub address: &'a str,
    /// The client certificate that whoever ended TLS verified, where the deployment trusts one to.
    pub certificate: Option<Certificate<'a>>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `X-API-Key`.
    pub api_key: Option<&'a str>,
    /// `Authorization`; several values joined with ", ", as the Fetch standard does.
    pub authorization: Option<&'a str>,
    /// `Content-Length`.
    pub content_length: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<&'a str>,
    /// `Access-Control-Request-Headers`.
    pub cors_headers: Option<&'a str>,
    /// `Access-Control-Request-Method`.
    pub cors_method: Option<&'a str>,
    /// `DPoP` (RFC 9449 §4.1).
    pub dpop: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `traceparent` (W3C Trace Context §3.2).
    pub traceparent: Option<&'a str>,
    /// `Transfer-Encoding`.
    pub transfer_encoding: Option<&'a str>,
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// The names of all headers, separated by line feeds.
    pub header_names: &'a str,
    /// The length of all header names and values together, in bytes.
    pub header_bytes: usize,
    /// The id this request is logged under.
    pub request_id: &'a str,
    /// The answers to what earlier verdicts asked for.
    pub looked_up: LookedUp<'a>,
}

/// What was looked up for a request so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct LookedUp<'a> {
    /// The body.
    pub form: Option<&'a [u8]>,
    /// The platform's word on signatures.
    pub signatures: &'a [(QuestionId, PlatformAnswer)],
    /// The origin's word on an API key or opaque token.
    pub credential: Option<Answer<'a>>,
    /// The origin's word on what the filter of revocations hit.
    pub confirmation: Option<Answer<'a>>,
    /// The exact limiter's counts.
    pub charges: &'a [ChargeAnswer],
    /// Whether the policy was refreshed for this request already.
    pub refreshed: bool,
    /// Whether this request was counted already, before a look-up.
    pub already_charged: bool,
    /// Base URLs of upstreams that this request was sent to in vain.
    pub failed_upstreams: &'a [&'a str],
    /// Whether the last of them took too long.
    pub upstream_timed_out: bool,
}

impl LookedUp<'_> {
    /// What the platform said to a question, if it was asked.
    pub(super) fn platform_says(&self, question: &SignatureQuestion) -> Option<bool> {
        let id = question.id();
        let (_, answer) = self.signatures.iter().find(|(asked, _)| *asked == id)?;
        Some(*answer == PlatformAnswer::Valid)
    }
}

/// What the origin answered to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A statement, not verified yet.
    Statement(&'a str),
    /// Nothing: it did not answer, or not in time.
    Unavailable,
}

/// A client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate<'a> {
    /// Its DER encoding (RFC 9440 §2.2).
    Der(&'a [u8]),
    /// The SHA-256 of its DER encoding.
    Thumbprint([u8; 32]),
}

/// Which question an answer of the platform belongs to ([`super::SignatureQuestion::id`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuestionId(pub(super) [u8; 32]);

/// The exact limiter's answer to one [`super::Charge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeAnswer {
    /// The charge's key.
    pub key: [u8; 16],
    /// The count; `None` when it could not be asked.
    pub outcome: Option<Outcome>,
}

impl<'a> Facts<'a> {
    /// The facts that headers hold; `header` gives the value of one by its lower-case name.
    pub fn of_headers(header: impl Fn(&str) -> Option<&'a str>) -> Self {
        Self {
            accept: header("accept"),
            api_key: header("x-api-key"),
            authorization: header("authorization"),
            content_length: header("content-length"),
            content_type: header("content-type"),
            cookie: header("cookie"),
            cors_headers: header("access-control-request-headers"),
            cors_method: header("access-control-request-method"),
            dpop: header("dpop"),
            fetch_site: header("sec-fetch-site"),
            origin: header("origin"),
            traceparent: header("traceparent"),
            transfer_encoding: header("transfer-encoding"),
            upgrade: header("upgrade"),
            user_agent: header("user-agent"),
            ..Self::default()
        }
    }
}

impl Facts<'_> {
    /// Whether a body is announced (RFC 9112 §6.3).
    pub(super) fn has_body(&self) -> bool {
        self.transfer_encoding.is_some() || self.content_length.is_some_and(|length| length.trim() != "0")
    }

    /// Whether the caller shows pages: `text/html` is among the media types of `Accept`.
    pub(super) fn accepts_page(&self) -> bool {
        self.accept.unwrap_or_default().split(',').any(|range| {
            let media_type = range.split(';').next().unwrap_or_default();
            media_type.trim().eq_ignore_ascii_case("text/html")
        })
    }
}

/// The platform's word on the signature that a verdict asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformAnswer {
    /// It verifies.
    Valid,
    /// It does not.
    Invalid,
}

impl Facts<'_> {
    /// The address as a rate-limit key: IPv4 whole, IPv6 by its /64, which one subscriber commands.
    pub fn address_bytes(&self) -> [u8; 16] {
        match self.address.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
                Some(address) => address.to_ipv6_mapped().octets(),
                None => (u128::from(address) & !u128::from(u64::MAX)).to_be_bytes(),
            },
            // Nobody's address: all of these share one quota each by their text.
            Err(_) => key_of(self.address),
        }
    }
}

/// A rate-limit key of a text: the first half of its SHA-256.
pub(super) fn key_of(text: &str) -> [u8; 16] {
    let mut key = [0; 16];
    for (slot, byte) in key.iter_mut().zip(Sha256::digest(text.as_bytes())) {
        *slot = byte;
    }
    key
}

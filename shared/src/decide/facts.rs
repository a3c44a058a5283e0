//! What the shell read of a request, before anything was decided. It may not hold a conclusion.

use core::net::IpAddr;

use sha2::{Digest as _, Sha256};

/// What was read of a request, and the answers to what earlier verdicts asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// Path and query, exactly as received; empty when they cannot be told from the host ([`crate::path::target_of_url`]).
    pub target: &'a str,
    /// The peer's address, from a source that the deployment trusts.
    pub address: &'a str,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `Authorization`; several values joined with ", ", as the Fetch standard does.
    pub authorization: Option<&'a str>,
    /// `Content-Length`.
    pub content_length: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// `Transfer-Encoding`.
    pub transfer_encoding: Option<&'a str>,
    /// The names of all headers, separated by line feeds.
    pub header_names: &'a str,
    /// The length of all header names and values together, in bytes.
    pub header_bytes: usize,
    /// The id this request is logged under.
    pub request_id: &'a str,
    /// The body, once a verdict asked for it.
    pub form: Option<&'a [u8]>,
    /// The platform's word on a signature, once a verdict asked for it.
    pub platform_answer: Option<PlatformAnswer>,
    /// Whether the policy was refreshed for this request already.
    pub refreshed: bool,
    /// Whether this request was counted already, before a look-up.
    pub already_charged: bool,
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

//! The secret of a session and its cookie. It has no `Debug`, and leaves this module as a `Set-Cookie` value or a hash only.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use shared::base64url;
use zeroize::Zeroizing;

use crate::clock::Randomness;

const COOKIE: &str = "__Host-gateward_session";

/// 32 random bytes that stand for a session.
pub struct SessionToken(Zeroizing<[u8; 32]>);

impl SessionToken {
    /// A new token.
    pub fn generate(randomness: &Randomness) -> Self {
        Self(Zeroizing::new(randomness.bytes()))
    }

    /// The token of the request's cookie. Two cookies of the name are no session: one of them was planted.
    pub fn from_cookies(headers: &HeaderMap) -> Option<Self> {
        let value = only_cookie(headers, COOKIE)?;
        base64url::decode_array(value).map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// What is stored.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.0[..]).into()
    }

    /// The token that the session's forms carry: derived from the secret, and no help in finding it.
    pub(super) fn csrf(&self) -> String {
        match Hmac::<Sha256>::new_from_slice(&self.0[..]) {
            Ok(mac) => base64url::encode(&mac.chain_update(b"gateward form").finalize().into_bytes()),
            Err(_) => String::new(),
        }
    }

    /// `Set-Cookie` for a session that lives `lifetime` at most.
    pub fn set_cookie(&self, lifetime: Duration) -> HeaderValue {
        let value = Zeroizing::new(base64url::encode(&self.0[..]));
        cookie(COOKIE, &value, lifetime.as_secs())
    }
}

/// `Set-Cookie` that makes the browser forget its session.
pub fn clear_cookie() -> HeaderValue {
    cookie(COOKIE, "", 0)
}

/// A `__Host-` cookie: this host only, TLS (or loopback) only, no script, not with another site's requests but navigation
/// (`Strict` would break the redirect to `/oauth/authorize`).
pub(crate) fn cookie(name: &str, value: &str, max_age_seconds: u64) -> HeaderValue {
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={max_age_seconds}");
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// The value of the one cookie named `name` (RFC 6265, 5.4).
pub(crate) fn only_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name)
        .map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

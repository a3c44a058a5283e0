//! The edge's assertion to the origin: who forwards, for which caller, exactly which request. It may not carry the caller's
//! credentials. The origin accepts nothing without it.

use alloc::string::String;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    base64url,
    jwt::{SigningKey, TokenFault, Unverified, VerificationKey, verify_own},
    time::UnixMillis,
};

/// The request header that carries it.
pub const HEADER: &str = "x-gateway-edge-assertion";
/// Its `typ`.
pub const TOKEN_TYPE: &str = "edge-assertion+jwt";
/// How long it holds, in seconds.
pub const LIFETIME_SECONDS: u64 = 30;
/// How far the edge's clock may be ahead of the origin's, in seconds.
const CLOCK_SKEW_SECONDS: u64 = 5;

/// What the edge asserts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeAssertion {
    /// The edge's id; also the `kid` of its key.
    pub iss: String,
    /// The issuer that the origin serves.
    pub aud: String,
    /// The second of issuance.
    pub iat: u64,
    /// The second of expiry.
    pub exp: u64,
    /// The request's id.
    pub jti: String,
    /// The method.
    pub htm: String,
    /// Path and query, exactly as sent to the origin.
    pub htu: String,
    /// base64url of SHA-256 of the body.
    pub body_sha256: String,
    /// The caller's address as the edge saw it.
    pub address: String,
    /// The version of the policy that the edge decides by.
    pub policy_version: u64,
    /// Which isolate of the edge asks, by the name it chose when it started; empty where the edge does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub isolate: String,
}

/// The request that is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct ForwardedRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The body; empty when there is none.
    pub body: &'a [u8],
}

/// Why the origin refuses an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionFault {
    /// It is no valid statement of a known edge.
    Token(TokenFault),
    /// It names no edge that is configured here.
    UnknownEdge,
    /// It is for another origin.
    WrongAudience,
    /// It is too old, or from the future.
    OutOfTime,
    /// It is for another method, target or body.
    OtherRequest,
}

impl EdgeAssertion {
    /// An assertion for `request`, made at `now`.
    pub fn new(
        edge_id: &str,
        issuer: &str,
        request_id: &str,
        address: &str,
        policy_version: u64,
        request: &ForwardedRequest<'_>,
        now: UnixMillis,
    ) -> Self {
        Self {
            iss: edge_id.into(),
            aud: issuer.into(),
            iat: now.seconds(),
            exp: now.seconds().saturating_add(LIFETIME_SECONDS),
            jti: request_id.into(),
            htm: request.method.into(),
            htu: request.target.into(),
            body_sha256: base64url::encode(&Sha256::digest(request.body)),
            address: address.into(),
            policy_version,
            isolate: String::new(),
        }
    }

    /// The same, by this isolate.
    #[must_use]
    pub fn of_isolate(self, isolate: &str) -> Self {
        Self { isolate: isolate.into(), ..self }
    }

    /// The compact JWS.
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        key.sign(TOKEN_TYPE, self)
    }

    /// Reads and checks an assertion against the request it came with. `edges` are the ids and keys of the edges that are trusted.
    pub fn verify(
        token: &str,
        edges: &[(String, VerificationKey)],
        issuer: &str,
        request: &ForwardedRequest<'_>,
        now: UnixMillis,
    ) -> Result<Self, AssertionFault> {
        let unverified = Unverified::parse(token).map_err(AssertionFault::Token)?;
        let edge = edges.iter().find(|(id, _)| Some(id.as_str()) == unverified.key_id());
        let (id, key) = edge.ok_or(AssertionFault::UnknownEdge)?;
        let assertion: Self = verify_own(token, TOKEN_TYPE, key).map_err(AssertionFault::Token)?;
        if assertion.iss != *id {
            return Err(AssertionFault::UnknownEdge);
        }
        assertion.check(issuer, request, now)
    }

    fn check(
        self,
        issuer: &str,
        request: &ForwardedRequest<'_>,
        now: UnixMillis,
    ) -> Result<Self, AssertionFault> {
        if self.aud != issuer {
            return Err(AssertionFault::WrongAudience);
        }
        let lives_too_long = self.exp.saturating_sub(self.iat) > LIFETIME_SECONDS;
        if now.seconds() >= self.exp
            || self.iat > now.seconds().saturating_add(CLOCK_SKEW_SECONDS)
            || lives_too_long
        {
            return Err(AssertionFault::OutOfTime);
        }
        let same = self.htm == request.method
            && self.htu == request.target
            && self.body_sha256 == base64url::encode(&Sha256::digest(request.body));
        if same { Ok(self) } else { Err(AssertionFault::OtherRequest) }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn holds_for_one_request_of_a_known_edge_for_thirty_seconds() {
        let key = SigningKey::from_seed("edge-1", &[3; 32]);
        let edges = [("edge-1".to_string(), key.verification_key())];
        let request = ForwardedRequest { method: "POST", target: "/oauth/token", body: b"a=1" };
        let now = UnixMillis::from_seconds(1_000);
        let made = EdgeAssertion::new("edge-1", "https://auth.test", "r1", "192.0.2.1", 4, &request, now)
            .of_isolate("i1");
        let token = made.sign(&key).unwrap();
        let verify = |issuer: &str, request: &ForwardedRequest<'_>, at: u64| {
            EdgeAssertion::verify(&token, &edges, issuer, request, UnixMillis::from_seconds(at))
        };
        assert_eq!(verify("https://auth.test", &request, 1_000), Ok(made));
        assert_eq!(verify("https://auth.test", &request, 1_030), Err(AssertionFault::OutOfTime));
        assert_eq!(verify("https://auth.test", &request, 994), Err(AssertionFault::OutOfTime));
        assert_eq!(verify("https://other.test", &request, 1_000), Err(AssertionFault::WrongAudience));
        for other in [
            ForwardedRequest { method: "GET", ..request },
            ForwardedRequest { target: "/oauth/token?x=1", ..request },
            ForwardedRequest { body: b"a=2", ..request },
        ] {
            assert_eq!(verify("https://auth.test", &other, 1_000), Err(AssertionFault::OtherRequest));
        }
        let stranger = SigningKey::from_seed("edge-1", &[4; 32]);
        let forged = EdgeAssertion::new("edge-1", "https://auth.test", "r1", "192.0.2.1", 4, &request, now)
            .sign(&stranger)
            .unwrap();
        assert_eq!(
            EdgeAssertion::verify(&forged, &edges, "https://auth.test", &request, now),
            Err(AssertionFault::Token(TokenFault::BadSignature))
        );
        assert_eq!(
            EdgeAssertion::verify(&token, &[], "https://auth.test", &request, now),
            Err(AssertionFault::UnknownEdge)
        );
    }
}

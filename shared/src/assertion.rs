//! The edge's assertion to the origin: who forwards, for which caller, exactly which request. It may not carry the caller's
//! credentials. The origin accepts nothing without it.
//!
//! It names the body by its hash. One endpoint's body is too large to be held until it is hashed ([`streamed_bytes`]): there, and
//! nowhere else, the assertion says `body: "unhashed"` instead. Both doors decide by that one rule, so that neither an edge can
//! leave the hash out elsewhere nor an assertion of the one kind stand in for the other.

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

/// The one endpoint whose body passes the edge unread. Its requests prove themselves by the webhook's secret, which the origin judges.
const STREAMED_PATH: &str = "/v1/sync/backfill-api-keys";
/// The most that such a body may have, in bytes: 100,000 keys with room to spare, and what the platform of most edges lets through.
pub const MAX_STREAMED_BYTES: u64 = 100 * 1024 * 1024;

/// How many bytes a request's body may have that passes the edge without being read or hashed; `None`: it is read whole, and hashed.
pub fn streamed_bytes(method: &str, target: &str) -> Option<u64> {
    let path = target.split('?').next().unwrap_or_default();
    (method == "POST" && path == STREAMED_PATH).then_some(MAX_STREAMED_BYTES)
}

/// What stands in for a body's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyMark {
    /// Nobody has seen the whole body yet.
    Unhashed,
}

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
    /// base64url of SHA-256 of the body; absent exactly where `body` stands in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
    /// Says that the body was not hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyMark>,
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
    /// The body, empty when there is none. Where [`streamed_bytes`] says so it is not looked at.
    pub body: &'a [u8],
}

impl ForwardedRequest<'_> {
    /// How an assertion names the body.
    fn body_claims(&self) -> (Option<String>, Option<BodyMark>) {
        match streamed_bytes(self.method, self.target) {
            Some(_) => (None, Some(BodyMark::Unhashed)),
            None => (Some(base64url::encode(&Sha256::digest(self.body))), None),
        }
    }
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
        let (body_sha256, body) = request.body_claims();
        Self {
            iss: edge_id.into(),
            aud: issuer.into(),
            iat: now.seconds(),
            exp: now.seconds().saturating_add(LIFETIME_SECONDS),
            jti: request_id.into(),
            htm: request.method.into(),
            htu: request.target.into(),
            body_sha256,
            body,
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
        let (body_sha256, body) = request.body_claims();
        let same = self.htm == request.method
            && self.htu == request.target
            && self.body_sha256 == body_sha256
            && self.body == body;
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

    #[test]
    fn only_the_backfill_may_go_unhashed() {
        const BACKFILL: &str = "/v1/sync/backfill-api-keys";
        let key = SigningKey::from_seed("edge-1", &[3; 32]);
        let edges = [("edge-1".to_string(), key.verification_key())];
        let now = UnixMillis::from_seconds(1_000);
        let issuer = "https://auth.test";
        let assert_for = |request: &ForwardedRequest<'_>| {
            EdgeAssertion::new("edge-1", issuer, "r1", "192.0.2.1", 4, request, now)
        };
        let verify = |assertion: &EdgeAssertion, request: &ForwardedRequest<'_>| {
            EdgeAssertion::verify(&assertion.sign(&key).unwrap(), &edges, issuer, request, now)
        };
        for target in [BACKFILL.to_string(), std::format!("{BACKFILL}?after=7")] {
            let request = ForwardedRequest { method: "POST", target: &target, body: b"" };
            let made = assert_for(&request);
            assert_eq!((made.body_sha256.as_deref(), made.body), (None, Some(BodyMark::Unhashed)));
            // Whatever the body turns out to be.
            assert_eq!(verify(&made, &ForwardedRequest { body: b"{}", ..request }).as_ref(), Ok(&made));
            // It is still for this method and target alone, and one with a hash or with neither is none.
            for other in [
                ForwardedRequest { method: "PUT", ..request },
                ForwardedRequest { target: "/v1/sync/api-key", ..request },
                ForwardedRequest { target: "/v1/sync/backfill-api-keys?after=8", ..request },
            ] {
                assert_eq!(verify(&made, &other), Err(AssertionFault::OtherRequest));
            }
            let hash = base64url::encode(&Sha256::digest(b""));
            for forged in [
                EdgeAssertion { body: None, ..made.clone() },
                EdgeAssertion { body: None, body_sha256: Some(hash.clone()), ..made.clone() },
                EdgeAssertion { body_sha256: Some(hash.clone()), ..made.clone() },
            ] {
                assert_eq!(verify(&forged, &request), Err(AssertionFault::OtherRequest));
            }
        }
        // Nowhere else can the hash be left out.
        for (method, target) in [
            ("GET", BACKFILL),
            ("PUT", BACKFILL),
            ("POST", "/v1/sync/api-key"),
            ("POST", "/v1/sync/backfill-api-keys/x"),
            ("POST", "/v1/sync/backfill-api-keysx"),
            ("POST", "/oauth/token?/v1/sync/backfill-api-keys"),
        ] {
            let request = ForwardedRequest { method, target, body: b"" };
            assert_eq!(streamed_bytes(method, target), None, "{method} {target}");
            let made = assert_for(&request);
            assert!(made.body_sha256.is_some() && made.body.is_none());
            let forged = EdgeAssertion { body_sha256: None, body: Some(BodyMark::Unhashed), ..made };
            assert_eq!(verify(&forged, &request), Err(AssertionFault::OtherRequest), "{method} {target}");
        }
    }

    #[test]
    fn the_claims_about_the_body_are_fixed_on_the_wire() {
        let claims = |method, target| {
            let request = ForwardedRequest { method, target, body: b"" };
            let made = EdgeAssertion::new("e", "i", "r", "a", 1, &request, UnixMillis::from_seconds(1));
            serde_json::to_value(made).unwrap()
        };
        let whole = claims("POST", "/v1/sync/user");
        assert_eq!(whole["body_sha256"], "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
        assert_eq!(whole.get("body"), None);
        let streamed = claims("POST", "/v1/sync/backfill-api-keys");
        assert_eq!(streamed["body"], "unhashed");
        assert_eq!(streamed.get("body_sha256"), None);
    }
}

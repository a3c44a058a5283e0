//! `X-Gateway-Assertion`: what the edge tells an upstream about one request, signed, so that the upstream need not trust the
//! network it came over. It may not be a credential: no key of an edge signs one, and the origin accepts none of this type.

use alloc::{format, string::String};

use serde::{Deserialize, Serialize};

use crate::{
    jwt::{SigningKey, TokenFault, TokenType, VerificationKey, verify_own},
    scope::Scopes,
    time::UnixMillis,
};

/// The request header that carries it.
pub const HEADER: &str = "x-gateway-assertion";
/// How long it holds, in seconds.
pub const LIFETIME_SECONDS: u64 = 30;
/// How far the edge's clock may be ahead of the upstream's, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 5;

/// What the edge asserts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamAssertion {
    /// The issuer whose edge it is; the `kid` says which edge.
    pub iss: String,
    /// The upstream's base URL, without a trailing slash.
    pub aud: String,
    /// The second of issuance.
    pub iat: u64,
    /// The second of expiry.
    pub exp: u64,
    /// The request's id.
    pub jti: String,
    /// The method.
    pub htm: String,
    /// Path and query, exactly as the upstream receives them ([`received_target`]).
    pub htu: String,
    /// The project called.
    pub project: String,
    /// The service called.
    pub service: String,
    /// Who calls; nobody on a route that needs no credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// What the caller may do.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub scope: Scopes,
    /// The workspace the caller acts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
    /// The client the caller's credential was issued to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The id of the caller's credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
}

/// The request as the upstream received it.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedRequest<'a> {
    /// The upstream's own base URL, as the gateway's configuration has it.
    pub base: &'a str,
    /// The method.
    pub method: &'a str,
    /// Path and query, as in its request line: with the path of the base URL, if that has one.
    pub target: &'a str,
}

/// Why an upstream refuses an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamAssertionFault {
    /// It is no valid statement of the edge.
    Token(TokenFault),
    /// It is another gateway's.
    WrongIssuer,
    /// It is for another upstream.
    WrongAudience,
    /// It is too old, or from the future, or holds too long.
    OutOfTime,
    /// It is for another method or target.
    OtherRequest,
}

/// Path and query of `target` fetched below `base`, a URL without a trailing slash: what stands in the request line there.
pub fn received_target(base: &str, target: &str) -> String {
    let behind_scheme = base.split_once("://").map_or(base, |(_, rest)| rest);
    match behind_scheme.split_once('/') {
        Some((_, path)) => format!("/{path}{target}"),
        None => target.into(),
    }
}

impl UpstreamAssertion {
    /// This assertion, made at `now`: sets `iat` and `exp`.
    #[must_use]
    pub fn made_at(self, now: UnixMillis) -> Self {
        let iat = now.seconds();
        Self { iat, exp: iat.saturating_add(LIFETIME_SECONDS), ..self }
    }

    /// The compact JWS; `None` when it does not serialise.
    pub fn sign(&self, key: &SigningKey) -> Option<String> {
        key.sign(TokenType::UpstreamAssertion.typ(), self)
    }

    /// Reads and checks an assertion as an upstream must, against the request it came with.
    pub fn verify(
        text: &str,
        key: &VerificationKey,
        issuer: &str,
        request: &ReceivedRequest<'_>,
        now: UnixMillis,
    ) -> Result<Self, UpstreamAssertionFault> {
        let assertion: Self = verify_own(text, TokenType::UpstreamAssertion.typ(), key)
            .map_err(UpstreamAssertionFault::Token)?;
        if assertion.iss != issuer {
            return Err(UpstreamAssertionFault::WrongIssuer);
        }
        if assertion.aud != request.base {
            return Err(UpstreamAssertionFault::WrongAudience);
        }
        let lives_too_long = assertion.exp.saturating_sub(assertion.iat) > LIFETIME_SECONDS;
        if now.seconds() >= assertion.exp
            || assertion.iat > now.seconds().saturating_add(CLOCK_SKEW_SECONDS)
            || lives_too_long
        {
            return Err(UpstreamAssertionFault::OutOfTime);
        }
        let same = assertion.htm == request.method && assertion.htu == request.target;
        if same { Ok(assertion) } else { Err(UpstreamAssertionFault::OtherRequest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://auth.test";
    const NOW: UnixMillis = UnixMillis(1_000_000);
    const REQUEST: ReceivedRequest<'_> =
        ReceivedRequest { base: "http://10.0.0.1:9100", method: "GET", target: "/v1/notes?page=2" };

    fn assertion() -> UpstreamAssertion {
        UpstreamAssertion {
            iss: ISSUER.into(),
            aud: REQUEST.base.into(),
            jti: "r1".into(),
            htm: REQUEST.method.into(),
            htu: REQUEST.target.into(),
            project: "notes".into(),
            service: "api".into(),
            sub: Some("ann".into()),
            scope: Scopes::parse("notes:read").unwrap(),
            ..UpstreamAssertion::default()
        }
        .made_at(NOW)
    }

    #[test]
    fn holds_for_one_request_to_one_upstream_for_thirty_seconds() {
        let key = SigningKey::from_seed("edge-1", &[3; 32]);
        let text = assertion().sign(&key).unwrap();
        let verify = |issuer: &str, request: &ReceivedRequest<'_>, at: u64| {
            let now = UnixMillis::from_seconds(at);
            UpstreamAssertion::verify(&text, &key.verification_key(), issuer, request, now)
        };
        assert_eq!(verify(ISSUER, &REQUEST, 1_000), Ok(assertion()));
        assert_eq!(verify(ISSUER, &REQUEST, 995), Ok(assertion()));
        assert_eq!(verify(ISSUER, &REQUEST, 1_029), Ok(assertion()));
        assert_eq!(verify(ISSUER, &REQUEST, 1_030), Err(UpstreamAssertionFault::OutOfTime));
        assert_eq!(verify(ISSUER, &REQUEST, 994), Err(UpstreamAssertionFault::OutOfTime));
        assert_eq!(verify("https://other.test", &REQUEST, 1_000), Err(UpstreamAssertionFault::WrongIssuer));
        let elsewhere = ReceivedRequest { base: "http://10.0.0.2:9100", ..REQUEST };
        assert_eq!(verify(ISSUER, &elsewhere, 1_000), Err(UpstreamAssertionFault::WrongAudience));
        for other in [
            ReceivedRequest { method: "POST", ..REQUEST },
            ReceivedRequest { target: "/v1/notes", ..REQUEST },
            ReceivedRequest { target: "/v1/notes?page=3", ..REQUEST },
        ] {
            assert_eq!(verify(ISSUER, &other, 1_000), Err(UpstreamAssertionFault::OtherRequest));
        }
    }

    #[test]
    fn the_target_is_the_one_of_the_request_line() {
        assert_eq!(received_target("http://10.0.0.1:9100", "/v1?a=1"), "/v1?a=1");
        assert_eq!(received_target("https://api.example.test/notes/v2", "/v1?a=/b"), "/notes/v2/v1?a=/b");
    }

    #[test]
    fn one_of_another_key_type_or_lifetime_is_refused() {
        let key = SigningKey::from_seed("edge-1", &[3; 32]);
        let refusal = |text: &str| {
            UpstreamAssertion::verify(text, &key.verification_key(), ISSUER, &REQUEST, NOW).unwrap_err()
        };
        let stranger = SigningKey::from_seed("edge-1", &[4; 32]);
        assert_eq!(
            refusal(&assertion().sign(&stranger).unwrap()),
            UpstreamAssertionFault::Token(TokenFault::BadSignature)
        );
        for typ in ["at+jwt", "edge-assertion+jwt", "jwt"] {
            assert_eq!(
                refusal(&key.sign(typ, &assertion()).unwrap()),
                UpstreamAssertionFault::Token(TokenFault::WrongType)
            );
        }
        let long = UpstreamAssertion { exp: 5_000, ..assertion() };
        assert_eq!(refusal(&long.sign(&key).unwrap()), UpstreamAssertionFault::OutOfTime);
    }
}

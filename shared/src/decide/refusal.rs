//! How a refusal looks: as a problem, as an OAuth error, or as a page for a person. It may not repeat what the caller sent
//! except by escaping it, and carries no secret.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use serde_json::json;

use super::{Endpoint, Facts};
use crate::{
    dpop::{self, ProofFault},
    gcra::{Outcome, Quota},
    header,
    jwt::TokenFault,
    oauth_error::OAuthError,
    policy::Tier,
    problem::ProblemType,
    scope::Scopes,
};

/// When to come back after an outage, in seconds: origin and policy are tried again every second.
const OUTAGE_RETRY_SECONDS: u64 = 2;

/// A request that ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How it is said.
    pub form: RefusalForm,
    /// `WWW-Authenticate`.
    pub challenge: Option<String>,
    /// `Allow`.
    pub allow: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The quota that was exceeded.
    pub quota: Option<QuotaReport>,
    /// Headers besides those, such as CORS'.
    pub headers: Vec<(&'static str, String)>,
}

/// How a refusal is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalForm {
    /// `application/problem+json`.
    Problem(ProblemType, String),
    /// OAuth's JSON (RFC 6749 §5.2).
    OAuth(OAuthError, &'static str),
    /// A page: the person at the browser is the only one who can be told.
    Page(&'static str),
    /// A page that says that the gateway is out of order for a moment.
    OutagePage(ProblemType, &'static str),
}

/// A quota and what became of it (draft-ietf-httpapi-ratelimit-headers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// The quota's name: no quote is in it.
    pub name: Cow<'static, str>,
    /// The quota.
    pub quota: Quota,
    /// Who counted.
    pub tier: Tier,
    /// The outcome.
    pub outcome: Outcome,
}

/// A response, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Refusal {
    /// A problem.
    pub fn problem(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self::of(RefusalForm::Problem(kind, detail.into()))
    }

    const fn of(form: RefusalForm) -> Self {
        Self { form, challenge: None, allow: None, retry_after: None, quota: None, headers: Vec::new() }
    }

    /// An OAuth error.
    pub const fn oauth(error: OAuthError, description: &'static str) -> Self {
        Self::of(RefusalForm::OAuth(error, description))
    }

    /// A page.
    pub const fn page(text: &'static str) -> Self {
        Self::of(RefusalForm::Page(text))
    }

    /// The body is larger than `limit` bytes.
    pub fn body_too_large(limit: impl core::fmt::Display) -> Self {
        Self::problem(ProblemType::BodyTooLarge, format!("The body is larger than {limit} bytes."))
    }

    /// The gateway cannot do this now: a page for a person, OAuth's error for its endpoints, a problem for everybody else.
    pub(super) fn outage(
        kind: ProblemType,
        endpoint: Option<Endpoint>,
        facts: &Facts<'_>,
        detail: &'static str,
    ) -> Self {
        let form = match endpoint {
            Some(Endpoint::Token | Endpoint::Revoke) => {
                RefusalForm::OAuth(OAuthError::TemporarilyUnavailable, detail)
            }
            Some(Endpoint::Authorize | Endpoint::Page) if facts.accepts_page() => {
                RefusalForm::OutagePage(kind, detail)
            }
            _ => RefusalForm::Problem(kind, detail.into()),
        };
        Self { retry_after: Some(OUTAGE_RETRY_SECONDS), ..Self::of(form) }
    }

    /// This refusal with more headers.
    pub(super) fn with_headers(mut self, headers: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Another origin's page asks for what it was not given.
    pub(super) fn origin_not_allowed() -> Self {
        Self::problem(
            ProblemType::OriginNotAllowed,
            "Pages of this origin may not make this request. Whoever runs the project can allow it (cors.origins).",
        )
    }

    /// The policy is older than this route bears.
    pub(super) fn policy_too_old() -> Self {
        let detail = "The edge's policy is older than this route allows (hard_limit). Try again in a moment.";
        Self {
            retry_after: Some(OUTAGE_RETRY_SECONDS),
            ..Self::problem(ProblemType::PolicyUnavailable, detail)
        }
    }

    /// No upstream answered, and none is left to try.
    pub(super) fn upstream(timed_out: bool) -> Self {
        if timed_out {
            return Self::problem(
                ProblemType::UpstreamTimeout,
                "The service behind this path did not begin to answer in time.",
            );
        }
        Self::problem(
            ProblemType::UpstreamUnavailable,
            "The service behind this path did not answer. Try again, or tell the people who run it.",
        )
    }

    /// The origin was to be asked about a credential, and said nothing that can be believed.
    pub(super) fn look_up_unavailable() -> Self {
        let detail =
            "Whose key this is must be asked of the origin, which did not answer. Try again in a moment.";
        Self {
            retry_after: Some(OUTAGE_RETRY_SECONDS),
            ..Self::problem(ProblemType::OriginUnavailable, detail)
        }
    }

    /// An API key or opaque token that is not of its form.
    pub(super) fn key_malformed() -> Self {
        Self::invalid_token(
            ProblemType::TokenMalformed,
            "The key is not whole: an API key is gw_, its environment, id, secret and checksum, as it was issued.",
        )
    }

    /// A token that is bound to a key came without a proof of it (RFC 9449 §7.1).
    pub(super) fn proof_missing() -> Self {
        let detail = "The token is bound to a key: send it as \"Authorization: DPoP …\" with a proof in the DPoP header.";
        Self::dpop("invalid_token", ProblemType::TokenBinding, detail)
    }

    /// The proof is refused (RFC 9449 §7.1).
    pub(super) fn proof(fault: ProofFault) -> Self {
        Self::dpop("invalid_dpop_proof", ProblemType::ProofInvalid, fault.describe())
    }

    fn dpop(error: &'static str, kind: ProblemType, detail: &'static str) -> Self {
        let challenge = format!("DPoP realm=\"gateward\", error=\"{error}\", algs=\"{}\"", dpop::ALGORITHMS);
        Self { challenge: Some(challenge), ..Self::problem(kind, detail) }
    }

    pub(super) fn method_not_allowed(allow: impl Into<String>) -> Self {
        let allow = allow.into();
        let detail = format!("Allowed here: {allow}.");
        Self { allow: Some(allow), ..Self::problem(ProblemType::MethodNotAllowed, detail) }
    }

    pub(super) fn rate_limited(report: QuotaReport) -> Self {
        let seconds = report.outcome.retry_after_seconds;
        let detail = format!(
            "The limit \"{}\" allows {} requests in {} s. Try again in {seconds} s.",
            report.name, report.quota.requests, report.quota.window_seconds
        );
        Self {
            retry_after: Some(seconds),
            quota: Some(report),
            ..Self::problem(ProblemType::RateLimited, detail)
        }
    }

    /// No credential came: a challenge without an error code (RFC 6750 §3).
    pub fn credential_missing() -> Self {
        let detail = "Send a credential that this service accepts, such as an access token as \"Authorization: Bearer …\".";
        Self {
            challenge: Some("Bearer realm=\"gateward\"".into()),
            ..Self::problem(ProblemType::CredentialMissing, detail)
        }
    }

    /// The token is refused (RFC 6750 §3.1 `invalid_token`).
    pub fn token(fault: TokenFault) -> Self {
        let (kind, detail) = match fault {
            TokenFault::TooLong => (ProblemType::TokenMalformed, "The token is longer than 8192 bytes."),
            TokenFault::Malformed => {
                (ProblemType::TokenMalformed, "The token is not three base64url parts of unambiguous JSON.")
            }
            TokenFault::ForbiddenHeader => (
                ProblemType::TokenMalformed,
                "The token's header brings a key, a certificate or an extension; none is accepted.",
            ),
            TokenFault::MissingClaim => {
                (ProblemType::TokenMalformed, "The token lacks a claim, or a claim has the wrong form.")
            }
            TokenFault::WrongAlgorithm => {
                (ProblemType::TokenSignature, "The token's algorithm is not its key's.")
            }
            TokenFault::BadSignature => (
                ProblemType::TokenSignature,
                "The token's signature does not verify with the key that it names.",
            ),
            TokenFault::WrongType => {
                (ProblemType::TokenWrongType, "The token is not an access token or service token.")
            }
            TokenFault::UnknownKey => {
                (ProblemType::TokenUnknownKey, "No key of that kid is in use. Get a new token.")
            }
            TokenFault::Expired => {
                (ProblemType::TokenExpired, "The token has expired. Refresh it or get a new one.")
            }
            TokenFault::NotYetValid => (
                ProblemType::TokenNotYetValid,
                "The token's nbf or iat lies in the future. Check the issuer's clock.",
            ),
            TokenFault::WrongIssuer => {
                (ProblemType::TokenWrongIssuer, "The token's iss is not this gateway.")
            }
            TokenFault::WrongAudience => {
                (ProblemType::TokenWrongAudience, "The token's aud does not name this project or service.")
            }
        };
        Self::invalid_token(kind, detail)
    }

    /// The token is refused for another reason (RFC 6750 §3.1 `invalid_token`).
    pub fn invalid_token(kind: ProblemType, detail: &'static str) -> Self {
        let challenge = format!(
            "Bearer realm=\"gateward\", error=\"invalid_token\", error_description=\"{}\"",
            kind.title()
        );
        Self { challenge: Some(challenge), ..Self::problem(kind, detail) }
    }

    /// A scope is missing (RFC 6750 §3.1 `insufficient_scope`).
    pub fn insufficient_scope(required: &Scopes, missing: &Scopes) -> Self {
        let challenge =
            format!("Bearer realm=\"gateward\", error=\"insufficient_scope\", scope=\"{required}\"");
        let detail = format!("The token lacks: {missing}.");
        Self { challenge: Some(challenge), ..Self::problem(ProblemType::InsufficientScope, detail) }
    }

    /// The client is not known or did not prove itself; challenged when it tried by header (RFC 6749 §5.2).
    pub fn invalid_client(by_header: bool, description: &'static str) -> Self {
        let challenge = by_header.then(|| "Basic realm=\"gateward\"".to_string());
        Self { challenge, ..Self::oauth(OAuthError::InvalidClient, description) }
    }

    /// The status.
    pub const fn status(&self) -> u16 {
        match &self.form {
            RefusalForm::Problem(kind, _) | RefusalForm::OutagePage(kind, _) => kind.status(),
            RefusalForm::OAuth(error, _) => error.status(),
            RefusalForm::Page(_) => 400,
        }
    }

    /// The problem's slug, OAuth's error code, or `page`.
    pub const fn kind(&self) -> &'static str {
        match &self.form {
            RefusalForm::Problem(kind, _) | RefusalForm::OutagePage(kind, _) => kind.slug(),
            RefusalForm::OAuth(error, _) => error.code(),
            RefusalForm::Page(_) => "page",
        }
    }

    /// A short, stable text: the kind and the status.
    pub fn summary(&self) -> String {
        format!("refuse {} {}", self.status(), self.kind())
    }

    /// The response.
    pub fn render(&self, issuer: &str, request_id: &str) -> Rendered {
        let mut headers =
            alloc::vec![("cache-control", "no-store".to_string()), ("x-request-id", request_id.to_string())];
        if let Some(challenge) = &self.challenge {
            headers.push(("www-authenticate", challenge.clone()));
        }
        if let Some(allow) = &self.allow {
            headers.push(("allow", allow.clone()));
        }
        if let Some(seconds) = self.retry_after {
            headers.push(("retry-after", seconds.to_string()));
        }
        if let Some(report) = &self.quota {
            headers.push(("ratelimit-policy", policy_field(report)));
            headers.push(("ratelimit", state_field(report)));
        }
        headers.extend(self.headers.iter().cloned());
        let body = match &self.form {
            RefusalForm::Problem(kind, detail) => {
                headers.push(("content-type", "application/problem+json".into()));
                kind.body(issuer, detail, request_id)
            }
            RefusalForm::OAuth(error, description) => {
                headers.push(("content-type", "application/json".into()));
                headers.push(("pragma", "no-cache".into()));
                json!({ "error": error.code(), "error_description": description }).to_string()
            }
            RefusalForm::Page(text) | RefusalForm::OutagePage(_, text) => {
                headers.push(("content-type", "text/html; charset=utf-8".into()));
                headers.push(("content-security-policy", PAGE_POLICY.into()));
                headers.push(("referrer-policy", "no-referrer".into()));
                let (title, advice) = match self.form {
                    RefusalForm::OutagePage(..) => ("One moment", OUTAGE_ADVICE),
                    _ => ("This sign-in cannot go on", SIGN_IN_ADVICE),
                };
                page(title, text, advice, request_id)
            }
        };
        headers.extend(header::security(issuer).into_iter().map(|(name, value)| (name, value.to_string())));
        Rendered { status: self.status(), headers, body }
    }
}

/// A quota as `RateLimit-Policy` has it (draft-ietf-httpapi-ratelimit-headers §3); `tier` is ours, and says how exact the count is.
pub(super) fn policy_field(report: &QuotaReport) -> String {
    let QuotaReport { name, quota, tier, .. } = report;
    format!("\"{name}\";q={};w={};tier={}", quota.requests, quota.window_seconds.max(1), tier.name())
}

/// What is left of a quota as `RateLimit` has it (§4).
pub(super) fn state_field(report: &QuotaReport) -> String {
    let QuotaReport { name, outcome, .. } = report;
    format!("\"{name}\";r={};t={}", outcome.remaining, outcome.reset_seconds)
}

/// No script, no style but our own sheet, no framing.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SIGN_IN_ADVICE: &str = "Nothing was shared with the application. Go back to it and try again; if this page comes back, tell the people who run it.";
const OUTAGE_ADVICE: &str =
    "Nothing was changed. Reload the page in a moment; if it stays like this, tell the people who run it.";

/// A page that works when the origin does not: its style sheet is a nicety.
fn page(title: &str, text: &str, advice: &str, request_id: &str) -> String {
    let mut shown_id = String::new();
    for character in
        request_id.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '-')
    {
        shown_id.push(character);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · Gateward</title>\n\
         <link rel=\"stylesheet\" href=\"/assets/gateward.css\">\n</head>\n<body>\n<main class=\"card\">\n<h1>{title}</h1>\n\
         <p>{text}</p>\n<p>{advice}</p>\n\
         <p class=\"muted\">Request {shown_id}</p>\n</main>\n</body>\n</html>\n"
    )
}

//! The decision: `decide(gate, facts, memory, now) → Verdict`. It may not do anything: no clock, no randomness, no I/O. What needs
//! a look-up is a [`Verdict`] that asks for it; the shell fetches, adds the answer to the [`Facts`] and asks again.

mod admission;
mod confirmation;
mod cookies;
mod cors;
mod credential;
mod endpoint;
mod facts;
mod health;
mod limits;
mod location;
mod memory;
mod metrics_token;
mod oauth;
mod project;
mod refusal;
#[doc(hidden)]
pub mod sample;
mod verdict;

pub use endpoint::{Endpoint, is_gateway_path};
pub use facts::{Answer, Certificate, ChargeAnswer, Facts, LookedUp, PlatformAnswer, QuestionId};
pub use location::{is_counted_by_location, refused_by_location};
pub use memory::Memory;
pub use metrics_token::MetricsToken;
pub use oauth::{
    INTROSPECTION_NEEDS_A_CALLER, MALFORMED_ASSERTION, REVOCATION_PARAMETERS, TOKEN_PARAMETERS,
    UNSUPPORTED_GRANT_TYPE, has_bearer,
};
pub use refusal::{QuotaReport, Refusal, RefusalForm, Rendered};
pub use verdict::{
    AnswerEdits, Charge, ConfirmationQuestion, CredentialQuestion, Document, SignatureQuestion, ToOrigin,
    ToUpstream, Verdict,
};

use crate::{
    assertion,
    code::CodeKey,
    gcra::Quota,
    header,
    jwt::{SigningKey, VerificationKey},
    path::CanonicalPath,
    policy::{ActivePolicy, Tier},
    problem::ProblemType,
    time::UnixMillis,
};

/// The longest path and query that is looked at, in bytes.
pub const MAX_TARGET_BYTES: usize = 8192;
/// How many headers a request may have.
pub const MAX_HEADERS: usize = 128;
/// How long its header names and values may be together, in bytes: room for a token of the longest kind and as much of cookies thrice.
pub const MAX_HEADER_BYTES: usize = 32 * 1024;
/// The largest form that an OAuth endpoint reads, in bytes.
pub const MAX_FORM_BYTES: usize = 16 * 1024;
/// The largest body that is forwarded to the origin, in bytes.
pub const MAX_ORIGIN_BODY_BYTES: usize = 64 * 1024;

/// What a door decides by: the policy in force and the secrets it was deployed with.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// The policy in force.
    pub active: &'a ActivePolicy,
    /// The key of authorization codes.
    pub code_key: &'a CodeKey,
    /// The shared secret of HS256 service tokens, if this door accepts them.
    pub service_secret: Option<&'a VerificationKey>,
    /// What a scrape must present, if anything.
    pub metrics_token: Option<&'a MetricsToken>,
    /// The key that the origin signs its statements with: policies, credentials, confirmations.
    pub origin_key: &'a VerificationKey,
    /// The key that signs what upstreams are told of a request; without one, services that want an assertion get no request.
    pub edge_key: Option<&'a SigningKey>,
    /// Where this door stands; upstreams of its region are preferred.
    pub region: Option<&'a str>,
    /// When the origin last confirmed the policy, by our clock at the latest.
    pub policy_made_at: UnixMillis,
    /// Whether there is an exact limiter to ask; without one, isolates count for themselves.
    pub has_exact_limits: bool,
}

/// Decides one request.
pub fn decide(gate: &Gate<'_>, facts: &Facts<'_>, memory: &mut Memory, now: UnixMillis) -> Verdict {
    match judge(gate, facts, memory, now) {
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// Decides one request while there is no policy, or none young enough: liveness and metrics are answered, all else is refused.
pub fn decide_without_policy(facts: &Facts<'_>, metrics_token: Option<&MetricsToken>) -> Verdict {
    let endpoint = endpoint_of(facts.target);
    let outcome = match endpoint {
        Some(Endpoint::Ping) => get(facts, Verdict::Answer(Document::Ping)),
        Some(Endpoint::Metrics) => metrics(facts, metrics_token),
        _ => Err(Refusal::outage(
            ProblemType::PolicyUnavailable,
            endpoint,
            facts,
            "The edge has no policy that is young enough to decide by. Try again in a moment.",
        )),
    };
    match outcome {
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// The refusal of a request that [`Verdict::Origin`] sent to an origin that did not answer.
pub fn origin_unavailable(facts: &Facts<'_>) -> Refusal {
    Refusal::outage(
        ProblemType::OriginUnavailable,
        endpoint_of(facts.target),
        facts,
        "The part of the gateway that signs people in and issues tokens did not answer. Try again in a moment.",
    )
}

/// The endpoint that a target names; `None` when its path is not canonical.
pub fn endpoint_of(target: &str) -> Option<Endpoint> {
    path_of(target).map(|path| Endpoint::of(&path))
}

/// Whether a request that the origin accepted can have revoked something.
pub fn may_revoke(method: &str, target: &str) -> bool {
    path_of(target).is_some_and(|path| Endpoint::may_revoke(method, &path))
}

/// The path of a target; `None` when it is not canonical.
fn path_of(target: &str) -> Option<CanonicalPath> {
    CanonicalPath::parse(target.split('?').next().unwrap_or_default()).ok()
}

fn metrics(facts: &Facts<'_>, token: Option<&MetricsToken>) -> Result<Verdict, Refusal> {
    if token.is_some_and(|token| !token.admits(facts.authorization)) {
        return Err(Refusal::credential_missing());
    }
    get(facts, Verdict::Answer(Document::Metrics))
}

fn judge(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    if facts.target.len() > MAX_TARGET_BYTES {
        return Err(Refusal::problem(
            ProblemType::RequestMalformed,
            "The path and query are longer than 8192 bytes.",
        ));
    }
    check_headers(facts)?;
    let (raw_path, query) = facts.target.split_once('?').unwrap_or((facts.target, ""));
    let path = CanonicalPath::parse(raw_path)
        .map_err(|fault| Refusal::problem(ProblemType::PathNotCanonical, fault.describe()))?;
    let limits = &gate.active.policy.limits;
    let address = facts.address_bytes();
    charge(facts, memory, b'a', address, limits.address, "address", now)?;
    match facts.method {
        // Content of these has no meaning (RFC 9110 §9.3.1), and who reads it as another request has been smuggled to.
        "GET" | "HEAD" if facts.has_body() => {
            return Err(Refusal::problem(
                ProblemType::RequestMalformed,
                "A GET or HEAD request may not carry a body.",
            ));
        }
        // Its answer would show the caller what the gateway adds (RFC 9110 §9.3.8).
        "TRACE" => return Err(Refusal::method_not_allowed("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")),
        _ => {}
    }
    let endpoint = Endpoint::of(&path);
    if endpoint.takes_credentials(facts.method) {
        charge(facts, memory, b'c', address, limits.credential, "credential", now)?;
    }
    match endpoint {
        Endpoint::Ping => get(facts, Verdict::Answer(Document::Ping)),
        Endpoint::Metrics => metrics(facts, gate.metrics_token),
        Endpoint::ServerMetadata => get(facts, Verdict::Answer(Document::ServerMetadata)),
        Endpoint::JwkSet => get(facts, Verdict::Answer(Document::JwkSet)),
        Endpoint::Authorize => oauth::authorize(gate, facts, query),
        Endpoint::Token | Endpoint::Revoke if cors::is_preflight(facts) => {
            cors::client_preflight(gate.active, facts).unwrap_or_else(|| Err(Refusal::origin_not_allowed()))
        }
        Endpoint::Token => oauth::with_cors(gate, facts, oauth::token(gate, facts, memory, now)),
        Endpoint::Revoke => oauth::with_cors(gate, facts, oauth::revoke(gate, facts, memory, now)),
        Endpoint::Introspect => oauth::introspect(gate, facts, memory, now),
        Endpoint::UserInfo => oauth::user_info(facts),
        Endpoint::Page => page(facts, &path, query),
        Endpoint::Api => api(facts, &path, query),
        Endpoint::Sync => sync(facts, &path, query),
        Endpoint::Nothing => {
            Err(Refusal::problem(ProblemType::NotFound, "No page, endpoint or project has this path."))
        }
        Endpoint::Project => project::decide(gate, facts, memory, &path, query, now),
    }
}

/// What is looked at is bounded before it is looked at.
fn check_headers(facts: &Facts<'_>) -> Result<(), Refusal> {
    let detail = if facts.header_bytes > MAX_HEADER_BYTES {
        "The headers are longer than 32768 bytes together."
    } else if facts.header_names.split('\n').count() > MAX_HEADERS {
        "There are more than 128 headers."
    } else {
        return Ok(());
    };
    Err(Refusal::problem(ProblemType::HeadersTooLarge, detail))
}

/// Counts one request against a quota, unless it was counted already before a look-up.
fn charge(
    facts: &Facts<'_>,
    memory: &mut Memory,
    kind: u8,
    key: [u8; 16],
    quota: Quota,
    name: &'static str,
    now: UnixMillis,
) -> Result<(), Refusal> {
    if facts.looked_up.already_charged {
        return Ok(());
    }
    let outcome = memory.charge(kind, key, quota, now);
    let report = || QuotaReport { name: name.into(), quota, tier: Tier::Isolate, outcome };
    if outcome.allowed { Ok(()) } else { Err(Refusal::rate_limited(report())) }
}

/// Counts a look-up of a credential that nothing here knows, as a try of one.
fn charge_look_up(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    now: UnixMillis,
) -> Result<(), Refusal> {
    let quota = gate.active.policy.limits.credential;
    let facts = Facts { looked_up: LookedUp { already_charged: false, ..facts.looked_up }, ..*facts };
    charge(&facts, memory, b'k', facts.address_bytes(), quota, "credential", now)
}

fn get(facts: &Facts<'_>, verdict: Verdict) -> Result<Verdict, Refusal> {
    if matches!(facts.method, "GET" | "HEAD") {
        Ok(verdict)
    } else {
        Err(Refusal::method_not_allowed("GET, HEAD"))
    }
}

/// A page of the origin. A state change must come from a page of ours (Fetch metadata; the origin checks its own token too).
fn page(facts: &Facts<'_>, path: &CanonicalPath, query: &str) -> Result<Verdict, Refusal> {
    match facts.method {
        "GET" | "HEAD" => {}
        "POST" if matches!(facts.fetch_site, None | Some("same-origin" | "none")) => {}
        "POST" => {
            return Err(Refusal::problem(
                ProblemType::CrossSiteRequest,
                "This form was sent from another site. Open the page here and send it again.",
            ));
        }
        _ => return Err(Refusal::method_not_allowed("GET, HEAD, POST")),
    }
    Ok(Verdict::Origin(ToOrigin::new(path.forwarded_after(0), query)))
}

/// The operators' interface. A browser sends no bearer token by itself, so that another site can make no request here that counts.
fn api(facts: &Facts<'_>, path: &CanonicalPath, query: &str) -> Result<Verdict, Refusal> {
    match facts.method {
        "DELETE" | "GET" | "HEAD" | "POST" | "PUT" => {}
        _ => return Err(Refusal::method_not_allowed("DELETE, GET, HEAD, POST, PUT")),
    }
    if facts.authorization.is_none() {
        return Err(Refusal::credential_missing());
    }
    Ok(Verdict::Origin(ToOrigin::new(path.forwarded_after(0), query)))
}

/// A webhook. It carries a secret of its own, which only the origin can judge, and comes from a server: there is no word on CORS.
fn sync(facts: &Facts<'_>, path: &CanonicalPath, query: &str) -> Result<Verdict, Refusal> {
    if facts.method != "POST" {
        return Err(Refusal::method_not_allowed("POST"));
    }
    let has_secret =
        facts.header_names.split('\n').any(|name| name.eq_ignore_ascii_case(header::WEBHOOK_SECRET));
    if !has_secret {
        let detail = "Send the webhook's secret as X-Webhook-Secret.";
        return Err(Refusal::problem(ProblemType::WebhookSecretRefused, detail));
    }
    let mut to_origin = ToOrigin::new(path.forwarded_after(0), query);
    to_origin.max_streamed_bytes = assertion::streamed_bytes(facts.method, &to_origin.target);
    let announced = facts.content_length.and_then(|length| length.trim().parse::<u64>().ok());
    match (to_origin.max_streamed_bytes, announced) {
        (Some(most), Some(length)) if length > most => Err(Refusal::body_too_large(most)),
        _ => Ok(Verdict::Origin(to_origin)),
    }
}

#[cfg(test)]
mod tests;

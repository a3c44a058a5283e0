//! The decision: `decide(gate, facts, memory, now) → Verdict`. It may not do anything: no clock, no randomness, no I/O. What needs
//! a look-up is a [`Verdict`] that asks for it; the shell fetches, adds the answer to the [`Facts`] and asks again.

mod credential;
mod endpoint;
mod facts;
mod memory;
mod oauth;
mod project;
mod refusal;
#[doc(hidden)]
pub mod sample;
mod verdict;

pub use endpoint::{Endpoint, is_gateway_path};
pub use facts::{Facts, PlatformAnswer};
pub use memory::Memory;
pub use refusal::{QuotaReport, Refusal, RefusalForm, Rendered};
pub use verdict::{Document, SignatureQuestion, ToOrigin, ToUpstream, Verdict};

use crate::{
    code::CodeKey, gcra::Quota, jwt::VerificationKey, path::CanonicalPath, policy::ActivePolicy,
    problem::ProblemType, time::UnixMillis,
};

/// The longest path and query that is looked at, in bytes.
pub const MAX_TARGET_BYTES: usize = 8192;
/// The largest form that an OAuth endpoint reads, in bytes.
pub const MAX_FORM_BYTES: usize = 16 * 1024;

/// What a door decides by: the policy in force and the secrets it was deployed with.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// The policy in force.
    pub active: &'a ActivePolicy,
    /// The key of authorization codes.
    pub code_key: &'a CodeKey,
    /// The shared secret of HS256 service tokens, if this door accepts them.
    pub service_secret: Option<&'a VerificationKey>,
}

/// Decides one request.
pub fn decide(gate: &Gate<'_>, facts: &Facts<'_>, memory: &mut Memory, now: UnixMillis) -> Verdict {
    match judge(gate, facts, memory, now) {
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Refuse(refusal),
    }
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
    let (raw_path, query) = facts.target.split_once('?').unwrap_or((facts.target, ""));
    let path = CanonicalPath::parse(raw_path)
        .map_err(|fault| Refusal::problem(ProblemType::PathNotCanonical, fault.describe()))?;
    let limits = &gate.active.policy.limits;
    let address = facts.address_bytes();
    charge(facts, memory, b'a', address, limits.address, "address", now)?;
    let endpoint = Endpoint::of(&path);
    if endpoint.takes_credentials(facts.method) {
        charge(facts, memory, b'c', address, limits.credential, "credential", now)?;
    }
    match endpoint {
        Endpoint::Ping => get(facts, Verdict::Answer(Document::Ping)),
        Endpoint::Metrics => get(facts, Verdict::Answer(Document::Metrics)),
        Endpoint::ServerMetadata => get(facts, Verdict::Answer(Document::ServerMetadata)),
        Endpoint::JwkSet => get(facts, Verdict::Answer(Document::JwkSet)),
        Endpoint::Authorize => oauth::authorize(gate, facts, query),
        Endpoint::Token => oauth::token(gate, facts, memory, now),
        Endpoint::Revoke => oauth::revoke(gate, facts, memory, now),
        Endpoint::Page => page(facts, &path, query),
        Endpoint::Nothing => {
            Err(Refusal::problem(ProblemType::NotFound, "No page, endpoint or project has this path."))
        }
        Endpoint::Project => project::decide(gate, facts, memory, &path, query, now),
    }
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
    if facts.already_charged {
        return Ok(());
    }
    let outcome = memory.charge(kind, key, quota, now);
    if outcome.allowed { Ok(()) } else { Err(Refusal::rate_limited(QuotaReport { name, quota, outcome })) }
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

#[cfg(test)]
mod tests;

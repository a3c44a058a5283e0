//! Rate limits of a project, a service and a route. It may not count twice: what was counted before a look-up stays counted, and what
//! the exact limiter counted is not counted here as well.

use alloc::{format, string::String, vec::Vec};

use super::{
    AnswerEdits, Charge, Facts, Gate, Memory, Refusal,
    facts::key_of,
    refusal::{QuotaReport, policy_field, state_field},
};
use crate::{
    policy::{Limit, LimitBy, Tier},
    time::UnixMillis,
};

/// Who is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted<'a> {
    pub(super) client: Option<&'a str>,
    pub(super) subject: Option<&'a str>,
    /// The credential's id.
    pub(super) key: Option<&'a str>,
}

/// Limits that stand on one thing.
pub(super) struct Level<'a> {
    /// `project`, `service` or `route`.
    pub(super) name: &'static str,
    /// What tells it from others of its kind: no line feed is in it.
    pub(super) scope: String,
    pub(super) limits: &'a [Limit],
}

/// What became of counting.
pub(super) enum Charged {
    /// Within every limit.
    Within(Vec<QuotaReport>),
    /// The exact limiter must count first.
    Ask(Vec<Charge>),
}

/// Counts a request against the limits of `levels`.
pub(super) fn charge(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    levels: &[Level<'_>],
    counted: Counted<'_>,
    now: UnixMillis,
) -> Result<Charged, Refusal> {
    if levels.iter().all(|level| level.limits.is_empty()) {
        return Ok(Charged::Within(Vec::new()));
    }
    let applying: Vec<(String, Charge, Tier)> = levels
        .iter()
        .flat_map(|level| level.limits.iter().map(move |limit| (level, limit)))
        .filter_map(|(level, limit)| {
            let key = key(level, limit.by, facts, counted)?;
            let tier = if gate.has_exact_limits { limit.tier } else { Tier::Isolate };
            Some((format!("{}-{}", level.name, limit.by.name()), Charge { key, quota: limit.quota }, tier))
        })
        .collect();
    let answer_to = |charge: &Charge| facts.looked_up.charges.iter().find(|answer| answer.key == charge.key);
    let open: Vec<Charge> = applying
        .iter()
        .filter(|(_, charge, tier)| *tier == Tier::Exact && answer_to(charge).is_none())
        .map(|(_, charge, _)| *charge)
        .collect();
    if !open.is_empty() {
        return Ok(Charged::Ask(open));
    }
    let mut reports = Vec::new();
    for (name, charge, tier) in applying {
        // An exact limiter that cannot be asked leaves the isolate to count: a project's requests go on, and the answer says so.
        let exact = answer_to(&charge).filter(|_| tier == Tier::Exact).and_then(|answer| answer.outcome);
        let outcome = exact.unwrap_or_else(|| memory.charge(b'l', charge.key, charge.quota, now));
        let tier = if exact.is_some() { Tier::Exact } else { Tier::Isolate };
        let report = QuotaReport { name: name.into(), quota: charge.quota, tier, outcome };
        if !outcome.allowed {
            return Err(Refusal::rate_limited(report));
        }
        reports.push(report);
    }
    Ok(Charged::Within(reports))
}

/// Says on the answer what is left (draft-ietf-httpapi-ratelimit-headers), in place of what the upstream says of its own.
pub(super) fn announce(reports: &[QuotaReport], answer: &mut AnswerEdits) {
    if reports.is_empty() {
        return;
    }
    let joined = |field: fn(&QuotaReport) -> String| reports.iter().map(field).collect::<Vec<_>>().join(", ");
    answer.set.push(("ratelimit-policy", joined(policy_field)));
    answer.set.push(("ratelimit", joined(state_field)));
}

/// The key of one count; `None` when the request has no such thing. Framed by line feeds: only the last part can hold one.
fn key(level: &Level<'_>, by: LimitBy, facts: &Facts<'_>, counted: Counted<'_>) -> Option<[u8; 16]> {
    let address;
    let counted = match by {
        LimitBy::Address => {
            address = format!("{:?}", facts.address_bytes());
            address.as_str()
        }
        LimitBy::Client => counted.client?,
        LimitBy::Subject => counted.subject?,
        LimitBy::Key => counted.key?,
        LimitBy::Service | LimitBy::Project => "",
    };
    Some(key_of(&format!("{}\n{}\n{}\n{counted}", level.name, level.scope, by.name())))
}

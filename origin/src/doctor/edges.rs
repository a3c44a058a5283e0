//! The policy, and how far it has come. An edge that nobody asks anything says nothing, and refreshes before it decides again: silence is
//! no finding, but an edge that decides by an old version is.

use super::Seen;
use super::examination::{Examination, Place, Unexamined};
use super::finding::Finding;
use super::outbox::duration;
use crate::policy::propagation;

/// Seconds in which every edge that decides has the newest version; and the age past which none decides.
const BOUNDS: (f64, f64) = (30.0, 300.0);

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let command = e.database(Place::Command)?;
    let state =
        propagation(command).await.map_err(|source| Unexamined::Refused { place: Place::Command, source })?;
    let mut seen = Seen::default();
    if state.policy_version == 0 {
        seen.findings.push(Finding::warning(
            "policy-missing",
            "policy",
            "no policy was ever compiled: no edge can decide anything",
            "Start gateward serve, and an edge: the policy is compiled when one asks for it.",
        ));
        return Ok(seen);
    }
    let age = (e.clock.now() - state.changed_at).as_seconds_f64();
    seen.facts.push(format!("policy version {}, changed {} ago", state.policy_version, duration(age)));
    for one in &state.isolates {
        let edge =
            if one.isolate.is_empty() { one.edge.clone() } else { format!("{} {}", one.edge, one.isolate) };
        #[allow(clippy::cast_precision_loss, reason = "an age in seconds")]
        let silent = one.age_seconds as f64;
        seen.facts.push(format!("{edge}: version {}, {} ago", one.policy_version, duration(silent)));
        // It asked after the change had had its time, and still decides by another version.
        let behind = age - silent;
        if one.policy_version >= state.policy_version || behind < BOUNDS.0 {
            continue;
        }
        let found = format!(
            "decides by policy version {} while {} has been in force for {}: what was revoked since is let through there",
            one.policy_version,
            state.policy_version,
            duration(behind)
        );
        let action = "Look at the edge's log for why it refuses the newer one: another POLICY_PUBLIC_KEY, another ISSUER, or a clock that is behind.";
        seen.findings.push(if behind < BOUNDS.1 {
            Finding::warning("edges-behind", edge, found, action)
        } else {
            Finding::failure("edges-behind", edge, found, action)
        });
    }
    if state.isolates.is_empty() {
        seen.facts.push("no edge has asked for ten minutes".to_owned());
    }
    Ok(seen)
}

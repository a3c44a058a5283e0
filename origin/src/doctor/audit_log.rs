//! The audit log: whether events are sealed, how old the latest checkpoint is, and whether it has reached the places it is published to. The
//! record is tamper-evident only up to a published checkpoint.

use super::Seen;
use super::examination::{Examination, Place, Unexamined};
use super::finding::Finding;
use super::outbox::duration;
use crate::audit::{AuditStatus, status};

/// Seconds for which a checkpoint, or its publication, may be missing: a warning, and a failure. One is due every second.
const LIMITS: (f64, f64) = (60.0, 900.0);

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let command = e.database(Place::Command)?;
    let state = status(command).await.map_err(|error| Unexamined::Other(error.to_string()))?;
    let mut seen = Seen::default();
    seen.facts.push(format!(
        "{} events in the log, {} queued for it, the oldest for {}",
        state.size,
        state.queued,
        duration(state.oldest_queued_seconds)
    ));
    seen.findings.extend(checkpoint(&state, &mut seen.facts));
    for place in &state.publications {
        let size = place.size.unwrap_or(0);
        seen.facts.push(format!("{}: has the checkpoint of {size} events", place.publisher));
        if place.behind_seconds < LIMITS.0 {
            continue;
        }
        let why = place.error.as_deref().unwrap_or("nothing was tried");
        let found = format!(
            "it has been without the latest checkpoint for {}, {} failures in a row: {why}",
            duration(place.behind_seconds),
            place.failures
        );
        let action = "Bring the place back, or correct how it is reached; publishing goes on by itself. Until then nobody outside could tell \
                      a change of the record since the last checkpoint that is there.";
        seen.findings.push(graded(
            "checkpoint-unpublished",
            &place.publisher,
            place.behind_seconds,
            found,
            action,
        ));
    }
    Ok(seen)
}

/// A log that has events which no checkpoint is of, for too long.
fn checkpoint(state: &AuditStatus, facts: &mut Vec<String>) -> Option<Finding> {
    let action = "See to it that gateward forward runs with AUDIT_SIGNING_KEY, and look into its log.";
    let Some(latest) = &state.checkpoint else {
        let found = format!("{} events are in the log, and no checkpoint was ever signed", state.size);
        return (state.size > 0).then(|| Finding::failure("checkpoint-old", "audit log", found, action));
    };
    facts.push(format!(
        "latest checkpoint: of {} events, {} ago, {} cosignatures",
        latest.size,
        duration(latest.age_seconds),
        latest.cosignatures
    ));
    let covered = u64::try_from(latest.size).unwrap_or(0);
    if state.size <= covered || latest.age_seconds < LIMITS.0 {
        return None;
    }
    let found = format!(
        "{} events are in the log after the latest checkpoint, which is {} old",
        state.size - covered,
        duration(latest.age_seconds)
    );
    Some(graded("checkpoint-old", "audit log", latest.age_seconds, found, action))
}

fn graded(id: &'static str, subject: &str, seconds: f64, found: String, action: &str) -> Finding {
    if seconds < LIMITS.1 {
        Finding::warning(id, subject, found, action)
    } else {
        Finding::failure(id, subject, found, action)
    }
}

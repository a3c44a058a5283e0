//! The outbox: how old the oldest row of each destination is and why it is still there, whether anybody carries it, and what was set aside.

use super::Seen;
use super::examination::{Examination, Place, Unexamined};
use super::finding::Finding;
use crate::outbox::{DestinationStatistics, statistics};

/// Seconds after which a row that nobody holds a lease for tells that nobody forwards. A forwarder looks several times a second.
const SILENT: f64 = 30.0;
/// Seconds from which a row is late, and from which it is a failure.
const LATE: (f64, f64) = (60.0, 900.0);

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let command = e.database(Place::Command)?;
    let all =
        statistics(command).await.map_err(|source| Unexamined::Refused { place: Place::Command, source })?;
    let mut seen = Seen::default();
    for state in &all {
        seen.facts.push(format!(
            "{}: {} queued, the oldest for {}",
            state.destination,
            state.queued,
            duration(state.oldest_seconds)
        ));
        seen.findings.extend(lag(state));
        if state.failed > 0 || state.parked_aggregates > 0 {
            let why = reason(e, &state.destination).await?;
            seen.findings.push(Finding::failure(
                "outbox-failed",
                state.destination.as_str(),
                format!(
                    "{} events of {} aggregates were set aside, after one of each was refused 5 times{why}",
                    state.failed, state.parked_aggregates
                ),
                format!(
                    "gateward outbox failed --destination {0} shows them. Mend the cause, then gateward outbox replay --destination {0} --all; \
                     or give them up with gateward outbox discard.",
                    state.destination
                ),
            ));
        }
    }
    Ok(seen)
}

fn lag(state: &DestinationStatistics) -> Option<Finding> {
    if !state.enabled || state.queued == 0 {
        return None;
    }
    let name = state.destination.as_str();
    let waits = format!("{} events wait, the oldest for {}", state.queued, duration(state.oldest_seconds));
    // Between two attempts nobody holds a lease, and with an open breaker neither.
    let is_idle = state.leased_lanes == 0 && state.breaker_failures == 0 && state.backing_off == 0;
    if is_idle && state.oldest_seconds >= SILENT {
        return Some(Finding::failure(
            "forwarder-silent",
            name,
            format!("{waits}, and nobody is carrying them"),
            "Start gateward forward (the service gateward-forward), and look at its log. Nothing is lost meanwhile.",
        ));
    }
    if state.oldest_seconds < LATE.0 {
        return None;
    }
    let why = [&state.breaker_error, &state.oldest_error].into_iter().flatten().next();
    let found = match why {
        Some(why) => format!("{waits}: {why}"),
        None => format!("{waits}; it is being carried, and more comes than goes"),
    };
    let action =
        "Look at the destination first. When it is well and the queue still grows, run more forwarders.";
    Some(if state.oldest_seconds < LATE.1 {
        Finding::warning("outbox-lag", name, found, action)
    } else {
        Finding::failure("outbox-lag", name, found, action)
    })
}

/// What the destination said of the newest row that it refused.
async fn reason(e: &Examination, destination: &str) -> Result<String, Unexamined> {
    let mut scope = e.scope(Place::Command).await?;
    let why: Option<Option<String>> = sqlx::query_scalar(
        "SELECT f.last_error FROM outbox_failed AS f JOIN outbox_destinations AS d ON d.id = f.destination_id
         WHERE d.name = $1 AND f.error_class = 'refused' ORDER BY f.failed_at DESC LIMIT 1",
    )
    .bind(destination)
    .fetch_optional(scope.connection())
    .await
    .map_err(super::examination::refused(Place::Command))?;
    Ok(why.flatten().map_or_else(String::new, |why| format!(", the last with: {why}")))
}

/// `4 min 12 s`.
pub(super) fn duration(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds of an age")]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..172_800 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} days", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity::{Failure, Warning};

    fn state(queued: i64, oldest_seconds: f64) -> DestinationStatistics {
        DestinationStatistics {
            destination: "read-database".to_owned(),
            enabled: true,
            disabled_reason: None,
            queued,
            oldest_seconds,
            oldest_error: None,
            backing_off: 0,
            failed: 0,
            parked_aggregates: 0,
            leased_lanes: 1,
            breaker_failures: 0,
            breaker_error: None,
            breaker_seconds: None,
        }
    }

    #[test]
    fn how_late_is_too_late_depends_on_whether_anybody_carries_it() {
        let id = |state: &DestinationStatistics| lag(state).map(|finding| (finding.id, finding.severity));
        assert_eq!(id(&state(0, 0.0)), None);
        assert_eq!(id(&state(5, 59.0)), None);
        assert_eq!(id(&state(5, 61.0)), Some(("outbox-lag", Warning)));
        assert_eq!(id(&state(5, 901.0)), Some(("outbox-lag", Failure)));
        let silent = DestinationStatistics { leased_lanes: 0, ..state(5, 31.0) };
        assert_eq!(id(&silent), Some(("forwarder-silent", Failure)));
        let away = DestinationStatistics {
            breaker_failures: 2,
            breaker_error: Some("gone".to_owned()),
            leased_lanes: 0,
            ..state(5, 61.0)
        };
        assert!(lag(&away).unwrap().found.ends_with("the oldest for 1 min 1 s: gone"));
        assert_eq!(id(&DestinationStatistics { enabled: false, ..state(5, 9_999.0) }), None);
    }

    #[test]
    fn an_age_is_short_to_read() {
        let said = [0.9, 59.0, 252.0, 7_260.0, 400_000.0].map(duration);
        assert_eq!(said, ["0 s", "59 s", "4 min 12 s", "2 h 1 min", "4 days"]);
    }
}

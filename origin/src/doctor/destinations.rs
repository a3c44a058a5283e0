//! The destinations: whether those that always are there are, which are disabled and why, which are away, and whether this host has their
//! credentials.

use super::Seen;
use super::examination::{Examination, Place, Unexamined};
use super::finding::Finding;
use crate::clock::Randomness;
use crate::outbox::destination::{AnyDestination, Registered, Surroundings, registered};
use crate::outbox::{DestinationStatistics, statistics};

/// What every gateway has.
const ALWAYS: [&str; 3] = ["read-database", "audit-log", "client-registry"];
/// Outages in a row from which somebody should act: by then it was tried for more than a minute.
const MANY: i32 = 7;

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let mut seen = Seen::default();
    let command = e.database(Place::Command)?;
    let refused = |source| Unexamined::Refused { place: Place::Command, source };
    let all = registered(&mut e.scope(Place::Command).await?).await.map_err(refused)?;
    let states = statistics(command).await.map_err(refused)?;
    for name in ALWAYS {
        if !all.iter().any(|destination| destination.name == name) {
            seen.findings.push(Finding::failure(
                "destination-missing",
                name,
                "the outbox knows no such destination: nothing is queued for it",
                "Run gateward migrate.",
            ));
        }
    }
    for (destination, state) in all
        .iter()
        .filter_map(|one| states.iter().find(|state| state.destination == one.name).map(|state| (one, state)))
    {
        seen.facts.push(fact(destination, state));
        seen.findings.extend(judge(destination, state));
        if destination.enabled {
            seen.findings.extend(credentials(e, destination, command));
        }
    }
    Ok(seen)
}

fn fact(destination: &Registered, state: &DestinationStatistics) -> String {
    let how = match (destination.enabled, state.breaker_failures) {
        (false, _) => "disabled".to_owned(),
        (true, 0) => "enabled".to_owned(),
        (true, failures) => format!("away {failures} times in a row"),
    };
    format!("{} ({}): {how}", destination.name, destination.kind)
}

fn judge(destination: &Registered, state: &DestinationStatistics) -> Option<Finding> {
    let name = destination.name.as_str();
    if !destination.enabled {
        let why = state.disabled_reason.as_deref().unwrap_or("by an operator");
        let found = format!("disabled: {why}. Nothing is queued for it or delivered to it");
        let action = "Enable it again with gateward destination enable, if it is to have events; what happened meanwhile it gets by a \
                      backfill or a rebuild.";
        // Those that always are there are not meant to be without events.
        return Some(if ALWAYS.contains(&name) || state.disabled_reason.is_some() {
            Finding::failure("destination-disabled", name, found, action)
        } else {
            Finding::warning("destination-disabled", name, found, action)
        });
    }
    if state.breaker_failures == 0 {
        return None;
    }
    let next =
        state.breaker_seconds.map_or_else(String::new, |seconds| format!("; tried again in {seconds:.0} s"));
    let why = state.breaker_error.as_deref().unwrap_or("no reason was kept");
    let found = format!("away, {} times in a row: {why}{next}", state.breaker_failures);
    let action = "Bring it back, or correct its credentials. Its events wait, in order, and no row is charged an attempt.";
    Some(if state.breaker_failures < MANY {
        Finding::warning("destination-away", name, found, action)
    } else {
        Finding::failure("destination-away", name, found, action)
    })
}

/// Whether a forwarder on this host could open it. Nothing is connected to.
fn credentials(
    e: &Examination,
    destination: &Registered,
    command: &crate::database::Database,
) -> Option<Finding> {
    let surroundings = Surroundings {
        source: e.source.clone(),
        command: command.clone(),
        clock: e.clock.clone(),
        randomness: Randomness::System,
    };
    match AnyDestination::open(destination, &surroundings) {
        Ok(opened) => {
            // It shares the doctor's own connections where it is given them; only its own are closed.
            drop(opened);
            None
        }
        Err(faults) => {
            let found: Vec<String> =
                faults.0.iter().map(|fault| format!("{} {}", fault.variable, fault.why)).collect();
            Some(Finding::warning(
                "destination-credentials",
                destination.name.as_str(),
                format!("a forwarder with this environment would not start: {}", found.join("; ")),
                faults.0.first().map_or_else(String::new, |fault| fault.fix.clone()),
            ))
        }
    }
}

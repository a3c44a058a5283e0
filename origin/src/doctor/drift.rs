//! What is made of events, against the events; and mending it, where that is asked for.

use super::examination::{Examination, Place, Unexamined};
use super::finding::Finding;
use super::{PATIENCE_OF_DRIFT, Repair, Seen};
use crate::projection::Store;
use crate::projection::drift::{self, Drift, DriftError, Kind, Reach};
use crate::projection::repair::{Refused, repair};

/// How many rows are named in a finding; all of them stand in the JSON of a repair.
const NAMED: usize = 10;

pub(super) async fn check(e: &Examination, store: Store, mend: bool) -> Result<Seen, Unexamined> {
    let command = e.database(Place::Command)?;
    let database = e.database(store.into())?;
    let mut seen = Seen::default();
    let reach = || Reach { deadline: Some(e.clock.instant() + PATIENCE_OF_DRIFT / 4), ..Reach::default() };
    let mut found =
        drift::find(store, command, database, reach()).await.map_err(|error| unexamined(&error))?;
    let mut refused = Vec::new();
    if mend && !found.differences.is_empty() {
        let repaired = repair(&found, command, database).await.map_err(|error| unexamined(&error))?;
        refused.clone_from(&repaired.refused);
        seen.repair = Some(Repair { store, repaired });
        found = drift::find(store, command, database, reach()).await.map_err(|error| unexamined(&error))?;
    }
    seen.facts.push(format!("{} compared, {} differ", rows(store, found.compared), found.differences.len()));
    seen.findings.extend(finding(&found, &refused));
    if !found.is_complete {
        seen.findings.push(Finding::warning(
            "drift-incomplete",
            name(store),
            format!("only {} were compared, and {} that differ were listed", rows(store, found.compared), found.differences.len()),
            "When so much differs, rebuild it: gateward project rebuild. When there is just a lot of it, run gateward doctor when it is less busy.",
        ));
    }
    Ok(seen)
}

fn rows(store: Store, count: u64) -> String {
    match store {
        Store::Read => format!("{count} events"),
        Store::Registry => format!("{count} rows"),
    }
}

fn name(store: Store) -> &'static str {
    match store {
        Store::Read => "read side",
        Store::Registry => "client registry",
    }
}

fn finding(found: &Drift, refused: &[Refused]) -> Option<Finding> {
    if found.differences.is_empty() {
        return None;
    }
    let count = |kind| found.differences.iter().filter(|difference| difference.kind == kind).count();
    let named: Vec<String> = found
        .differences
        .iter()
        .take(NAMED)
        .map(|difference| format!("{} {} {}", difference.kind.name(), difference.table, difference.id))
        .collect();
    let more = found.differences.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let summary = format!(
        "{} missing, {} changed, {} extra: {}{more}",
        count(Kind::Missing),
        count(Kind::Changed),
        count(Kind::Extra),
        named.join(", ")
    );
    let id = if found.store == Store::Read { "read-drift" } else { "registry-drift" };
    let (summary, action) = match refused.first() {
        Some(Refused { reason, .. }) => (
            format!("{summary}. {} of them the store does not take: {reason}", refused.len()),
            "Mend the table first (the message says what is in the way), then run gateward doctor --repair again.",
        ),
        None => (
            summary,
            "gateward doctor --repair projects these rows again and removes the extra ones; it says which.",
        ),
    };
    Some(Finding::failure(id, name(found.store), summary, action))
}

fn unexamined(error: &DriftError) -> Unexamined {
    Unexamined::Other(error.to_string())
}

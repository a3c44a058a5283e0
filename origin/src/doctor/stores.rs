//! Whether each store answers, to the login and in the role that the gateway uses there.

use super::Seen;
use super::examination::Examination;
use super::finding::Finding;
use crate::database::DatabaseError;

pub(super) fn check(e: &Examination) -> Seen {
    let mut seen = Seen::default();
    for found in &e.stores {
        let (name, variable) = (found.place.name(), found.place.variable());
        let Some(url) = &found.url else {
            // Why is a finding of the configuration's.
            seen.facts.push(format!("{name}: no usable {variable}"));
            continue;
        };
        let finding = match &found.fault {
            None => {
                seen.facts.push(format!("{name}: {} as {}", url.database(), url.username()));
                continue;
            }
            Some(fault @ DatabaseError::RoleDenied { .. }) => Finding::failure(
                "role-missing",
                name,
                fault.to_string(),
                format!(
                    "Run gateward migrate with this {variable} set: it creates the roles and grants them."
                ),
            ),
            Some(fault) => Finding::failure(
                "database-unreachable",
                name,
                format!("{} as {}: {fault}", url.database(), url.username()),
                format!("Start it, or correct {variable}. Until then what needs it waits; nothing is lost."),
            ),
        };
        seen.findings.push(finding);
    }
    seen
}

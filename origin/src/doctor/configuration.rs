//! The configuration: every fault that `gateward check` would name.

use super::Seen;
use super::examination::Examination;
use super::finding::Finding;
use crate::configuration::{self, Faults};

pub(super) fn check(e: &Examination) -> Seen {
    let mut seen = Seen::default();
    if let Err(Faults(faults)) = configuration::check(&e.source) {
        seen.findings = faults
            .into_iter()
            .map(|fault| {
                let found = format!("{} {}", fault.variable, fault.why);
                Finding::failure("configuration", fault.variable.as_ref(), found, fault.fix)
            })
            .collect();
    }
    seen
}

//! This host's clock against each store's. Times of tokens come from here, those of leases and retries from the command database.

use super::Seen;
use super::examination::Examination;
use super::finding::Finding;

/// Seconds from which it is worth a look, and from which tokens are refused for it.
const LIMITS: (f64, f64) = (1.0, 5.0);

pub(super) fn check(e: &Examination) -> Seen {
    let mut seen = Seen::default();
    for found in &e.stores {
        let Some((ahead, uncertain)) = found.skew else { continue };
        let name = found.place.name();
        seen.facts.push(format!("{name}: {ahead:+.3} s, give or take {uncertain:.3} s"));
        let least = ahead.abs() - uncertain;
        if least < LIMITS.0 {
            continue;
        }
        let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
        let found = format!("its clock is {:.1} s {direction} this host's", ahead.abs());
        let action = "Synchronise both clocks (chrony, systemd-timesyncd). Tokens are stamped by this host, leases by the command database.";
        seen.findings.push(if least < LIMITS.1 {
            Finding::warning("clock-skew", name, found, action)
        } else {
            Finding::failure("clock-skew", name, found, action)
        });
    }
    seen
}

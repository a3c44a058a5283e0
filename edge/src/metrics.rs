//! Counters of one isolate in Prometheus' text format (version 0.0.4). They may not have a label that a caller can invent.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use shared::time::UnixMillis;

/// What was counted since this isolate started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    decisions: BTreeMap<(&'static str, &'static str), u64>,
    refreshes: BTreeMap<&'static str, u64>,
    upstream_failures: u64,
}

/// The policy in force, as metrics tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyState {
    pub(crate) version: u64,
    pub(crate) made_at: UnixMillis,
}

fn increment(count: &mut u64) {
    *count = count.saturating_add(1);
}

impl Counters {
    /// Counts a decision: the endpoint's name and the verdict's outcome.
    pub(crate) fn decision(&mut self, endpoint: &'static str, outcome: &'static str) {
        increment(self.decisions.entry((endpoint, outcome)).or_default());
    }

    /// Counts an attempt to refresh the policy.
    pub(crate) fn refresh(&mut self, outcome: &'static str) {
        increment(self.refreshes.entry(outcome).or_default());
    }

    /// Counts an upstream that did not answer.
    pub(crate) fn upstream_failure(&mut self) {
        increment(&mut self.upstream_failures);
    }

    /// The text that a scrape gets.
    pub(crate) fn render(&self, policy: Option<PolicyState>, now: UnixMillis) -> String {
        let mut text = String::new();
        family(
            &mut text,
            "gateward_edge_decisions_total",
            "counter",
            "Decisions of this isolate, by endpoint and outcome.",
        );
        for ((endpoint, outcome), count) in &self.decisions {
            let labels = format!("{{endpoint=\"{endpoint}\",outcome=\"{outcome}\"}}");
            sample(&mut text, "gateward_edge_decisions_total", &labels, count);
        }
        family(
            &mut text,
            "gateward_edge_policy_refreshes_total",
            "counter",
            "Attempts of this isolate to refresh its policy, by outcome.",
        );
        for (outcome, count) in &self.refreshes {
            sample(
                &mut text,
                "gateward_edge_policy_refreshes_total",
                &format!("{{outcome=\"{outcome}\"}}"),
                count,
            );
        }
        family(
            &mut text,
            "gateward_edge_upstream_failures_total",
            "counter",
            "Requests of this isolate that no upstream answered.",
        );
        sample(&mut text, "gateward_edge_upstream_failures_total", "", &self.upstream_failures);
        if let Some(policy) = policy {
            family(
                &mut text,
                "gateward_edge_policy_version",
                "gauge",
                "Version of the policy in force in this isolate.",
            );
            sample(&mut text, "gateward_edge_policy_version", "", &policy.version);
            family(
                &mut text,
                "gateward_edge_policy_age_seconds",
                "gauge",
                "Time since the origin last confirmed the policy in force.",
            );
            let age = now.since(policy.made_at);
            let seconds = format!("{}.{:03}", age.div_euclid(1000), age.rem_euclid(1000));
            sample(&mut text, "gateward_edge_policy_age_seconds", "", &seconds);
        }
        text
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(text: &mut String, name: &str, labels: &str, value: &dyn core::fmt::Display) {
    let _ = writeln!(text, "{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_reads_what_was_counted() {
        let mut counters = Counters::default();
        counters.decision("project", "to_upstream");
        counters.decision("project", "to_upstream");
        counters.decision("token", "invalid_grant");
        counters.refresh("changed");
        counters.upstream_failure();
        let state = PolicyState { version: 7, made_at: UnixMillis(1_000) };
        let text = counters.render(Some(state), UnixMillis(3_250));
        for line in [
            "# TYPE gateward_edge_decisions_total counter",
            "gateward_edge_decisions_total{endpoint=\"project\",outcome=\"to_upstream\"} 2",
            "gateward_edge_decisions_total{endpoint=\"token\",outcome=\"invalid_grant\"} 1",
            "gateward_edge_policy_refreshes_total{outcome=\"changed\"} 1",
            "gateward_edge_upstream_failures_total 1",
            "gateward_edge_policy_version 7",
            "gateward_edge_policy_age_seconds 2.250",
        ] {
            assert!(text.lines().any(|got| got == line), "{line}\n{text}");
        }
        assert!(!Counters::default().render(None, UnixMillis(0)).contains("policy_version"));
    }
}

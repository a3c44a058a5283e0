//! Counters of one isolate in Prometheus' text format (version 0.0.4). They may not have a label that a caller can invent.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use shared::{policy::FreshnessBounds, time::UnixMillis};

/// Upper bounds of the histogram's buckets in milliseconds, and as a scrape names them.
const BUCKETS: [(u32, &str); 11] = [
    (5, "0.005"),
    (10, "0.01"),
    (25, "0.025"),
    (50, "0.05"),
    (100, "0.1"),
    (250, "0.25"),
    (500, "0.5"),
    (1_000, "1"),
    (2_500, "2.5"),
    (5_000, "5"),
    (10_000, "10"),
];

/// How long upstreams took to begin their answers.
#[derive(Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_millis: u64,
}

/// What was counted since this isolate started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    decisions: BTreeMap<(&'static str, &'static str), u64>,
    refreshes: BTreeMap<&'static str, u64>,
    upstream_failures: BTreeMap<&'static str, u64>,
    look_ups: BTreeMap<(&'static str, &'static str), u64>,
    limits: BTreeMap<(&'static str, &'static str), u64>,
    durations: Durations,
}

/// What a scrape reads besides the counters: the state of things now.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The policy in force.
    pub(crate) policy: Option<PolicyState>,
    /// Which of the bindings that may be left out are there.
    pub(crate) bindings: Vec<(&'static str, bool)>,
    /// How many upstreams are left alone.
    pub(crate) ejected_upstreams: usize,
}

/// The policy in force, as metrics tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyState {
    pub(crate) version: u64,
    pub(crate) made_at: UnixMillis,
    /// How old it may be, and so how long a revocation may take.
    pub(crate) freshness: FreshnessBounds,
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

    /// Counts a failure of an upstream: what it did.
    pub(crate) fn upstream_failure(&mut self, kind: &'static str) {
        increment(self.upstream_failures.entry(kind).or_default());
    }

    /// Counts a question to the origin or the platform: what was asked, and what came of it.
    pub(crate) fn look_up(&mut self, kind: &'static str, outcome: &'static str) {
        increment(self.look_ups.entry((kind, outcome)).or_default());
    }

    /// Counts what a limiter outside this isolate said, and what this isolate's own refused.
    pub(crate) fn limit(&mut self, tier: &'static str, outcome: &'static str) {
        increment(self.limits.entry((tier, outcome)).or_default());
    }

    /// Counts the time until an upstream's answer began.
    pub(crate) fn upstream_took(&mut self, millis: u32) {
        let Durations { buckets, count, sum_millis } = &mut self.durations;
        increment(count);
        *sum_millis = sum_millis.saturating_add(millis.into());
        let place = BUCKETS.iter().position(|(bound, _)| millis <= *bound);
        if let Some(bucket) = place.and_then(|index| buckets.get_mut(index)) {
            increment(bucket);
        }
    }

    /// The text that a scrape gets.
    pub(crate) fn render(&self, state: &State, now: UnixMillis) -> String {
        let mut text = String::new();
        let name = "gateward_edge_decisions_total";
        family(&mut text, name, "counter", "Decisions of this isolate, by endpoint and outcome.");
        pairs(&mut text, name, ["endpoint", "outcome"], &self.decisions);
        let name = "gateward_edge_policy_refreshes_total";
        family(&mut text, name, "counter", "Attempts of this isolate to refresh its policy, by outcome.");
        singles(&mut text, name, "outcome", &self.refreshes);
        let name = "gateward_edge_upstream_failures_total";
        family(&mut text, name, "counter", "Failures of upstreams that this isolate saw, by kind.");
        singles(&mut text, name, "kind", &self.upstream_failures);
        let name = "gateward_edge_upstreams_ejected";
        family(&mut text, name, "gauge", "Upstreams that this isolate leaves alone because they failed.");
        sample(&mut text, name, "", &state.ejected_upstreams);
        durations(&mut text, &self.durations);
        let name = "gateward_edge_look_ups_total";
        family(&mut text, name, "counter", "Questions of this isolate to origin and platform, by outcome.");
        pairs(&mut text, name, ["kind", "outcome"], &self.look_ups);
        let name = "gateward_edge_limits_total";
        family(
            &mut text,
            name,
            "counter",
            "Answers of limiters outside this isolate, and refusals of its own, by tier.",
        );
        pairs(&mut text, name, ["tier", "outcome"], &self.limits);
        let name = "gateward_edge_binding";
        family(&mut text, name, "gauge", "Whether a binding that may be left out is there.");
        for (binding, is_bound) in &state.bindings {
            sample(&mut text, name, &format!("{{name=\"{binding}\"}}"), &u8::from(*is_bound));
        }
        if let Some(policy) = state.policy {
            let name = "gateward_edge_policy_version";
            family(&mut text, name, "gauge", "Version of the policy in force in this isolate.");
            sample(&mut text, name, "", &policy.version);
            let name = "gateward_edge_policy_age_seconds";
            family(&mut text, name, "gauge", "Time since the origin last confirmed the policy in force.");
            let age = now.since(policy.made_at);
            let seconds = format!("{}.{:03}", age.div_euclid(1000), age.rem_euclid(1000));
            sample(&mut text, name, "", &seconds);
            let name = "gateward_edge_revocation_bound_seconds";
            family(
                &mut text,
                name,
                "gauge",
                "How long a revocation may take to bite here while the origin can be reached.",
            );
            sample(&mut text, name, "", &policy.freshness.revocation_bound_seconds());
            let name = "gateward_edge_policy_hard_limit_seconds";
            family(&mut text, name, "gauge", "Age from which nothing is decided by the policy in force.");
            sample(&mut text, name, "", &policy.freshness.hard_seconds);
        }
        text
    }
}

fn durations(text: &mut String, durations: &Durations) {
    let name = "gateward_edge_upstream_seconds";
    family(text, name, "histogram", "Time until an upstream's answer began, as this isolate saw it.");
    let mut up_to_here = 0_u64;
    for (count, (_, bound)) in durations.buckets.iter().zip(BUCKETS) {
        up_to_here = up_to_here.saturating_add(*count);
        sample(text, &format!("{name}_bucket"), &format!("{{le=\"{bound}\"}}"), &up_to_here);
    }
    sample(text, &format!("{name}_bucket"), "{le=\"+Inf\"}", &durations.count);
    let (seconds, rest) = (durations.sum_millis.div_euclid(1000), durations.sum_millis.rem_euclid(1000));
    sample(text, &format!("{name}_sum"), "", &format!("{seconds}.{rest:03}"));
    sample(text, &format!("{name}_count"), "", &durations.count);
}

fn singles(text: &mut String, name: &str, label: &str, counts: &BTreeMap<&'static str, u64>) {
    for (value, count) in counts {
        sample(text, name, &format!("{{{label}=\"{value}\"}}"), count);
    }
}

fn pairs(
    text: &mut String,
    name: &str,
    [first, second]: [&str; 2],
    counts: &BTreeMap<(&'static str, &'static str), u64>,
) {
    for ((one, other), count) in counts {
        sample(text, name, &format!("{{{first}=\"{one}\",{second}=\"{other}\"}}"), count);
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
        counters.upstream_failure("timed_out");
        counters.look_up("credential", "answered");
        counters.limit("exact", "refused");
        for millis in [3, 5, 90, 20_000] {
            counters.upstream_took(millis);
        }
        let state = State {
            policy: Some(PolicyState {
                version: 7,
                made_at: UnixMillis(1_000),
                freshness: FreshnessBounds::default(),
            }),
            ejected_upstreams: 2,
            bindings: vec![("EXACT_LIMITS", true), ("REGION", false)],
        };
        let text = counters.render(&state, UnixMillis(3_250));
        for line in [
            "# TYPE gateward_edge_decisions_total counter",
            "gateward_edge_decisions_total{endpoint=\"project\",outcome=\"to_upstream\"} 2",
            "gateward_edge_decisions_total{endpoint=\"token\",outcome=\"invalid_grant\"} 1",
            "gateward_edge_policy_refreshes_total{outcome=\"changed\"} 1",
            "gateward_edge_upstream_failures_total{kind=\"timed_out\"} 1",
            "gateward_edge_look_ups_total{kind=\"credential\",outcome=\"answered\"} 1",
            "gateward_edge_limits_total{tier=\"exact\",outcome=\"refused\"} 1",
            "gateward_edge_upstreams_ejected 2",
            "gateward_edge_upstream_seconds_bucket{le=\"0.005\"} 2",
            "gateward_edge_upstream_seconds_bucket{le=\"0.05\"} 2",
            "gateward_edge_upstream_seconds_bucket{le=\"0.1\"} 3",
            "gateward_edge_upstream_seconds_bucket{le=\"10\"} 3",
            "gateward_edge_upstream_seconds_bucket{le=\"+Inf\"} 4",
            "gateward_edge_upstream_seconds_sum 20.098",
            "gateward_edge_upstream_seconds_count 4",
            "gateward_edge_binding{name=\"EXACT_LIMITS\"} 1",
            "gateward_edge_binding{name=\"REGION\"} 0",
            "gateward_edge_policy_version 7",
            "gateward_edge_policy_age_seconds 2.250",
            "gateward_edge_revocation_bound_seconds 6",
            "gateward_edge_policy_hard_limit_seconds 300",
        ] {
            assert!(text.lines().any(|got| got == line), "{line}\n{text}");
        }
        assert!(!Counters::default().render(&State::default(), UnixMillis(0)).contains("policy_version"));
    }
}

//! What a seed chooses: the load, who dies when, and which lies the destinations tell. Everything is chosen before anything starts,
//! and moments are counts (of changes made, of times a place was passed, of commits), so that a seed means the same every time.

use serde::Serialize;

use crate::seed::Stream;

/// Where a forwarder may end on purpose, and how often it may pass there at most before.
const FORWARDER_FAILPOINTS: [(&str, u64); 6] = [
    ("forwarder.before_delivery", 12),
    ("destination.before_commit", 12),
    ("forwarder.mid_batch", 2),
    ("forwarder.after_delivery", 12),
    ("forwarder.in_acknowledgement", 12),
    ("forwarder.after_acknowledgement", 12),
];
/// The same of the origin: each request passes a few times.
const ORIGIN_FAILPOINTS: [(&str, u64); 2] = [("scope.before_commit", 60), ("scope.after_commit", 60)];

/// A process that ends when it passes a place for the `times`th time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failpoint {
    pub(crate) place: &'static str,
    pub(crate) times: u64,
}

/// How a Postgres is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Crash {
    /// SIGQUIT: what `pg_ctl stop -m immediate` sends. Nothing is written out; the next start recovers.
    Immediate,
    /// SIGKILL of the postmaster; its backends notice and go.
    Kill,
}

/// What is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    KillOrigin,
    KillForwarder(usize),
    /// SIGTERM: it gives its leases back and is started again.
    TerminateForwarder(usize),
    /// SIGSTOP: it becomes a zombie once its leases have run out.
    StopForwarder(usize),
    /// SIGCONT to all.
    ContinueForwarders,
    CrashCommandDatabase(Crash),
    CrashSinkDatabase(Crash),
    /// Every connection to the sinks is cut.
    CutSinks,
    /// Leases, waits and breakers of the outbox end at once, as if their time had come.
    PassTime,
    /// One more forwarder, once, beside the others.
    ForwardOnce,
}

/// An action and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// Acknowledged changes before it.
    pub(crate) after: u64,
    /// Milliseconds after that, to meet other phases of the same work.
    pub(crate) then_ms: u64,
    pub(crate) action: Action,
}

/// What a sink does with one commit (of Postgres' protocol) or one request (of HTTP) instead of what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lie {
    /// Takes it, and cuts the connection instead of saying so.
    AppliesThenCuts,
    /// Takes it, and never answers.
    AppliesThenHangs,
    /// Takes it this much later, whether or not anybody still waits.
    AppliesLate(u64),
    /// Cuts the connection in the middle of what it is sent.
    CutsInTheMiddle,
    /// Takes nothing and cuts the connection.
    CutsBefore,
    /// HTTP: takes it and answers with this status.
    AppliesThenSays(u16),
    /// HTTP: takes the first half and answers with this status.
    AppliesHalfThenSays(u16),
    /// HTTP: takes nothing and answers with this status.
    Says(u16),
}

/// A lie and which commit or request it is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ToldLie {
    /// Counted from 1.
    pub(crate) at: u64,
    pub(crate) lie: Lie,
}

/// Everything a seed chooses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Over how many aggregates the appended events go.
    pub(crate) aggregates: u64,
    /// Events appended by the load driver, through the real append.
    pub(crate) events: u64,
    /// Writers that append them.
    pub(crate) appenders: u64,
    /// Changes made by requests to the real origin.
    pub(crate) requests: u64,
    /// Forwarders that run, and where the first process of each ends.
    pub(crate) forwarders: Vec<Option<Failpoint>>,
    pub(crate) origin: Option<Failpoint>,
    pub(crate) faults: Vec<Fault>,
    /// What the Postgres sink does.
    pub(crate) postgres_lies: Vec<ToldLie>,
    /// What the HTTP sink does.
    pub(crate) http_lies: Vec<ToldLie>,
    /// Whether the rest is carried by `forward --once`, two at a time, instead of the services.
    pub(crate) ends_with_once: bool,
}

impl Plan {
    /// A load and nothing else.
    pub(crate) fn peaceful(seed: u64, events: u64, requests: u64) -> Self {
        Self {
            seed,
            aggregates: 20,
            events,
            appenders: 4,
            requests,
            forwarders: Vec::new(),
            origin: None,
            faults: Vec::new(),
            postgres_lies: Vec::new(),
            http_lies: Vec::new(),
            ends_with_once: false,
        }
    }

    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut stream = Stream::of(seed);
        let events = stream.between(60, 240);
        let requests = stream.between(4, 16);
        let forwarders: Vec<Option<Failpoint>> =
            (0..stream.between(1, 3)).map(|_| failpoint(&mut stream, 60, &FORWARDER_FAILPOINTS)).collect();
        let origin = failpoint(&mut stream, 30, &ORIGIN_FAILPOINTS);
        let mut faults: Vec<Fault> = (0..stream.between(3, 6))
            .map(|_| Fault {
                after: stream.between(1, events + requests),
                then_ms: stream.between(0, 40),
                action: action(&mut stream, forwarders.len()),
            })
            .collect();
        faults.sort_by_key(|fault| fault.after);
        Self {
            seed,
            aggregates: stream.between(2, 30),
            events,
            appenders: stream.between(1, 4),
            requests,
            origin,
            faults,
            postgres_lies: postgres_lies(&mut stream),
            http_lies: http_lies(&mut stream),
            ends_with_once: stream.chance(30),
            forwarders,
        }
    }
}

fn failpoint(stream: &mut Stream, percent: u64, places: &[(&'static str, u64)]) -> Option<Failpoint> {
    let (place, most) = stream.pick(places, ("", 1));
    let times = stream.between(1, most);
    stream.chance(percent).then_some(Failpoint { place, times })
}

fn action(stream: &mut Stream, forwarders: usize) -> Action {
    let last = u64::try_from(forwarders).unwrap_or(1).saturating_sub(1);
    let forwarder = usize::try_from(stream.between(0, last)).unwrap_or(0);
    let crash = if stream.chance(65) { Crash::Immediate } else { Crash::Kill };
    match stream.between(1, 100) {
        1..=14 => Action::KillOrigin,
        15..=34 => Action::KillForwarder(forwarder),
        35..=40 => Action::TerminateForwarder(forwarder),
        41..=50 => Action::StopForwarder(forwarder),
        51..=55 => Action::ContinueForwarders,
        56..=69 => Action::CrashCommandDatabase(crash),
        70..=81 => Action::CrashSinkDatabase(crash),
        82..=87 => Action::CutSinks,
        88..=94 => Action::PassTime,
        _ => Action::ForwardOnce,
    }
}

fn postgres_lies(stream: &mut Stream) -> Vec<ToldLie> {
    (0..stream.between(0, 3))
        .map(|_| {
            let late = Lie::AppliesLate(stream.between(100, 500));
            let lies =
                [Lie::AppliesThenCuts, Lie::AppliesThenHangs, late, Lie::CutsInTheMiddle, Lie::CutsBefore];
            ToldLie { at: stream.between(1, 12), lie: stream.pick(&lies, Lie::AppliesThenCuts) }
        })
        .collect()
}

/// At most three answers that blame a row: at five it would rightly be parked.
fn http_lies(stream: &mut Stream) -> Vec<ToldLie> {
    (0..stream.between(0, 3))
        .map(|_| {
            let late = Lie::AppliesLate(stream.between(100, 500));
            let lies = [
                Lie::AppliesThenCuts,
                Lie::AppliesThenHangs,
                late,
                Lie::CutsInTheMiddle,
                Lie::CutsBefore,
                Lie::AppliesThenSays(409),
                Lie::AppliesThenSays(500),
                Lie::AppliesHalfThenSays(500),
                Lie::AppliesHalfThenSays(409),
                Lie::Says(409),
                Lie::Says(429),
                Lie::Says(503),
            ];
            ToldLie { at: stream.between(1, 12), lie: stream.pick(&lies, Lie::AppliesThenCuts) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_always_means_the_same_plan_and_seeds_differ() {
        assert_eq!(Plan::of(42), Plan::of(42));
        let plans: HashSet<String> =
            (0..100).map(|seed| serde_json::to_string(&Plan::of(seed).faults).unwrap()).collect();
        assert_eq!(plans.len(), 100);
    }

    #[test]
    fn every_kind_of_fault_is_chosen_within_two_hundred_seeds() {
        let plans: Vec<Plan> = (1..=200).map(Plan::of).collect();
        let name = |value: &serde_json::Value| match value {
            serde_json::Value::Object(map) => map.keys().next().cloned().unwrap_or_default(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        let actions: HashSet<String> = plans
            .iter()
            .flat_map(|plan| &plan.faults)
            .map(|fault| name(&serde_json::to_value(fault.action).unwrap()))
            .collect();
        assert_eq!(actions.len(), 10, "{actions:?}");
        let places: HashSet<&str> =
            plans.iter().flat_map(|plan| plan.forwarders.iter().flatten()).map(|point| point.place).collect();
        assert_eq!(places.len(), FORWARDER_FAILPOINTS.len());
        let lies: HashSet<String> = plans
            .iter()
            .flat_map(|plan| plan.http_lies.iter().chain(&plan.postgres_lies))
            .map(|told| name(&serde_json::to_value(told.lie).unwrap()))
            .collect();
        assert_eq!(lies.len(), 8, "{lies:?}");
    }
}

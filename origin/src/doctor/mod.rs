//! `gateward doctor`: looks at everything that the gateway needs to be well, says what is not and what to do about it, and mends what can be
//! mended by projecting events again. One check is one file; a check that fails, or a store that is away, keeps no other from looking.
//!
//! It only reads, by the logins that the gateway itself uses, except where it is asked to repair. It prints no secret.

mod assets;
mod audit_log;
mod clock_skew;
mod configuration;
mod destinations;
mod drift;
mod edges;
mod examination;
mod finding;
mod migrations;
mod outbox;
mod roles;
mod row_security;
mod signing_keys;
mod stores;
mod tables;
#[cfg(test)]
mod tests;

use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use self::examination::{Examination, Unexamined};
pub use self::finding::{Finding, IDS, Severity};
use crate::clock::Clock;
use crate::configuration::Source;
use crate::projection::Store;
use crate::projection::repair::Repaired;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one comparison of a store may take: it stops by itself with what it has, somewhat earlier.
const PATIENCE_OF_DRIFT: Duration = Duration::from_mins(2);

/// What a check saw.
#[derive(Debug, Default)]
struct Seen {
    /// Figures for whoever reads it.
    facts: Vec<String>,
    findings: Vec<Finding>,
    repair: Option<Repair>,
}

type Checking<'a> = Pin<Box<dyn Future<Output = Result<Seen, Unexamined>> + Send + 'a>>;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing was found.
    Ok,
    /// Something was found.
    Warning,
    /// Something bad was found.
    Failure,
    /// It could not look, because a store is away.
    NotExamined,
}

/// A check and what it saw.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Its name.
    pub check: &'static str,
    /// How it ended.
    pub state: State,
    /// Figures, whatever was found.
    pub facts: Vec<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// What was repaired in one store.
#[derive(Debug, Clone, Serialize)]
pub struct Repair {
    /// The store.
    pub store: Store,
    /// What became of what differed.
    #[serde(flatten)]
    pub repaired: Repaired,
}

/// Everything that was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The worst of it; nothing when all is well.
    pub worst: Option<Severity>,
    /// The checks in their order.
    pub checks: Vec<Checked>,
    /// What was found, failures first.
    pub findings: Vec<Finding>,
    /// What was repaired.
    pub repairs: Vec<Repair>,
}

impl Report {
    /// 0 when all is well, 1 with warnings, 2 with failures.
    pub fn exit_code(&self) -> u8 {
        match self.worst {
            None => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Failure) => 2,
        }
    }
}

/// Looks at everything, and with `repair` mends what differs from the events.
pub async fn examine(source: &Source, clock: Clock, repair: bool) -> Report {
    let examination = Box::pin(Examination::begin(source, clock.clone())).await;
    let e = &examination;
    let checks: [(&'static str, Duration, Checking<'_>); 15] = [
        ("configuration", PATIENCE, Box::pin(ready(Ok(configuration::check(e))))),
        ("stores", PATIENCE, Box::pin(ready(Ok(stores::check(e))))),
        ("clocks", PATIENCE, Box::pin(ready(Ok(clock_skew::check(e))))),
        ("migrations", PATIENCE, Box::pin(migrations::check(e))),
        ("tables", PATIENCE, Box::pin(tables::check(e))),
        ("roles", PATIENCE, Box::pin(roles::check(e))),
        ("row security", PATIENCE, Box::pin(row_security::check(e))),
        ("destinations", PATIENCE, Box::pin(destinations::check(e))),
        ("outbox", PATIENCE, Box::pin(outbox::check(e))),
        ("edges", PATIENCE, Box::pin(edges::check(e))),
        ("audit log", PATIENCE, Box::pin(audit_log::check(e))),
        ("signing keys", PATIENCE, Box::pin(signing_keys::check(e))),
        ("assets", PATIENCE, Box::pin(assets::check(e))),
        ("read side", PATIENCE_OF_DRIFT, Box::pin(drift::check(e, Store::Read, repair))),
        ("client registry", PATIENCE_OF_DRIFT, Box::pin(drift::check(e, Store::Registry, repair))),
    ];
    let mut report = Report { worst: None, checks: Vec::new(), findings: Vec::new(), repairs: Vec::new() };
    for (name, patience, check) in checks {
        let started = clock.instant();
        let seen = tokio::time::timeout(patience, check).await;
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.add(name, milliseconds, patience, seen, source);
    }
    examination.end().await;
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.worst = report.findings.iter().map(|finding| finding.severity).max();
    report
}

impl Report {
    fn add(
        &mut self,
        check: &'static str,
        milliseconds: u64,
        patience: Duration,
        seen: Result<Result<Seen, Unexamined>, tokio::time::error::Elapsed>,
        source: &Source,
    ) {
        let failed = |reason: String| Seen {
            findings: vec![Finding::warning(
                "check-failed",
                check,
                format!("it could not be examined: {reason}"),
                "Look at what it says, and run gateward doctor again.",
            )],
            ..Seen::default()
        };
        let (mut seen, unexamined) = match seen {
            Ok(Ok(seen)) => (seen, false),
            Ok(Err(Unexamined::Away(place))) => (
                Seen {
                    facts: vec![format!("not examined: the {} is away", place.name())],
                    ..Seen::default()
                },
                true,
            ),
            Ok(Err(error)) => (failed(error.to_string()), false),
            Err(_) => (failed(format!("no answer within {} s", patience.as_secs())), false),
        };
        // Whatever a store, a destination or an operator wrote somewhere: no secret of ours gets out by it.
        for finding in &mut seen.findings {
            finding.found = source.withhold(&finding.found);
        }
        for fact in &mut seen.facts {
            *fact = source.withhold(fact);
        }
        let state = match seen.findings.iter().map(|finding| finding.severity).max() {
            _ if unexamined => State::NotExamined,
            None => State::Ok,
            Some(Severity::Warning) => State::Warning,
            Some(Severity::Failure) => State::Failure,
        };
        self.checks.push(Checked { check, state, facts: seen.facts, milliseconds });
        self.findings.extend(seen.findings);
        self.repairs.extend(seen.repair);
    }
}

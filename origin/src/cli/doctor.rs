//! `gateward doctor`.

use super::{Failure, output};
use crate::clock::Clock;
use crate::configuration::Source;
use crate::doctor::{self, Checked, Finding, Repair, Report, Severity, State};
use crate::projection::drift::Difference;

/// Look at everything the gateway needs to be well, say what is not and what to do about it.
///
/// Exit code 0: all is well. 1: warnings. 2: failures. Only --repair changes anything.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    gateward doctor\n  \
    gateward doctor --json | jq '.findings[] | .id'\n  \
    gateward doctor --repair          # project again what differs from the events")]
pub(super) struct Arguments {
    /// Project again the rows of the read side and the client registry that differ from the events, and remove those that no event
    /// stands for.
    #[arg(long)]
    repair: bool,
    /// Show the figures of every check, not only what was found.
    #[arg(long, short)]
    verbose: bool,
    /// Print an object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, source: &Source) -> Result<(), Failure> {
    let report = Box::pin(doctor::examine(source, Clock::System, arguments.repair)).await;
    if arguments.json {
        output::json(&report)?;
    } else {
        for line in lines(&report, arguments.verbose) {
            output::line(&line)?;
        }
    }
    match report.exit_code() {
        0 => Ok(()),
        code => Err(Failure::Findings { code, summary: summary(&report) }),
    }
}

/// What stands on the screen: what is wrong first, then what was mended, then what is well.
fn lines(report: &Report, verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for Finding { id, severity, subject, found, action, runbook } in &report.findings {
        let mark = if *severity == Severity::Failure { "✗" } else { "!" };
        lines.push(format!("{mark} {subject}: {id}"));
        lines.push(format!("    {found}"));
        lines.push(format!("    → {action}"));
        lines.push(format!("      {runbook}"));
    }
    for repair in &report.repairs {
        lines.extend(repaired(repair));
    }
    let names = |state| -> Vec<&str> {
        report.checks.iter().filter(|check| check.state == state).map(|check| check.check).collect()
    };
    if !names(State::Ok).is_empty() {
        lines.push(format!("✓ {}", names(State::Ok).join(", ")));
    }
    if !names(State::NotExamined).is_empty() {
        lines
            .push(format!("? not examined, since a store is away: {}", names(State::NotExamined).join(", ")));
    }
    if verbose {
        for Checked { check, facts, milliseconds, .. } in &report.checks {
            lines.push(format!("  {check} ({milliseconds} ms)"));
            lines.extend(facts.iter().map(|fact| format!("      {fact}")));
        }
    }
    let milliseconds: u64 = report.checks.iter().map(|check| check.milliseconds).sum();
    lines.push(format!("{}; {} checks in {milliseconds} ms", summary(report), report.checks.len()));
    lines
}

fn repaired(Repair { store, repaired }: &Repair) -> Vec<String> {
    let mut lines = vec![format!(
        "repaired {}: {} added, {} replaced, {} removed, {} refused",
        store.name(),
        repaired.added.len(),
        repaired.replaced.len(),
        repaired.removed.len(),
        repaired.refused.len()
    )];
    let refused: Vec<Difference> =
        repaired.refused.iter().map(|refused| refused.difference.clone()).collect();
    for (what, rows) in [
        ("added", &repaired.added),
        ("replaced", &repaired.replaced),
        ("removed", &repaired.removed),
        ("refused", &refused),
    ] {
        // Those that are gone are all named: nobody can look them up any more.
        let most = if what == "removed" { usize::MAX } else { 20 };
        lines.extend(rows.iter().take(most).map(|row| format!("    {what} {} {}", row.table, row.id)));
        if rows.len() > most {
            lines.push(format!("    {what} {} more; --json names them", rows.len() - most));
        }
    }
    lines
}

fn summary(report: &Report) -> String {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let said = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    match (count(Severity::Failure), count(Severity::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => said(warnings, "warning"),
        (failures, 0) => said(failures, "failure"),
        (failures, warnings) => format!("{}, {}", said(failures, "failure"), said(warnings, "warning")),
    }
}

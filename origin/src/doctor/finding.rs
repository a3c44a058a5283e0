//! What a check can find. Each finding has an id, which is also the name of its runbook page.

use serde::Serialize;

/// How bad it is, and so the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It works, and somebody should look at it.
    Warning,
    /// Something does not work, or will not be noticed when it breaks.
    Failure,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Which of [`IDS`].
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a variable, a store, a destination, a table.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub action: String,
    /// The page that says more.
    pub runbook: String,
}

/// Every id there is.
pub const IDS: [&str; 27] = [
    "check-failed",
    "checkpoint-old",
    "checkpoint-unpublished",
    "clock-skew",
    "configuration",
    "database-unreachable",
    "destination-away",
    "destination-credentials",
    "destination-disabled",
    "destination-missing",
    "drift-incomplete",
    "edges-behind",
    "forwarder-silent",
    "login-privileged",
    "migrations-changed",
    "migrations-missing",
    "migrations-unknown",
    "outbox-failed",
    "outbox-lag",
    "policy-missing",
    "read-drift",
    "registry-drift",
    "role-missing",
    "role-privileged",
    "row-security",
    "signing-keys",
    "table-missing",
];

impl Finding {
    /// It works, and somebody should look at it.
    pub(super) fn warning(
        id: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, id, subject.into(), found.into(), action.into())
    }

    /// Something does not work.
    pub(super) fn failure(
        id: &'static str,
        subject: impl Into<String>,
        found: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Failure, id, subject.into(), found.into(), action.into())
    }

    fn new(severity: Severity, id: &'static str, subject: String, found: String, action: String) -> Self {
        Self { id, severity, subject, found, action, runbook: format!("docs/runbooks/{id}.md") }
    }
}

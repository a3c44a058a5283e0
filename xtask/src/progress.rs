//! What xtask says while it works: one line a step, with the time it took, on stderr. Results go to stdout elsewhere.

use std::time::Duration;

use crate::clock::{self, Stopwatch};

/// A step that is under way.
#[must_use]
pub(crate) struct Step {
    name: String,
    started: Stopwatch,
}

impl Step {
    /// Says that `name` begins.
    pub(crate) fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        eprintln!("  … {name}");
        Self { name, started: Stopwatch::start() }
    }

    /// Says how far it is; for steps that take long.
    pub(crate) fn note(&self, text: &str) {
        eprintln!("    {}: {text} ({})", self.name, clock::human(self.started.elapsed()));
    }

    /// Says that it is done and how long it took.
    pub(crate) fn done(self) -> Duration {
        self.done_with("")
    }

    /// As [`Step::done`], with a remark.
    pub(crate) fn done_with(self, remark: &str) -> Duration {
        let took = self.started.elapsed();
        let separator = if remark.is_empty() { "" } else { ", " };
        eprintln!("  ✓ {} ({}{separator}{remark})", self.name, clock::human(took));
        took
    }
}

/// A line that belongs to no step.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

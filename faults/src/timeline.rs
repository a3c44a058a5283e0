//! What happened in a run, and when: kept in memory, shown when the run fails or when somebody asks for it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::clock::Stopwatch;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// Milliseconds since the run began.
    pub(crate) at_ms: u64,
    /// What.
    pub(crate) what: String,
}

/// The list; clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Timeline(Arc<Mutex<(Stopwatch, Vec<Entry>)>>);

impl Timeline {
    /// An empty one that counts from now.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new((Stopwatch::start(), Vec::new()))))
    }

    /// Forgets everything and counts from now.
    pub(crate) fn restart(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Stopwatch::start(), Vec::new());
    }

    /// Adds what has just happened.
    pub(crate) fn note(&self, what: impl Into<String>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = u64::try_from(inner.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.1.push(Entry { at_ms, what: what.into() });
    }

    /// Everything so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

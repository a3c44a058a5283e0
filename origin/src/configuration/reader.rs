//! Reads variables one by one and keeps every fault, so that the last one is reported along with the first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::fault::{Fault, Faults};

/// Where variables come from: the environment of the process, or a test's own list.
#[derive(Clone, Default)]
pub struct Source {
    values: BTreeMap<String, String>,
    not_unicode: BTreeSet<String>,
}

impl Source {
    /// The environment of this process. An empty variable counts as absent.
    pub fn environment() -> Self {
        let mut source = Self::default();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) if value.is_empty() => {}
                Ok(value) => drop(source.values.insert(name, value)),
                Err(_) => drop(source.not_unicode.insert(name)),
            }
        }
        source
    }

    /// The variables given, and no others.
    pub fn of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let values = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { values, not_unicode: BTreeSet::new() }
    }
}

/// What a parser says of a value it refuses: why, and how to mend it.
pub(super) struct Problem {
    pub(super) why: String,
    pub(super) fix: String,
}

impl Problem {
    pub(super) fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into() }
    }
}

/// Reads from a source and collects faults.
pub(super) struct Reader<'a> {
    source: &'a Source,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Self { source, faults: Vec::new() }
    }

    /// A variable that must be there. `fix` says what to set where it is not.
    pub(super) fn required<T>(
        &mut self,
        variable: impl Into<Cow<'static, str>>,
        fix: &str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let variable = variable.into();
        let found = self.optional(variable.clone(), parse);
        if found.is_none() && !self.faults.iter().any(|fault| fault.variable == variable) {
            self.faults.push(Fault { variable, why: "is not set".to_owned(), fix: fix.to_owned() });
        }
        found
    }

    /// A variable that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        variable: impl Into<Cow<'static, str>>,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        let variable = variable.into();
        if self.source.not_unicode.contains(variable.as_ref()) {
            self.fault(variable, Problem::new("is not valid UTF-8", "Set it to plain text."));
            return None;
        }
        match parse(self.source.values.get(variable.as_ref())?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.fault(variable, problem);
                None
            }
        }
    }

    /// A variable with a default. A faulty value is a fault, and does not fall back on it.
    pub(super) fn or<T>(
        &mut self,
        variable: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> T {
        self.optional(variable, parse).unwrap_or(default)
    }

    pub(super) fn fault(&mut self, variable: impl Into<Cow<'static, str>>, problem: Problem) {
        self.faults.push(Fault { variable: variable.into(), why: problem.why, fix: problem.fix });
    }

    /// The whole, where there was no fault.
    pub(super) fn finish<T>(self, whole: Option<T>) -> Result<T, Faults> {
        match whole {
            Some(whole) if self.faults.is_empty() => Ok(whole),
            _ => Err(Faults(self.faults)),
        }
    }
}

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

    /// As it is, but for these; a variable without a value is absent.
    #[cfg(test)]
    pub(crate) fn with<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (name, value) in pairs {
            self.values.remove(name);
            if !value.is_empty() {
                self.values.insert(name.to_owned(), value.to_owned());
            }
        }
        self
    }

    /// A variable's value.
    #[cfg(test)]
    pub(crate) fn value(&self, name: &str) -> &str {
        &self.values[name]
    }

    /// Text that somebody else wrote, without what is secret of this environment: keys, secrets, tokens, and passwords of addresses.
    pub(crate) fn withhold(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.values {
            let is_secret =
                ["KEY", "SECRET", "TOKEN", "CREDENTIALS", "PASSWORD"].iter().any(|word| name.contains(word))
                    && !name.contains("PUBLIC");
            let password = url::Url::parse(value).ok().and_then(|url| url.password().map(str::to_owned));
            let whole = is_secret.then(|| value.clone());
            // Lists of secrets are separated by commas. What is short could be any word.
            let parts = whole.iter().chain(&password).flat_map(|secret| secret.split(','));
            for part in parts.filter(|part| part.len() >= 6) {
                text = text.replace(part, "[withheld]");
            }
        }
        text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_here_is_withheld_from_what_others_wrote() {
        let source = Source::of([
            ("READ_DATABASE_URL", "postgres://login:hunter22@localhost/read"),
            ("DESTINATION_SITE_SECRETS", "whsec_first1,whsec_second"),
            ("EDGE_PUBLIC_KEYS", "edge-1=public"),
            ("PORT", "4000"),
        ]);
        let said = source.withhold(
            "login:hunter22@localhost refused whsec_second and whsec_first1 of edge-1=public at 4000",
        );
        assert_eq!(
            said,
            "login:[withheld]@localhost refused [withheld] and [withheld] of edge-1=public at 4000"
        );
    }
}

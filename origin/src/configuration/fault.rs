//! What is wrong with a configuration, in words that let a reader mend it. Never holds a value, since it may be a secret.

use std::borrow::Cow;
use std::fmt;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// The variable at fault.
    pub variable: Cow<'static, str>,
    /// What is wrong.
    pub why: String,
    /// What to do about it.
    pub fix: String,
}

/// Every fault of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} fault{}:", if count == 1 { "" } else { "s" })?;
        for Fault { variable, why, fix } in &self.0 {
            write!(f, "\n  {variable} {why}\n    {fix}")?;
        }
        Ok(())
    }
}

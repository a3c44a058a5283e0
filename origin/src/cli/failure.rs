//! How a command ends when it does not succeed.

use std::fmt;
use std::process::ExitCode;

use crate::configuration::Faults;

/// Why a command failed, told apart by its exit code.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is faulty: exit code 2.
    Configuration(Faults),
    /// What was given on the command line is faulty: exit code 2.
    Usage(String),
    /// What was examined is not as it should be, which was printed: the exit code says how bad it is.
    Findings {
        /// 1 for warnings, 2 for failures.
        code: u8,
        /// How many of each.
        summary: String,
    },
    /// What was compared differs, which was printed: exit code 3.
    Differs,
    /// It was tried and failed: exit code 1.
    Runtime(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// A failure of what was tried.
    pub fn runtime(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Runtime(error.into())
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Runtime(_) => ExitCode::from(1),
            Self::Differs => ExitCode::from(3),
            Self::Findings { code, .. } => ExitCode::from(*code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(faults) => write!(f, "{faults}"),
            Self::Usage(message) => write!(f, "{message}"),
            Self::Runtime(error) => write!(f, "{error}"),
            Self::Differs => write!(f, "they differ"),
            Self::Findings { summary, .. } => write!(f, "{summary}"),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Configuration(faults)
    }
}

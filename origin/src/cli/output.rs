//! Writes data to stdout. A reader that has gone away (`| head`) is no fault.

use std::io::{ErrorKind, Write};

use super::Failure;

/// Prints one line.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::runtime(error)),
        _ => Ok(()),
    }
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).map_err(Failure::runtime)?)
}

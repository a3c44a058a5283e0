//! What can be wrong with a log, and where.

use std::fmt;

/// So many are told one by one; the rest is counted.
const MOST: usize = 1_000;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The file is not written as the exporter writes.
    Form,
    /// It is of another log.
    Origin,
    /// Events are missing in the middle, come twice, or in another order.
    Position,
    /// It is shorter than it says, or than a published checkpoint.
    Truncated,
    /// An event is not what was sealed.
    Leaf,
    /// An event's hash is not that of its body.
    EventHash,
    /// An event does not follow the one before it in its aggregate.
    Chain,
    /// Columns of an event's row were changed.
    Row,
    /// An event was deleted.
    Missing,
    /// A checkpoint is not signed by the log's key, or cannot be read.
    Checkpoint,
    /// The tree has another root than a checkpoint.
    Root,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// The line of the file, from 1, where it showed.
    pub line: Option<u64>,
    /// The position in the log, where it belongs to one.
    pub position: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "position {position}: ")?;
        } else if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Faults as they are found.
#[derive(Debug, Default)]
pub struct Faults {
    told: Vec<Fault>,
    more: u64,
}

impl Faults {
    pub(super) fn add(&mut self, kind: FaultKind, line: Option<u64>, position: Option<u64>, reason: String) {
        if self.told.len() < MOST {
            self.told.push(Fault { kind, line, position, reason });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    pub(super) fn into_parts(self) -> (Vec<Fault>, u64) {
        (self.told, self.more)
    }
}

//! The offline verifier. It is given an exported log, checkpoints that were published elsewhere, and keys; it may not reach a
//! database, the network or a clock. One pass, in the order of the file; what it remembers grows with the number of aggregates, not
//! of events.
//!
//! Nothing in a file is passed over: every line must be what the exporter writes, byte by byte, and say what follows from the others.

mod anchors;
mod chains;
mod fault;

use std::io::BufRead;

use shared::tlog::{Frontier, Hash, VerifierKey, base64};

use self::anchors::Anchors;
pub use self::anchors::{AnchorError, PublishedCheckpoint, published_checkpoints};
use self::chains::Chains;
pub use self::fault::{Fault, FaultKind, Faults};
use super::export::{CheckpointLine, EventLine, HeaderLine, MissingLine};
use super::leaf::Leaf;

/// The longest line that is read, in bytes: no event is near it.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Which log.
    pub origin: String,
    /// The position of the first event in the file.
    pub from: u64,
    /// The position after the last one.
    pub size: u64,
    /// The root of all events up to there, in base64.
    pub root: String,
    /// Events in the file.
    pub events: u64,
    /// Aggregates they belong to.
    pub aggregates: usize,
    /// Checkpoints that were compared: those in the file, and those that were published.
    pub checkpoints: usize,
    /// Up to here the log is what was published. Later events are vouched for by the file's own checkpoints alone.
    pub published_size: u64,
    /// Everything that is wrong, in the order of the file; empty when nothing is.
    pub faults: Vec<Fault>,
    /// Faults that were found after the first thousand.
    pub more_faults: u64,
}

impl Report {
    /// Whether the log is what it was.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Verifies an exported log.
///
/// `keys` are those of the log, by its name; `published` are checkpoints from where they were published, at least one.
pub fn verify(
    log: &mut impl BufRead,
    keys: &[VerifierKey],
    published: &[PublishedCheckpoint],
) -> std::io::Result<Report> {
    let mut verifier = Verifier::new(keys, published);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than the longest line, so that a longer one is told from it.
        let read = std::io::Read::take(&mut *log, LONGEST_LINE as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(verifier.finish());
        }
        let is_whole = line.pop_if(|byte| *byte == b'\n').is_some();
        verifier.line(&line, is_whole);
    }
}

/// How far it is in the file.
enum Stage {
    Header,
    Checkpoints,
    Events,
}

struct Verifier<'a> {
    keys: &'a [VerifierKey],
    anchors: Anchors,
    chains: Chains,
    faults: Faults,
    stage: Stage,
    line: u64,
    origin: String,
    from: u64,
    size: u64,
    /// The position that the next event must have.
    next: u64,
    /// The tree of what was read, by what the events say. Nothing once it cannot be known any more.
    tree: Option<Frontier>,
    events: u64,
}

impl<'a> Verifier<'a> {
    fn new(keys: &'a [VerifierKey], published: &[PublishedCheckpoint]) -> Self {
        let mut faults = Faults::default();
        let anchors = Anchors::of_published(published, keys, &mut faults);
        Self {
            keys,
            anchors,
            chains: Chains::default(),
            faults,
            stage: Stage::Header,
            line: 0,
            origin: String::new(),
            from: 0,
            size: 0,
            next: 0,
            tree: None,
            events: 0,
        }
    }

    fn line(&mut self, line: &[u8], is_whole: bool) {
        self.line += 1;
        if !is_whole {
            self.fault(FaultKind::Form, None, "the file ends within a line");
        }
        match self.stage {
            Stage::Header => {
                self.stage = Stage::Checkpoints;
                self.header(line);
            }
            Stage::Checkpoints => {
                if let Some(CheckpointLine { checkpoint }) = exactly(line) {
                    self.anchors.add_own(self.line, &checkpoint, self.keys, &mut self.faults);
                } else {
                    self.stage = Stage::Events;
                    self.begin_events();
                    self.event(line);
                }
            }
            Stage::Events => self.event(line),
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Some(header) = exactly::<HeaderLine>(line) else {
            return self.fault(FaultKind::Form, None, "this is no header of an exported audit log");
        };
        if header.gateward_audit_log != 1 {
            return self.fault(FaultKind::Form, None, "the file is of a format that is not known here");
        }
        if !self.keys.iter().any(|key| key.name() == header.origin) {
            self.fault(FaultKind::Origin, None, "the file is of another log than the key that was given");
        }
        (self.from, self.size, self.next) = (header.from, header.size, header.from);
        self.origin = header.origin;
        let hashes = header.frontier.iter().map(|hash| hash.0).collect();
        self.tree = Frontier::of(header.from, hashes);
        if self.tree.is_none() {
            self.fault(FaultKind::Form, None, "the header's frontier is not one of that many events");
        }
    }

    fn begin_events(&mut self) {
        self.anchors.order(self.from, &mut self.faults);
        self.meet_anchors();
    }

    fn event(&mut self, line: &[u8]) {
        if let Some(event) = exactly::<EventLine<'_>>(line) {
            self.at(event.position);
            self.judge(&event);
        } else if let Some(missing) = exactly::<MissingLine>(line) {
            self.at(missing.position);
            let said = format!("event {} is not there any more", missing.missing_event);
            self.fault(FaultKind::Missing, Some(missing.position), &said);
            self.push(missing.leaf_hash.0);
        } else {
            let said = if exactly::<CheckpointLine<'_>>(line).is_some() {
                "a checkpoint stands among the events"
            } else {
                "this is no line of an exported audit log, or not written as the exporter writes it"
            };
            self.fault(FaultKind::Form, Some(self.next), said);
            self.tree = None;
        }
        self.meet_anchors();
    }

    /// Whether an event has the next position; the tree of what follows a gap cannot be known.
    fn at(&mut self, position: u64) {
        if position == self.next {
            return;
        }
        let said = if position > self.next {
            format!("events {} to {} are not in the file", self.next, position - 1)
        } else {
            format!("position {position} comes again, or late: position {} is next", self.next)
        };
        self.fault(FaultKind::Position, Some(position), &said);
        self.tree = None;
        self.next = position;
    }

    fn judge(&mut self, event: &EventLine<'_>) {
        let position = Some(event.position);
        let leaf = Leaf {
            version: event.version,
            prev_hash: event.prev_hash.map(|hash| hash.0),
            event_hash: event.event_hash.0,
            body: event.body.as_bytes().to_vec(),
        };
        let hash = leaf.hash();
        if hash != event.leaf_hash.0 {
            let said = "the event is not what was sealed: its leaf has another hash than was stored";
            self.fault(FaultKind::Leaf, position, said);
        }
        if !leaf.is_chained() {
            let said = "event_hash is not the hash of prev_hash and body";
            self.fault(FaultKind::EventHash, position, said);
        }
        if let Some(row) = &event.row {
            let said = format!("the columns of the event's row do not say what its body says: {row}");
            self.fault(FaultKind::Row, position, &said);
        }
        if let Err(said) = self.chains.follow(&leaf, self.from > 0) {
            self.fault(FaultKind::Chain, position, &said);
        }
        self.events += 1;
        self.push(hash);
    }

    fn push(&mut self, leaf: Hash) {
        if let Some(tree) = &mut self.tree {
            tree.push_hash(leaf, |_, _| {});
        }
        self.next = self.next.saturating_add(1);
    }

    /// Compares the tree with every checkpoint of as many events as were read.
    fn meet_anchors(&mut self) {
        let tree = self.tree.as_ref();
        self.anchors.meet(self.next, || tree.map(Frontier::root), self.line, &mut self.faults);
    }

    fn finish(mut self) -> Report {
        if matches!(self.stage, Stage::Header) {
            self.fault(FaultKind::Form, None, "the file is empty");
        }
        if matches!(self.stage, Stage::Checkpoints) {
            self.begin_events();
        }
        if self.next != self.size {
            let said = format!(
                "the file ends at position {}, and its header says that the log has {} events",
                self.next, self.size
            );
            self.fault(FaultKind::Truncated, Some(self.next), &said);
        }
        let (checkpoints, published_size) =
            self.anchors.finish(self.size, self.next, self.line, &mut self.faults);
        let root = self.tree.as_ref().map_or_else(String::new, |tree| base64(&tree.root()));
        let (faults, more_faults) = self.faults.into_parts();
        Report {
            origin: self.origin,
            from: self.from,
            size: self.next,
            root,
            events: self.events,
            aggregates: self.chains.aggregates(),
            checkpoints,
            published_size,
            faults,
            more_faults,
        }
    }

    fn fault(&mut self, kind: FaultKind, position: Option<u64>, said: &str) {
        self.faults.add(kind, Some(self.line), position, said.to_owned());
    }
}

/// A line, if it is exactly what its value is written as: then no byte of it can be another without the value being another.
fn exactly<'a, T: serde::Deserialize<'a> + serde::Serialize>(line: &'a [u8]) -> Option<T> {
    let value: T = serde_json::from_slice(line).ok()?;
    (serde_json::to_vec(&value).ok()? == line).then_some(value)
}

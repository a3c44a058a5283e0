//! Checkpoints as anchors: at each one's size the tree must have its root. Those that were published elsewhere hold the log to what
//! it was; the file's own narrow down where it was changed.

use std::collections::BTreeMap;

use shared::tlog::{Checkpoint, Hash, VerifierKey, verify_cosignature};

use super::fault::{FaultKind, Faults};

/// A checkpoint from where it was published, not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedCheckpoint {
    /// Where it is from, for messages.
    pub place: String,
    /// The signed note.
    pub note: String,
}

/// Why a file of checkpoints cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// It has none.
    #[error("{0} has no checkpoint")]
    None(String),
    /// A checkpoint is not cosigned.
    #[error("{place}: a checkpoint is not cosigned by {witness}: {error}")]
    Witness {
        /// The file.
        place: String,
        /// Whose cosignature was asked for.
        witness: String,
        /// Why it does not count.
        error: shared::tlog::NoteError,
    },
    /// It cannot be read as checkpoints.
    #[error("{place} is not made of checkpoints: {error}")]
    Form {
        /// The file.
        place: String,
        /// Why not.
        error: shared::tlog::CheckpointError,
    },
}

/// Reads the checkpoints of a file: one, or one after the other as the daily files have them. With a witness's key the last of them
/// must be cosigned by it.
pub fn published_checkpoints(
    place: &str,
    text: &str,
    witness: Option<&VerifierKey>,
) -> Result<Vec<PublishedCheckpoint>, AnchorError> {
    let mut notes: Vec<String> = Vec::new();
    let mut signed = true;
    for line in text.split_inclusive('\n') {
        let is_signature = line.starts_with("\u{2014} ");
        // A line after a signature that is none itself begins the next note.
        match notes.last_mut() {
            Some(note) if !signed || is_signature => note.push_str(line),
            _ => notes.push(line.to_owned()),
        }
        signed = is_signature;
    }
    let published = notes.into_iter().map(|note| match Checkpoint::unverified(&note) {
        Ok(_) => Ok(PublishedCheckpoint { place: place.to_owned(), note }),
        Err(error) => Err(AnchorError::Form { place: place.to_owned(), error }),
    });
    let published = published.collect::<Result<Vec<_>, _>>()?;
    let last = published.last().ok_or_else(|| AnchorError::None(place.to_owned()))?;
    if let (Some(key), Ok((_, note))) = (witness, Checkpoint::unverified(&last.note)) {
        verify_cosignature(&note, key).map_err(|error| AnchorError::Witness {
            place: place.to_owned(),
            witness: key.name().to_owned(),
            error,
        })?;
    }
    Ok(published)
}

/// A root that the tree must have.
#[derive(Debug)]
struct Anchor {
    root: Hash,
    /// Where it was published; nothing for one of the file's own.
    place: Option<String>,
}

/// Every anchor by its size.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    by_size: BTreeMap<u64, Vec<Anchor>>,
    compared: usize,
    /// The largest size up to which the tree was right, since which any change must be.
    agreed: u64,
    published: u64,
    own: Option<u64>,
}

impl Anchors {
    /// Published checkpoints that the log's keys signed; the others are faults.
    pub(super) fn of_published(
        published: &[PublishedCheckpoint],
        keys: &[VerifierKey],
        faults: &mut Faults,
    ) -> Self {
        let mut anchors = Self::default();
        for PublishedCheckpoint { place, note } in published {
            match Checkpoint::verified(note, keys) {
                Ok((Checkpoint { size, root, .. }, _)) => {
                    let anchor = Anchor { root, place: Some(place.clone()) };
                    anchors.by_size.entry(size).or_default().push(anchor);
                }
                Err(error) => {
                    let said = format!("the published checkpoint ({place}) is not to be believed: {error}");
                    faults.add(FaultKind::Checkpoint, None, None, said);
                }
            }
        }
        if anchors.by_size.is_empty() {
            let said = "there is no published checkpoint to hold the log to".to_owned();
            faults.add(FaultKind::Checkpoint, None, None, said);
        }
        anchors
    }

    /// A checkpoint of the file itself.
    pub(super) fn add_own(&mut self, line: u64, note: &str, keys: &[VerifierKey], faults: &mut Faults) {
        match Checkpoint::verified(note, keys) {
            Ok((Checkpoint { size, root, .. }, _)) => {
                if self.own.is_some_and(|before| size <= before) {
                    let said = "the checkpoints of the file are not in order".to_owned();
                    faults.add(FaultKind::Form, Some(line), None, said);
                }
                self.own = Some(size);
                self.by_size.entry(size).or_default().push(Anchor { root, place: None });
            }
            Err(error) => {
                let said = format!("a checkpoint of the file is not to be believed: {error}");
                faults.add(FaultKind::Checkpoint, Some(line), None, said);
            }
        }
    }

    /// Sets out from the first position of the file: what was published of fewer events cannot be compared.
    pub(super) fn order(&mut self, from: u64, faults: &mut Faults) {
        self.agreed = from;
        let later = self.by_size.split_off(&from);
        for anchor in std::mem::replace(&mut self.by_size, later).into_values().flatten() {
            let place = anchor.place.as_deref().unwrap_or("the file");
            let said = format!(
                "a checkpoint ({place}) is of fewer events than the {from} that come before the part that was exported: it \
                 cannot be compared"
            );
            faults.add(FaultKind::Checkpoint, None, None, said);
        }
    }

    /// Compares with every checkpoint of this many events. A tree that cannot be known has been found faulty already.
    pub(super) fn meet(
        &mut self,
        size: u64,
        root: impl FnOnce() -> Option<Hash>,
        line: u64,
        faults: &mut Faults,
    ) {
        let Some(anchors) = self.by_size.remove(&size) else { return };
        let root = root();
        let mut agrees = true;
        for anchor in anchors {
            self.compared += 1;
            if root == Some(anchor.root) {
                if anchor.place.is_some() {
                    self.published = self.published.max(size);
                }
                continue;
            }
            agrees = false;
            let place =
                anchor.place.map_or_else(|| "of the file".to_owned(), |place| format!("published: {place}"));
            let said = format!(
                "the first {size} events are not those of the checkpoint of that many ({place}); up to {} they were: something \
                 from there on was changed, inserted or removed",
                self.agreed
            );
            faults.add(FaultKind::Root, Some(line), None, said);
        }
        if agrees {
            self.agreed = size;
        }
    }

    /// What is left are checkpoints of more events than there are. How many were compared, and up to where the log is what was
    /// published.
    pub(super) fn finish(mut self, size: u64, end: u64, line: u64, faults: &mut Faults) -> (usize, u64) {
        for (of, anchors) in std::mem::take(&mut self.by_size) {
            for anchor in anchors {
                let place = anchor.place.as_deref().unwrap_or("the file");
                let said = if of <= end {
                    format!("the file's events pass over position {of}, where a checkpoint ({place}) is")
                } else {
                    format!(
                        "the log ends after {end} events, and a checkpoint ({place}) is of {of}: its end was cut off"
                    )
                };
                faults.add(FaultKind::Truncated, Some(line), Some(end), said);
            }
        }
        if self.own != Some(size) {
            let said = "the file has no checkpoint of its own of all its events".to_owned();
            faults.add(FaultKind::Checkpoint, None, None, said);
        }
        (self.compared, self.published)
    }
}

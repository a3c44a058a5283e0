//! A file with the latest checkpoint, replaced whole, and beside it a file a day that each one is appended to. Both are on the disk
//! before the checkpoint counts as published. Several processes may publish to the same file: a lock beside it lets them take turns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use shared::tlog::Checkpoint;
use time::Date;

use super::PublishError;
use crate::audit::checkpoints::StoredCheckpoint;
use crate::audit::tree;
use crate::database::{Actor, Component, Database};

/// How often others may come in between.
const TRIES: u32 = 5;
/// Longer than any note of ours.
const TAIL: u64 = 4_096;

/// The file.
#[derive(Debug)]
pub struct FilePublisher {
    path: PathBuf,
    command: Database,
}

impl FilePublisher {
    pub(super) fn new(path: PathBuf, command: Database) -> Self {
        Self { path, command }
    }

    pub(super) async fn publish(&self, latest: &StoredCheckpoint) -> Result<(), PublishError> {
        let today = self.command.clock().now().date();
        for _ in 0..TRIES {
            let there = self.read().await?;
            if let Some(there) = &there
                && self.has(there, latest).await?
            {
                return Ok(());
            }
            let (path, note) = (self.path.clone(), latest.note.clone());
            let replaced =
                tokio::task::spawn_blocking(move || replace(&path, there.as_deref(), &note, today));
            if self.io(replaced).await? {
                return Ok(());
            }
        }
        Err(PublishError::Contended)
    }

    /// Whether the file has this checkpoint or a later one. Fails where the log is not what the file says it was.
    async fn has(&self, there: &str, latest: &StoredCheckpoint) -> Result<bool, PublishError> {
        let place = self.path.display().to_string();
        let (old, _) = Checkpoint::unverified(there)
            .map_err(|error| PublishError::Foreign { place: place.clone(), reason: error.to_string() })?;
        let mut scope = self.command.scope(Actor::System(Component::Sealer)).await?;
        if old.size <= latest.size {
            let (old, new) = ((old.size, &old.root), (latest.size, &latest.root));
            tree::extends(&mut scope, old, new, &place).await?;
            return Ok(old.0 == new.0);
        }
        // Another process may have been faster; then the log has that many events by now.
        let now = tree::frontier(&mut scope).await?;
        tree::extends(&mut scope, (old.size, &old.root), (now.size(), &now.root()), &place).await?;
        Ok(true)
    }

    async fn read(&self) -> Result<Option<String>, PublishError> {
        let path = self.path.clone();
        self.io(tokio::task::spawn_blocking(move || read(&path))).await
    }

    async fn io<T>(&self, task: tokio::task::JoinHandle<io::Result<T>>) -> Result<T, PublishError> {
        let result = task.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        result.map_err(|source| PublishError::File { path: self.path.clone(), source })
    }
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file, unless it is not any more what was seen there.
fn replace(path: &Path, seen: Option<&str>, note: &str, today: Date) -> io::Result<bool> {
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(with_suffix(path, "lock"))?;
    lock.lock()?;
    if read(path)?.as_deref() != seen {
        return Ok(false);
    }
    append(&with_suffix(path, &today.to_string()), note)?;
    let fresh = with_suffix(path, "new");
    let mut file = File::create(&fresh)?;
    file.write_all(note.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(true)
}

/// Appends a note, after removing what a crash has left of half a one.
fn append(path: &Path, note: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut tail)?;
    let whole = start + whole_notes(&tail);
    if whole < length {
        tracing::warn!(file = %path.display(), bytes = length - whole, "half a checkpoint is removed");
        file.set_len(whole)?;
    }
    file.seek(SeekFrom::Start(whole))?;
    file.write_all(note.as_bytes())?;
    file.sync_all()
}

/// How many bytes there are up to the end of the last signature line.
fn whole_notes(tail: &[u8]) -> u64 {
    let (mut at, mut whole) = (0_usize, 0_usize);
    for line in tail.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line.starts_with("\u{2014} ".as_bytes()) && line.ends_with(b"\n") {
            whole = at;
        }
    }
    u64::try_from(whole).unwrap_or(u64::MAX)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_left_of_a_note_goes() {
        let whole = "a.test\n1\nAAA=\n\n\u{2014} a.test BBB=\n";
        for torn in ["", "a.te", "a.test\n2\n", "a.test\n2\nAAA=\n\n\u{2014} a.test BB"] {
            let kept = whole_notes(format!("{whole}{torn}").as_bytes());
            assert_eq!(kept, u64::try_from(whole.len()).unwrap(), "{torn:?}");
        }
        assert_eq!(whole_notes(b"a.test\n"), 0);
    }
}

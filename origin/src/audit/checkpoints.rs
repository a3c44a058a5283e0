//! The checkpoints that were made, as rows. All of the last day are kept, and of earlier ones the last of each hour; places that they
//! are published to keep what they like.

use shared::tlog::{Checkpoint, Hash};
use time::OffsetDateTime;

use super::tree::TreeError;
use crate::database::{DatabaseError, Scope};

/// How many are pruned at once.
const PRUNED_AT_ONCE: i64 = 1_000;

/// A checkpoint with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// How many events it is of.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// When it was made, by the database's clock.
    pub made_at: OffsetDateTime,
    /// The signed note.
    pub note: String,
    /// Signature lines of witnesses, each with its newline.
    pub cosignatures: Vec<String>,
}

impl StoredCheckpoint {
    /// The note with the witnesses' lines.
    pub fn cosigned(&self) -> String {
        self.cosignatures.iter().fold(self.note.clone(), |note, line| note + line)
    }
}

/// The largest checkpoint.
pub async fn latest_checkpoint(scope: &mut Scope) -> Result<Option<StoredCheckpoint>, TreeError> {
    let row = sqlx::query_as(
        "SELECT made_at, note, cosignatures FROM audit_checkpoints ORDER BY size DESC LIMIT 1",
    )
    .fetch_optional(scope.connection())
    .await?;
    row.map(|(made_at, note, cosignatures): (OffsetDateTime, String, Vec<String>)| {
        // What the note says counts, not the column: the note is signed.
        let (Checkpoint { size, root, .. }, _) =
            Checkpoint::unverified(&note).map_err(|_| TreeError::State)?;
        Ok(StoredCheckpoint { size, root, made_at, note, cosignatures })
    })
    .transpose()
}

/// Keeps a checkpoint. One of the same size stays as it is: it says the same.
pub(super) async fn insert(scope: &mut Scope, checkpoint: &Checkpoint, note: &str) -> Result<(), TreeError> {
    sqlx::query(
        "INSERT INTO audit_checkpoints (size, made_at, note) VALUES ($1, clock_timestamp(), $2) ON CONFLICT DO NOTHING",
    )
    .bind(i64::try_from(checkpoint.size).map_err(|_| TreeError::State)?)
    .bind(note)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Adds a witness's line to a checkpoint, once.
pub(super) async fn add_cosignature(scope: &mut Scope, size: u64, line: &str) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE audit_checkpoints SET cosignatures = array_append(cosignatures, $2)
         WHERE size = $1 AND NOT $2 = ANY (cosignatures)",
    )
    .bind(i64::try_from(size).unwrap_or(i64::MAX))
    .bind(line)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// Removes checkpoints older than a day that are not the last of their hour.
pub(super) async fn prune(scope: &mut Scope) -> Result<(), DatabaseError> {
    sqlx::query(
        "DELETE FROM audit_checkpoints WHERE size IN (
             SELECT size FROM audit_checkpoints AS old
             WHERE made_at < clock_timestamp() - interval '1 day'
               AND EXISTS (
                   SELECT FROM audit_checkpoints AS later
                   WHERE later.size > old.size AND later.made_at >= old.made_at
                     AND later.made_at < date_trunc('hour', old.made_at) + interval '1 hour')
             LIMIT $1)",
    )
    .bind(PRUNED_AT_ONCE)
    .execute(scope.connection())
    .await?;
    Ok(())
}

/// The notes of every checkpoint of more than `from` and at most `to` events, in order.
pub(super) async fn notes(
    scope: &mut Scope,
    from: u64,
    to: u64,
    most: i64,
) -> Result<Vec<(i64, String)>, TreeError> {
    let rows = sqlx::query_as(
        "SELECT size, note FROM audit_checkpoints WHERE size > $1 AND size <= $2 ORDER BY size LIMIT $3",
    )
    .bind(i64::try_from(from).map_err(|_| TreeError::State)?)
    .bind(i64::try_from(to).map_err(|_| TreeError::State)?)
    .bind(most)
    .fetch_all(scope.connection())
    .await?;
    Ok(rows)
}

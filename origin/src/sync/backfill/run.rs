//! Carries a backfill out: row by row into batches, batch by batch into the database, and everything into the report.

use std::time::Duration;

use shared::problem::ProblemType;
use uuid::Uuid;

use super::{
    batch::Batch,
    report::{Report, Stopped},
    rows::{Rows, Stop},
    splitter::RawRow,
};
use crate::{
    http::Origin,
    sync::{
        fields,
        key_record::KeyRecord,
        refused::{FaultKind, RecordFault, StoreError},
        store::{self, Outcome},
        webhook::Webhook,
    },
};

/// How long a backfill may take: what the edge gives it, too.
const TIME_LIMIT: Duration = Duration::from_mins(15);
/// How long a batch may take before the database counts as away.
const BATCH_LIMIT: Duration = Duration::from_secs(30);

/// A backfill that goes on.
struct Backfill<'a> {
    origin: &'a Origin,
    webhook: &'a Webhook,
    report: Report,
    batch: Batch,
    /// The last row that has come.
    row: u64,
    /// The last row that is settled, together with all before it.
    after: u64,
}

/// Stores what comes after row `after`, until nothing more does.
pub(super) async fn run(origin: &Origin, webhook: &Webhook, mut rows: Rows, after: u64, report: Report) {
    report.begin();
    let mut backfill = Backfill { origin, webhook, report, batch: Batch::default(), row: 0, after };
    let began = origin.clock.instant();
    let stopped = loop {
        let Some(row) = rows.next().await else {
            break backfill.come_to_an_end(rows.stop(), rows.is_in_row()).await;
        };
        backfill.row += 1;
        if backfill.row <= after {
            backfill.report.skipped();
            continue;
        }
        if let Err(error) = backfill.take(row).await {
            break Some(not_stored(&error));
        }
        if began.elapsed() > TIME_LIMIT {
            break Some(backfill.give_up().await);
        }
    };
    let Backfill { report, row, after, .. } = backfill;
    report.end(after, row, stopped);
}

impl Backfill<'_> {
    /// Takes a row in, and stores the batch that it fills, or that it must not join.
    async fn take(&mut self, row: RawRow) -> Result<(), StoreError> {
        let number = self.row;
        let record = match &row {
            RawRow::Whole(bytes) => KeyRecord::of_row(bytes),
            RawRow::TooLong => Err(RecordFault::whole(FaultKind::TooLong)),
        };
        match record {
            Ok(record) => {
                if self.batch.collides(&record) {
                    self.store_up_to(number.saturating_sub(1)).await?;
                }
                self.batch.push(number, record);
                if self.batch.is_full() {
                    self.store().await?;
                }
            }
            Err(fault) => {
                let id = match &row {
                    RawRow::Whole(bytes) => id_of(bytes),
                    RawRow::TooLong => None,
                };
                self.refuse(number, id, &fault);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, row: u64, id: Option<Uuid>, fault: &RecordFault) {
        self.origin.metrics.sync_refused(fault.kind.reason());
        self.report.refused(row, id, fault);
    }

    /// Stores everything that has come.
    async fn store(&mut self) -> Result<(), StoreError> {
        self.store_up_to(self.row).await
    }

    /// Stores the batch: with it all rows up to this one are settled.
    async fn store_up_to(&mut self, row: u64) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            let storing = store::store(&self.origin.database, self.webhook, &batch.records);
            let settled = tokio::time::timeout(BATCH_LIMIT, storing)
                .await
                .map_err(|_| StoreError::Database(sqlx::Error::PoolTimedOut.into()))??;
            let mut has_changed = false;
            for ((number, record), settled) in batch.rows.iter().zip(&batch.records).zip(settled) {
                match settled {
                    Ok(stored) => {
                        has_changed |= stored.outcome != Outcome::Unchanged;
                        self.report.stored(stored.outcome);
                    }
                    Err(fault) => self.refuse(*number, Some(record.id), &fault),
                }
            }
            if has_changed {
                self.origin.policy.mark_changed();
            }
        }
        self.after = self.after.max(row);
        self.report.settled(self.after);
        Ok(())
    }

    /// All that came has been taken in: stores the rest, and says why there is not more.
    async fn come_to_an_end(&mut self, stop: Option<Stop>, is_in_row: bool) -> Option<Stopped> {
        if let Err(error) = self.store().await {
            return Some(not_stored(&error));
        }
        let (problem, why) = match stop? {
            Stop::Broken(why) => (ProblemType::RequestMalformed, why),
            Stop::Cut => (ProblemType::RequestMalformed, "the connection broke off"),
            Stop::Silence => (ProblemType::RequestMalformed, "nothing more came for 60 s"),
            Stop::TooLarge => (ProblemType::BodyTooLarge, "the body is larger than 104857600 bytes"),
        };
        let next = self.row + 1;
        if matches!(stop, Some(Stop::Broken(_))) {
            // What could not be cut off is a row that was refused, whatever it was to be.
            self.refuse(next, None, &RecordFault::whole(FaultKind::Malformed));
        }
        let part = if is_in_row { ", of which a part had come" } else { "" };
        let detail = format!(
            "Not all rows came: {why}, at row {next}{part}. What came before it is stored; send the rest with ?after={}.",
            self.after
        );
        Some(Stopped { problem, detail })
    }

    async fn give_up(&mut self) -> Stopped {
        if let Err(error) = self.store().await {
            return not_stored(&error);
        }
        let detail = format!("It took longer than 15 minutes. Send the rest with ?after={}.", self.after);
        Stopped { problem: ProblemType::RequestMalformed, detail }
    }
}

fn not_stored(error: &StoreError) -> Stopped {
    tracing::warn!(%error, "a backfill stopped");
    let detail = "The rows after \"after\" could not be stored. Send them again in a moment, with ?after= that number.";
    Stopped { problem: ProblemType::OriginUnavailable, detail: detail.to_owned() }
}

/// The id of a row that was refused, where it has a good one.
fn id_of(bytes: &[u8]) -> Option<Uuid> {
    let members = fields::object(bytes).ok()?;
    let text = members.get("id")?.as_str()?;
    (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten()
}

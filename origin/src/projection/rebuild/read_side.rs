//! The read side: every event, by aggregate and version.

use uuid::Uuid;

use super::super::Store;
use super::super::read_side;
use super::super::recorded::{self, Place, Recorded};
use super::{PAGE, Progress, RebuildError, Run};
use crate::database::{DatabaseError, Scope};

/// The table that is filled.
const TABLE: &str = "auth_events_rebuild";
/// Rounds in which the copy follows what happens; each is about what came in the one before.
const ROUNDS: usize = 8;
/// A round with fewer events than this is the last: the rest is taken over in the swap.
const FEW: u64 = 500;
/// How far a round reaches back: a transaction may store its events some time after it made their ids.
const LATE_COMMIT: time::Duration = time::Duration::MINUTE;
/// How far the swap reaches back in the order of delivery: a delivery may be stored some time after it took its time of arrival.
/// Forwarders' statements end after half a minute.
const LATE_DELIVERY: time::Duration = time::Duration::minutes(10);

impl Run<'_> {
    pub(super) async fn copy_read_side(&mut self) -> Result<(), RebuildError> {
        let about = self.about().await;
        let mut after = Place::default();
        let mut refused = Refused::default();
        loop {
            let page =
                recorded::page(self.command, None, &after, PAGE).await.map_err(RebuildError::Command)?;
            let Some(last) = page.last() else { break };
            after = last.place();
            self.insert(&page, &mut refused).await?;
            self.rebuilt.events += u64::try_from(page.len()).unwrap_or(0);
            (self.progress)(Progress::Copied { events: self.rebuilt.events, about });
        }
        let mut from = self.began;
        for _ in 0..ROUNDS {
            let next = self.command_time().await?;
            let mut events = 0;
            let mut after = first_id(from - LATE_COMMIT);
            loop {
                let page =
                    recorded::page_by_id(self.command, after, PAGE).await.map_err(RebuildError::Command)?;
                let Some(last) = page.last() else { break };
                after = last.event_id;
                events += self.insert(&page, &mut refused).await?;
            }
            self.rebuilt.events += events;
            (self.progress)(Progress::CaughtUp { events });
            from = next;
            if events < FEW {
                break;
            }
        }
        self.judge(refused).await
    }

    /// What the store refuses must have been set aside, or be on its way to it; else it would be lost.
    async fn judge(&mut self, refused: Refused) -> Result<(), RebuildError> {
        let ought: Vec<Uuid> = recorded::settled(self.command, Store::Read.destination_id(), &refused.ids)
            .await
            .map_err(RebuildError::Command)?;
        if ought.is_empty() {
            self.rebuilt.set_aside = u64::try_from(refused.ids.len()).unwrap_or(0);
            Ok(())
        } else {
            Err(RebuildError::Refused { events: ought, reason: refused.reason })
        }
    }

    /// Inserts a page; where the table refuses it, each event by itself.
    async fn insert(&self, page: &[Recorded], refused: &mut Refused) -> Result<u64, RebuildError> {
        let page: Vec<Recorded> =
            page.iter().filter(|event| !refused.ids.contains(&event.event_id)).cloned().collect();
        match self.insert_all(&page).await {
            Err(RebuildError::Store(error)) if read_side::is_refusal(&error) => {}
            other => return other,
        }
        let mut inserted = 0;
        for event in &page {
            match self.insert_all(std::slice::from_ref(event)).await {
                Ok(rows) => inserted += rows,
                Err(RebuildError::Store(error)) if read_side::is_refusal(&error) => {
                    refused.ids.push(event.event_id);
                    refused.reason = error.to_string();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(inserted)
    }

    async fn insert_all(&self, events: &[Recorded]) -> Result<u64, RebuildError> {
        let mut scope = self.scope().await?;
        // All of them arrived when the copy began, so that none seems to have come before an earlier one of its aggregate.
        let rows = read_side::insert(&mut scope, TABLE, events, Some(self.began)).await?;
        scope.commit().await?;
        Ok(rows)
    }

    async fn command_time(&self) -> Result<time::OffsetDateTime, RebuildError> {
        recorded::time(self.command).await.map_err(RebuildError::Command)
    }

    /// With deliveries waiting: what was delivered since the copy began and is not in the new table.
    pub(super) async fn take_over_read_side(&self, scope: &mut Scope) -> Result<u64, RebuildError> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT present.event_id FROM public.auth_events AS present
             WHERE present.received_at >= $1
               AND NOT EXISTS (SELECT FROM public.auth_events_rebuild AS fresh WHERE fresh.event_id = present.event_id)",
        )
        .bind(self.began - LATE_DELIVERY)
        .fetch_all(scope.connection())
        .await
        .map_err(DatabaseError::from)?;
        let mut rows = 0;
        for ids in ids.chunks(1_000) {
            let events = recorded::by_ids(self.command, ids).await.map_err(RebuildError::Command)?;
            rows += read_side::insert(scope, TABLE, &events, Some(self.began)).await?;
        }
        Ok(rows)
    }
}

/// Events that the table will not take.
#[derive(Default)]
struct Refused {
    ids: Vec<Uuid>,
    reason: String,
}

/// The first id of version 7 (RFC 9562, 5.7) of a moment.
fn first_id(at: time::OffsetDateTime) -> Uuid {
    let milliseconds = u128::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Uuid::from_u128(milliseconds << 80)
}

//! Delivers a batch, and where the destination refuses it, halves what it did not take down to the rows at fault. Order per
//! aggregate is kept: once a row is refused, the later ones of its aggregate are held back. Rows are moved, never copied.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::delivery::Delivery;
use super::destination::{DeliveryFault, Destination, Undelivered};
use crate::clock::Clock;
use crate::failpoint;

/// What became of a batch. Rows in neither list were held back or not tried.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Delivered, as (lane, id).
    pub(super) delivered: Vec<(i16, i64)>,
    /// Refused, with the reason.
    pub(super) refused: Vec<(Delivery, String)>,
    /// Why the rest was not tried; nothing where there was no rest, or no time for it.
    pub(super) stopped: Option<Stopped>,
}

/// Why a destination gets nothing more for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It is away.
    Outage {
        /// What it said.
        reason: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// It wants nothing any more.
    Gone(String),
}

/// How long a delivery may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// One call. A destination that takes longer counts as away.
    pub(super) call: Duration,
    /// All calls of a batch: past it no new one is started, and what is left waits for the next batch.
    pub(super) batch: Duration,
}

/// Delivers what can be delivered of `batch`.
pub(super) async fn deliver(
    destination: &impl Destination,
    batch: Vec<Delivery>,
    patience: Patience,
    clock: &Clock,
) -> Outcome {
    let started = clock.instant();
    let mut outcome = Outcome::default();
    let mut blocked: HashSet<(Uuid, String, Uuid)> = HashSet::new();
    // Parts still to do, the next one last.
    let mut parts = in_calls(batch, destination.most_rows());
    while let Some(mut rows) = parts.pop() {
        if started.elapsed() > patience.batch {
            break;
        }
        if !blocked.is_empty() {
            rows.retain(|row| !blocked.contains(&owned(row)));
        }
        if rows.is_empty() {
            continue;
        }
        if !outcome.delivered.is_empty() {
            failpoint::reach("forwarder.mid_batch");
        }
        let answer = tokio::time::timeout(patience.call, destination.deliver(&rows)).await;
        let late = || DeliveryFault::outage(format!("no answer within {} ms", patience.call.as_millis()));
        let Err(Undelivered { delivered, fault }) = answer.unwrap_or_else(|_| Err(late().into())) else {
            outcome.delivered.extend(rows.iter().map(place));
            continue;
        };
        let mut rest = outcome.take_delivered(rows, delivered);
        match fault {
            DeliveryFault::Outage { reason, retry_after } => {
                outcome.stopped = Some(Stopped::Outage { reason, retry_after });
                break;
            }
            DeliveryFault::Gone(reason) => {
                outcome.stopped = Some(Stopped::Gone(reason));
                break;
            }
            DeliveryFault::Refused(reason) if rest.len() < 2 => {
                if let Some(row) = rest.pop() {
                    blocked.insert(owned(&row));
                    outcome.refused.push((row, reason));
                }
            }
            DeliveryFault::Refused(_) => {
                let second = rest.split_off(rest.len() / 2);
                parts.push(second);
                parts.push(rest);
            }
        }
    }
    outcome
}

impl Outcome {
    /// Notes what took effect of a call and gives the rest back, in its order.
    fn take_delivered(&mut self, rows: Vec<Delivery>, delivered: Vec<usize>) -> Vec<Delivery> {
        if delivered.is_empty() {
            return rows;
        }
        let delivered: HashSet<usize> = delivered.into_iter().collect();
        let mut rest = Vec::with_capacity(rows.len().saturating_sub(delivered.len()));
        for (index, row) in rows.into_iter().enumerate() {
            if delivered.contains(&index) {
                self.delivered.push(place(&row));
            } else {
                rest.push(row);
            }
        }
        rest
    }
}

/// The batch in parts that one call may bring, the first one last.
fn in_calls(mut batch: Vec<Delivery>, most: usize) -> Vec<Vec<Delivery>> {
    let most = most.max(1);
    let mut parts = Vec::new();
    while batch.len() > most {
        // Whole calls from the front, so the remainder comes off the end first.
        let remainder = batch.len() % most;
        parts.push(batch.split_off(batch.len() - if remainder == 0 { most } else { remainder }));
    }
    parts.push(batch);
    parts
}

fn place(row: &Delivery) -> (i16, i64) {
    (row.lane, row.id)
}

fn owned(row: &Delivery) -> (Uuid, String, Uuid) {
    (row.workspace_id, row.aggregate_type.clone(), row.aggregate_id)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PATIENCE: Patience = Patience { call: Duration::from_mins(1), batch: Duration::from_mins(1) };

    /// Takes rows in order and refuses a batch that has a poisonous one, all of it or from that one on; gone after a number of
    /// calls.
    struct Sink {
        poison: HashSet<i64>,
        partly: bool,
        most_rows: usize,
        calls_left: Mutex<usize>,
        taken: Mutex<Vec<(u128, i64)>>,
    }

    impl Destination for Sink {
        async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
            assert!(batch.len() <= self.most_rows, "a call brings {} rows", batch.len());
            let mut calls_left = self.calls_left.lock().unwrap();
            let bad = batch.iter().position(|row| self.poison.contains(&row.id));
            let gone = *calls_left == 0;
            *calls_left -= usize::from(!gone);
            let reaches = match (gone, bad) {
                (true, _) => usize::from(self.partly).min(bad.unwrap_or(1)),
                (false, Some(bad)) if self.partly => bad,
                (false, Some(_)) => 0,
                (false, None) => batch.len(),
            };
            let taken = batch.get(..reaches).unwrap();
            let mut all = self.taken.lock().unwrap();
            all.extend(taken.iter().map(|row| (row.aggregate_id.as_u128(), row.version)));
            let fault = match bad {
                _ if gone => DeliveryFault::outage("gone"),
                Some(bad) => DeliveryFault::Refused(format!("row {bad}")),
                None => return Ok(()),
            };
            Err(Undelivered { delivered: (0..reaches).collect(), fault })
        }

        fn most_rows(&self) -> usize {
            self.most_rows
        }
    }

    /// Rows of the aggregates given, versions counted per aggregate.
    fn batch(aggregates: &[u8]) -> Vec<Delivery> {
        let mut versions = [0_i64; 256];
        let rows = aggregates.iter().zip(0_i64..).map(|(&aggregate, id)| {
            versions[usize::from(aggregate)] += 1;
            Delivery {
                lane: 0,
                id,
                attempts: 0,
                parked: false,
                event_id: Uuid::from_u128(u128::try_from(id).unwrap()),
                workspace_id: Uuid::nil(),
                aggregate_type: "session".to_owned(),
                aggregate_id: Uuid::from_u128(u128::from(aggregate)),
                version: versions[usize::from(aggregate)],
                event_type: "SessionStarted".to_owned(),
                schema_version: 1,
                payload: json!({}),
                metadata: json!({}),
                occurred_at: time::OffsetDateTime::UNIX_EPOCH,
            }
        });
        rows.collect()
    }

    /// Takes everything, slowly.
    struct Slow(Duration);

    impl Destination for Slow {
        async fn deliver(&self, _: &[Delivery]) -> Result<(), Undelivered> {
            tokio::time::sleep(self.0).await;
            Err(DeliveryFault::Refused("all of it".to_owned()).into())
        }
    }

    #[tokio::test]
    async fn a_slow_destination_is_away_and_a_slow_search_ends_with_what_it_has() {
        let rows = batch(&[1, 2, 3, 4]);
        let patience = Patience { call: Duration::from_millis(5), batch: Duration::from_mins(1) };
        let outcome = deliver(&Slow(Duration::from_mins(1)), rows.clone(), patience, &Clock::System).await;
        let reason = "no answer within 5 ms".to_owned();
        assert_eq!(outcome.stopped, Some(Stopped::Outage { reason, retry_after: None }));

        let patience = Patience { call: Duration::from_mins(1), batch: Duration::from_millis(5) };
        let outcome = deliver(&Slow(Duration::from_millis(6)), rows, patience, &Clock::System).await;
        assert_eq!(outcome, Outcome::default(), "out of time after the first call");
    }

    proptest! {
        #[test]
        fn only_the_poisonous_and_what_follows_them_stay_and_order_holds(
            aggregates in proptest::collection::vec(0_u8..6, 1..60),
            poison in proptest::collection::hash_set(0_i64..60, 0..4),
            calls in prop_oneof![Just(usize::MAX), 0_usize..8],
            partly in any::<bool>(),
            most_rows in prop_oneof![Just(1_000_usize), 1_usize..20],
        ) {
            let rows = batch(&aggregates);
            let sink = Sink {
                poison: poison.clone(), partly, most_rows, calls_left: Mutex::new(calls), taken: Mutex::default()
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let outcome = runtime.block_on(deliver(&sink, rows.clone(), PATIENCE, &Clock::System));

            let mut next = [1_i64; 256];
            for (aggregate, version) in sink.taken.lock().unwrap().iter() {
                let expected = &mut next[usize::try_from(*aggregate).unwrap()];
                prop_assert_eq!(*version, *expected, "out of order, or twice");
                *expected += 1;
            }
            prop_assert_eq!(outcome.delivered.len(), sink.taken.lock().unwrap().len());
            if outcome.stopped.is_none() {
                let mut blocked = HashSet::new();
                for row in &rows {
                    let is_delivered = outcome.delivered.contains(&(row.lane, row.id));
                    let is_refused = outcome.refused.iter().any(|(refused, _)| refused.id == row.id);
                    let behind = blocked.contains(&row.aggregate_id);
                    prop_assert_eq!(is_refused, poison.contains(&row.id) && !behind);
                    prop_assert_eq!(is_delivered, !poison.contains(&row.id) && !behind);
                    if is_refused {
                        blocked.insert(row.aggregate_id);
                    }
                }
            }
        }
    }
}

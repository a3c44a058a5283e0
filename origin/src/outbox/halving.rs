//! Delivers a batch, and where the destination refuses it, halves it down to the rows at fault. Order per aggregate is kept: once
//! a row is refused, the later ones of its aggregate are held back.

use std::collections::HashSet;

use std::time::Duration;

use uuid::Uuid;

use super::delivery::Delivery;
use super::destination::{DeliveryError, Destination};
use crate::clock::Clock;

/// What became of a batch. Rows in neither list were held back or not tried.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Delivered, as (lane, id).
    pub(super) delivered: Vec<(i16, i64)>,
    /// Refused, by their index in the batch, with the reason.
    pub(super) refused: Vec<(usize, String)>,
    /// Why the rest was not tried; nothing where there was no rest, or no time for it.
    pub(super) outage: Option<String>,
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
    batch: &[Delivery],
    patience: Patience,
    clock: &Clock,
) -> Outcome {
    let started = clock.instant();
    let mut outcome = Outcome::default();
    let mut blocked: HashSet<(Uuid, &str, Uuid)> = HashSet::new();
    // Parts still to do, the next one last.
    let mut parts: Vec<Vec<usize>> = vec![(0..batch.len()).collect()];
    while let Some(part) = parts.pop() {
        if started.elapsed() > patience.batch {
            return outcome;
        }
        let (indexes, rows): (Vec<usize>, Vec<Delivery>) = part
            .into_iter()
            .filter_map(|index| batch.get(index).map(|row| (index, row)))
            .filter(|(_, row)| !blocked.contains(&row.aggregate()))
            .map(|(index, row)| (index, row.clone()))
            .unzip();
        if rows.is_empty() {
            continue;
        }
        let late = || DeliveryError::Outage(format!("no answer within {} ms", patience.call.as_millis()));
        let answer = tokio::time::timeout(patience.call, destination.deliver(&rows)).await;
        match answer.unwrap_or_else(|_| Err(late())) {
            Ok(()) => outcome.delivered.extend(rows.iter().map(|row| (row.lane, row.id))),
            Err(DeliveryError::Outage(reason)) => {
                outcome.outage = Some(reason);
                return outcome;
            }
            Err(DeliveryError::Refused(reason)) => {
                if let [index] = indexes.as_slice() {
                    if let Some(row) = batch.get(*index) {
                        blocked.insert(row.aggregate());
                    }
                    outcome.refused.push((*index, reason));
                } else {
                    let (first, second) = indexes.split_at(indexes.len() / 2);
                    parts.push(second.to_vec());
                    parts.push(first.to_vec());
                }
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PATIENCE: Patience = Patience { call: Duration::from_mins(1), batch: Duration::from_mins(1) };

    /// Takes rows in order and refuses a batch that has a poisonous one; gone after a number of calls.
    struct Sink {
        poison: HashSet<i64>,
        calls_left: Mutex<usize>,
        taken: Mutex<Vec<(u128, i64)>>,
    }

    impl Destination for Sink {
        async fn deliver(&self, batch: &[Delivery]) -> Result<(), DeliveryError> {
            let mut calls_left = self.calls_left.lock().unwrap();
            if *calls_left == 0 {
                return Err(DeliveryError::Outage("gone".to_owned()));
            }
            *calls_left -= 1;
            if let Some(row) = batch.iter().find(|row| self.poison.contains(&row.id)) {
                return Err(DeliveryError::Refused(format!("row {}", row.id)));
            }
            self.taken
                .lock()
                .unwrap()
                .extend(batch.iter().map(|row| (row.aggregate_id.as_u128(), row.version)));
            Ok(())
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
        async fn deliver(&self, _: &[Delivery]) -> Result<(), DeliveryError> {
            tokio::time::sleep(self.0).await;
            Err(DeliveryError::Refused("all of it".to_owned()))
        }
    }

    #[tokio::test]
    async fn a_slow_destination_is_away_and_a_slow_search_ends_with_what_it_has() {
        let rows = batch(&[1, 2, 3, 4]);
        let patience = Patience { call: Duration::from_millis(5), batch: Duration::from_mins(1) };
        let outcome = deliver(&Slow(Duration::from_mins(1)), &rows, patience, &Clock::System).await;
        assert_eq!(outcome.outage.as_deref(), Some("no answer within 5 ms"));

        let patience = Patience { call: Duration::from_mins(1), batch: Duration::from_millis(5) };
        let outcome = deliver(&Slow(Duration::from_millis(6)), &rows, patience, &Clock::System).await;
        assert_eq!(outcome, Outcome::default(), "out of time after the first call");
    }

    proptest! {
        #[test]
        fn only_the_poisonous_and_what_follows_them_stay_and_order_holds(
            aggregates in proptest::collection::vec(0_u8..6, 1..60),
            poison in proptest::collection::hash_set(0_i64..60, 0..4),
            calls in prop_oneof![Just(usize::MAX), 0_usize..8],
        ) {
            let rows = batch(&aggregates);
            let sink = Sink { poison: poison.clone(), calls_left: Mutex::new(calls), taken: Mutex::default() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let outcome = runtime.block_on(deliver(&sink, &rows, PATIENCE, &Clock::System));

            let mut next = [1_i64; 256];
            for (aggregate, version) in sink.taken.lock().unwrap().iter() {
                let expected = &mut next[usize::try_from(*aggregate).unwrap()];
                prop_assert_eq!(*version, *expected, "out of order, or twice");
                *expected += 1;
            }
            prop_assert_eq!(outcome.delivered.len(), sink.taken.lock().unwrap().len());
            if outcome.outage.is_none() {
                let mut blocked = HashSet::new();
                for (index, row) in rows.iter().enumerate() {
                    let is_delivered = outcome.delivered.contains(&(row.lane, row.id));
                    let is_refused = outcome.refused.iter().any(|(refused, _)| *refused == index);
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

//! Whatever is delivered, how often and in which order, by webhook or by backfill: what stands in the end is what the source last
//! said, what was revoked is revoked, and the events tell exactly the changes.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRng, TestRunner},
};
use serde_json::json;

use super::*;
use crate::test_database;

/// One state of a key at its source.
#[derive(Debug, Clone)]
struct Said {
    key: u128,
    stamp: usize,
    record: Value,
    is_revoked: bool,
}

/// What a source did, in its order, and then what of it was delivered, in which order: `(index, by a backfill)`.
fn histories() -> impl Strategy<Value = (Vec<Said>, Vec<(usize, bool)>)> {
    let step = (
        1..4u128,
        0..3u8,
        prop_oneof![6 => Just("UPDATE"), 2 => Just("CREATE"), 2 => Just("ROTATE"), 1 => Just("REVOKE")],
    );
    prop::collection::vec(step, 1..14).prop_flat_map(|steps| {
        let said: Vec<Said> = steps
            .into_iter()
            .enumerate()
            .map(|(stamp, (key_number, content, event_type))| Said {
                key: key_number,
                stamp,
                is_revoked: event_type == "REVOKE",
                record: with(
                    key(key_number, &format!("{key_number}-{content}")),
                    json!({
                        "event_type": event_type,
                        "permissions": [format!("scope:{content}")],
                        "updated_at": format!("2026-11-21T09:00:{stamp:02}Z"),
                    }),
                ),
            })
            .collect();
        let all: Vec<usize> = (0..said.len()).collect();
        let again = prop::collection::vec((0..said.len(), any::<bool>()), 0..10);
        let deliveries = (Just(all).prop_shuffle(), prop::collection::vec(any::<bool>(), said.len()), again)
            .prop_map(|(all, by_backfill, again)| {
                let mut deliveries: Vec<(usize, bool)> = all.into_iter().zip(by_backfill).collect();
                deliveries.extend(again);
                deliveries
            });
        (Just(said), deliveries)
    })
}

#[tokio::test]
async fn any_deliveries_in_any_order_end_in_what_the_source_last_said() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_121_u64);
    let rng =
        TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &Sha256::digest(seed.to_be_bytes()));
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for run in 0..8 {
        let (said, deliveries) = histories().new_tree(&mut runner).unwrap().current();
        test_database::run(async |t| {
            let test = TestOrigin::new(t);
            project(t, "notes").await;
            account(&test).await;
            let mut changes: BTreeMap<u128, usize> = BTreeMap::new();
            let mut ended: BTreeMap<u128, bool> = BTreeMap::new();
            for (index, by_backfill) in &deliveries {
                let said = &said[*index];
                let outcome = if *by_backfill {
                    let answer =
                        send_text(&test, BACKFILL, &said.record.to_string(), "application/x-ndjson").await;
                    let report = answer.json();
                    assert_eq!(report["refused"], 0, "seed {seed}, run {run}: {report}");
                    usize::from(report["unchanged"] == 0)
                } else {
                    usize::from(good(&test, API_KEY, &said.record).await["outcome"] != "unchanged")
                };
                *changes.entry(said.key).or_default() += outcome;
                *ended.entry(said.key).or_default() |= said.is_revoked;
                let is_revoked: bool = sqlx::query_scalar(
                    "SELECT status = 'revoked' FROM security_service.api_keys WHERE id = $1",
                )
                .bind(uuid(said.key))
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap();
                assert_eq!(
                    is_revoked, ended[&said.key],
                    "seed {seed}, run {run}: {deliveries:?} of {said:?}"
                );
            }
            for (number, changed) in changes {
                let of_key = || said.iter().filter(|said| said.key == number);
                let newest = of_key().max_by_key(|said| said.stamp).unwrap();
                let (hash_held, scopes, status): (String, Vec<String>, String) = sqlx::query_as(
                    "SELECT encode(key_hash, 'hex'), scopes, status FROM security_service.api_keys WHERE id = $1",
                )
                .bind(uuid(number))
                .fetch_one(&mut t.admin().await)
                .await
                .unwrap();
                if of_key().any(|said| said.is_revoked) {
                    assert_eq!(status, "revoked", "seed {seed}, run {run}");
                } else {
                                        assert_eq!(
                        newest.record["key_hash"],
                        json!(hash_held),
                        "seed {seed}, run {run}: {deliveries:?}"
                    );
                    assert_eq!(newest.record["permissions"], json!(scopes));
                    assert_eq!(status, "active");
                }
                assert_eq!(events(t, "api_key", uuid(number)).await.len(), changed, "seed {seed}, run {run}");
            }
        })
        .await;
    }
}

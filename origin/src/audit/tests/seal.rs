//! Positions without gaps, one for each event, whoever delivers and however often.

use std::collections::BTreeMap;

use shared::tlog::{Frontier, verify_consistency, verify_inclusion};
use sqlx::Row;

use super::*;
use crate::audit::tree;
use crate::outbox::destination::Destination;
use crate::test_database::{self, execute};

/// What the forwarder would deliver of these events.
async fn deliveries(t: &TestDatabase, ids: &[Uuid]) -> Vec<crate::outbox::Delivery> {
    let rows = sqlx::query(
        "SELECT events.* FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (event_id, place)
         JOIN auth_gateway.events USING (event_id) ORDER BY place",
    )
    .bind(ids)
    .fetch_all(&mut t.admin().await)
    .await
    .unwrap();
    let delivery = |row: sqlx::postgres::PgRow| crate::outbox::Delivery {
        lane: 0,
        id: 0,
        attempts: 0,
        parked: false,
        event_id: row.get("event_id"),
        workspace_id: row.get("workspace_id"),
        aggregate_type: row.get("aggregate_type"),
        aggregate_id: row.get("aggregate_id"),
        version: row.get("version"),
        event_type: row.get("event_type"),
        schema_version: row.get("schema_version"),
        payload: row.get("payload"),
        metadata: row.get("metadata"),
        occurred_at: row.get("occurred_at"),
    };
    rows.into_iter().map(delivery).collect()
}

/// The log as (position, grant, version), after checking that positions have no gap.
async fn log(t: &TestDatabase) -> Vec<(i64, Uuid, i64)> {
    let rows: Vec<(i64, Uuid, i64)> = sqlx::query_as(
        "SELECT position, aggregate_id, version FROM auth_gateway.event_log
         JOIN auth_gateway.events USING (event_id) ORDER BY position",
    )
    .fetch_all(&mut t.admin().await)
    .await
    .unwrap();
    let positions: Vec<i64> = rows.iter().map(|(position, ..)| *position).collect();
    assert_eq!(positions, (0..i64::try_from(rows.len()).unwrap()).collect::<Vec<_>>());
    let mut versions: BTreeMap<Uuid, i64> = BTreeMap::new();
    for (position, aggregate, version) in &rows {
        let before = versions.insert(*aggregate, *version).unwrap_or(0);
        assert_eq!(*version, before + 1, "position {position} is not in the order of its aggregate");
    }
    rows
}

#[tokio::test]
async fn what_is_delivered_again_keeps_its_position() {
    test_database::run(async |t| {
        let ids = append(t, &[1, 2, 3], 4).await;
        let all = deliveries(t, &ids).await;
        sealer(t).deliver(&all[..7]).await.unwrap();
        let first = log(t).await;
        sealer(t).deliver(&all[..7]).await.unwrap();
        assert_eq!(log(t).await, first);
        sealer(t).deliver(&all).await.unwrap();
        let all = log(t).await;
        assert_eq!((all.len(), &all[..7]), (12, &first[..]));
    })
    .await;
}

#[tokio::test]
async fn sealers_at_the_same_time_give_each_event_one_position() {
    test_database::run(async |t| {
        let ids = append(t, &[1, 2, 3, 4, 5], 40).await;
        let all = deliveries(t, &ids).await;
        let mut sealers = tokio::task::JoinSet::new();
        for number in 0..6_usize {
            let (sealer, all) = (sealer(t), all.clone());
            sealers.spawn(async move {
                // Parts that overlap, in different orders.
                for part in 0..8 {
                    let start = (part * 5 + number * 7) % 40 * 5;
                    sealer.deliver(&all[start..(start + 60).min(200)]).await.unwrap();
                }
                sealer.deliver(&all).await.unwrap();
            });
        }
        while let Some(ended) = sealers.join_next().await {
            ended.unwrap();
        }
        assert_eq!(log(t).await.len(), 200);
    })
    .await;
}

#[tokio::test]
async fn what_was_discarded_from_the_queue_comes_in_with_its_successor() {
    test_database::run(async |t| {
        let ids = append(t, &[1], 5).await;
        // The first three are discarded, the last is delivered before the fourth.
        let late = deliveries(t, &ids[4..]).await;
        sealer(t).deliver(&late).await.unwrap();
        assert_eq!(log(t).await.len(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_fails_leaves_nothing_and_costs_no_row_an_attempt() {
    test_database::run(async |t| {
        let ids = append(t, &[1, 2], 3).await;
        let mut admin = t.admin().await;
        execute(&mut admin, "ALTER TABLE auth_gateway.audit_log_state ADD CHECK (size < 1)".into()).await;
        let all = deliveries(t, &ids).await;
        let undelivered = sealer(t).deliver(&all).await.unwrap_err();
        assert!(matches!(
            undelivered.fault,
            crate::outbox::destination::DeliveryFault::Outage { retry_after: None, .. }
        ));
        assert_eq!(log(t).await.len(), 0);
        execute(
            &mut admin,
            "ALTER TABLE auth_gateway.audit_log_state DROP CONSTRAINT audit_log_state_size_check1".into(),
        )
        .await;
    })
    .await;
}

#[tokio::test]
async fn proofs_from_what_is_stored_hold_for_trees_of_every_shape() {
    test_database::run(async |t| {
        // Past 256 and 512: nodes of one level are stored, and leaves beside them.
        let mut frontiers = vec![Frontier::new()];
        for _ in 0..7 {
            let ids = append(t, &[1, 2, 3], 31).await;
            sealer(t).deliver(&deliveries(t, &ids).await).await.unwrap();
        }
        let rows = log(t).await;
        let leaves: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT leaf_hash FROM auth_gateway.event_log ORDER BY position")
                .fetch_all(&mut t.admin().await)
                .await
                .unwrap();
        let leaves: Vec<[u8; 32]> = leaves.into_iter().map(|leaf| leaf.try_into().unwrap()).collect();
        for leaf in &leaves {
            let mut next = frontiers.last().unwrap().clone();
            next.push_hash(*leaf, |_, _| {});
            frontiers.push(next);
        }
        let nodes: i64 = sqlx::query_scalar("SELECT count(*) FROM auth_gateway.audit_log_nodes")
            .fetch_one(&mut t.admin().await)
            .await
            .unwrap();
        assert_eq!((rows.len(), nodes), (651, 2));

        let mut scope = t.database.scope(Actor::System(Component::Auditor)).await.unwrap();
        assert_eq!(tree::frontier(&mut scope).await.unwrap(), frontiers[651]);
        for size in [1_u64, 2, 255, 256, 257, 511, 512, 513, 600, 651] {
            let root = frontiers[usize::try_from(size).unwrap()].root();
            assert_eq!(tree::frontier_at(&mut scope, size).await.unwrap().root(), root, "{size}");
            for old in [1, size / 3, size / 2, size - 1, size] {
                let old_root = frontiers[usize::try_from(old).unwrap()].root();
                let proof = tree::consistency(&mut scope, old, size).await.unwrap();
                assert_eq!(verify_consistency(old, &old_root, size, &root, &proof), Ok(()), "{old} {size}");
            }
            for index in [0, size / 3, size - 1] {
                let path = tree::inclusion(&mut scope, index, size).await.unwrap();
                let leaf = &leaves[usize::try_from(index).unwrap()];
                assert_eq!(verify_inclusion(leaf, index, size, &path, &root), Ok(()), "{index} {size}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_may_change_what_was_sealed() {
    test_database::run(async |t| {
        let rights: Vec<String> = sqlx::query_scalar(
            "SELECT r.rolname || ' ' || p.privilege || ' ' || t.name
             FROM pg_roles r, (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) p (privilege),
                  (VALUES ('event_log'), ('audit_log_nodes')) t (name)
             WHERE r.rolname LIKE 'gateward\\_%' AND r.rolname <> 'gateward_owner'
               AND has_table_privilege(r.rolname, 'auth_gateway.' || t.name, p.privilege)",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(rights, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn events_from_before_the_log_are_queued_in_the_lanes_that_the_append_would_take() {
    test_database::run(async |t| {
        append(t, &[1, 2, 3, 4, 5, 6, 7], 2).await;
        // The expression of the migration against the rows that the append queued.
        let migration = include_str!("../../../../migrations/command/0014_audit_log.sql");
        let lane = "get_byte(sha256(uuid_send(workspace_id) || uuid_send(aggregate_id) || convert_to(aggregate_type, 'UTF8')), 0) % 64";
        assert!(migration.contains(lane));
        let differing: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT count(*) FROM auth_gateway.outbox JOIN auth_gateway.events USING (event_id) WHERE lane <> {lane}"
        )))
        .fetch_one(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(differing, 0);
    })
    .await;
}

//! How fast it is: prints figures for docs/explanation/audit.md. Not part of a usual run.

use super::*;
use crate::clock::Clock;
use crate::test_database::{self, execute};

/// `cargo test --release -p origin --lib audit::tests::speed -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes a minute, and measures"]
async fn a_hundred_thousand_events() {
    const EVENTS: u32 = 100_000;
    test_database::run_leaving_work(async |t| {
        // As the append writes them: 20,000 aggregates of five events, in SQL, since it is not the append that is measured.
        execute(
            &mut t.admin().await,
            format!(
                "SET search_path TO auth_gateway;
                 CREATE FUNCTION pg_temp.body(id uuid, aggregate uuid) RETURNS bytea LANGUAGE sql AS $$
                     SELECT convert_to('{{\"aggregate_id\":\"' || aggregate || '\",\"aggregate_type\":\"grant\",\"event_id\":\"' || id
                         || '\",\"event_type\":\"TokensIssued\",\"metadata\":{{\"actor\":{{\"component\":\"operator\",\"kind\":\"system\"}},\"causation_id\":null,\"correlation_id\":\"' || id
                         || '\",\"service_name\":\"gateward\"}},\"occurred_at\":\"2026-11-21T10:00:00.000000Z\",\"payload\":{{\"client_id\":\"demo-app\",\"expires_at\":\"2026-11-21T10:05:00.000000Z\",\"generation\":1,\"jti\":\"' || id
                         || '\",\"scopes\":\"notes:read notes:write\",\"user_id\":\"' || aggregate || '\"}},\"schema_version\":1,\"workspace_id\":\"00000000-0000-0000-0000-000000000077\"}}', 'UTF8') $$;
                 CREATE TEMP TABLE made AS
                 WITH RECURSIVE chain AS (
                     SELECT aggregate, 1 AS version, id, NULL::bytea AS prev, sha256(pg_temp.body(id, aggregate)) AS hash
                     FROM (SELECT gen_random_uuid() AS aggregate, gen_random_uuid() AS id FROM generate_series(1, {0})) AS first
                   UNION ALL
                     SELECT aggregate, version + 1, next.id, hash, sha256(hash || pg_temp.body(next.id, aggregate))
                     FROM chain, LATERAL (SELECT gen_random_uuid() AS id WHERE chain.version > 0) AS next WHERE version < 5)
                 SELECT * FROM chain;
                 INSERT INTO events
                 SELECT id, '00000000-0000-0000-0000-000000000077', 'grant', aggregate, version, 'TokensIssued', 1,
                        convert_from(pg_temp.body(id, aggregate), 'UTF8')::jsonb -> 'payload',
                        convert_from(pg_temp.body(id, aggregate), 'UTF8')::jsonb -> 'metadata',
                        '2026-11-21T10:00:00Z', pg_temp.body(id, aggregate), prev, hash FROM made;
                 INSERT INTO outbox (destination_id, lane, event_id)
                 SELECT 2, get_byte(sha256(uuid_send(workspace_id) || uuid_send(aggregate_id) || convert_to(aggregate_type, 'UTF8')), 0) % 64,
                        event_id FROM events ORDER BY version;
                 ANALYZE",
                EVENTS / 5
            ),
        )
        .await;
        let clock = Clock::System;
        let per_second = |since: std::time::Instant| f64::from(EVENTS) / since.elapsed().as_secs_f64();

        let started = clock.instant();
        let forwarder = forwarder(t, "a");
        assert!(forwarder.drain().await.unwrap().is_complete());
        println!("sealed by one forwarder: {:.0} events/s", per_second(started));
        let started = clock.instant();
        forwarder.destination().keep_once().await.unwrap();
        println!("checkpoint: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
        let started = clock.instant();
        let log = exported(t, 0).await;
        println!("exported: {:.0} events/s, {} bytes an event", per_second(started), log.len() / 100_000);
        let published = published(t).await;
        let started = clock.instant();
        let report = check(&log, &[published]);
        println!("verified: {:.0} events/s", per_second(started));
        assert_eq!((report.faults.as_slice(), report.events), ([].as_slice(), u64::from(EVENTS)));
        let id: Uuid = sqlx::query_scalar("SELECT event_id FROM auth_gateway.event_log WHERE position = 54321")
            .fetch_one(&mut t.admin().await)
            .await
            .unwrap();
        let started = clock.instant();
        crate::audit::prove(&t.database, id).await.unwrap();
        println!("proved: {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    })
    .await;
}

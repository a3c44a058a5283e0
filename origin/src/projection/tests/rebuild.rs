//! Rebuilding while everything goes on, and being killed in the middle of it.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::ConnectOptions;
use tokio::sync::watch;

use super::{append, apply, count, drain, in_real_time, make_unqueued};
use crate::clock::Randomness;
use crate::database::Database;
use crate::projection::Store;
use crate::projection::rebuild::{Progress, RebuildError, Rebuilt, run};
use crate::test_database::{self, TestDatabase, execute};

/// A store by its administrator's login, as the command opens it.
fn owner(t: &TestDatabase, store: Store) -> Database {
    let options = match store {
        Store::Read => &t.read_admin,
        Store::Registry => &t.registry_admin,
    };
    Database::new(options.clone(), 1, t.clock.clone(), Randomness::System)
}

async fn rebuild(t: &TestDatabase, store: Store) -> Result<Rebuilt, RebuildError> {
    let database = owner(t, store);
    let result = run(store, &t.database, &database, &|_| {}).await;
    database.close().await;
    result
}

/// Everything about a table that is not its rows: columns, constraints, indexes, policies, rights, settings.
async fn shape(t: &TestDatabase, store: Store, table: &str) -> Vec<String> {
    let options = match store {
        Store::Read => &t.read_admin,
        Store::Registry => &t.registry_admin,
    };
    sqlx::query_scalar(
        "WITH t AS (SELECT * FROM pg_class WHERE oid = to_regclass($1))
         SELECT 'table ' || pg_get_userbyid(relowner) || ' ' || relrowsecurity || ' ' || relforcerowsecurity || ' '
                || coalesce(array_to_string(reloptions, ','), '') || ' ' || coalesce(obj_description(oid, 'pg_class'), '') FROM t
         UNION ALL SELECT 'right ' || pg_get_userbyid(a.grantee) || ' ' || a.privilege_type FROM t, aclexplode(relacl) AS a
         UNION ALL SELECT 'column ' || c.attnum || c.attname || format_type(c.atttypid, c.atttypmod) || c.attnotnull
                || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(c.attacl::text, '')
         FROM t JOIN pg_attribute AS c ON c.attrelid = t.oid AND c.attnum > 0
         LEFT JOIN pg_attrdef AS d ON d.adrelid = t.oid AND d.adnum = c.attnum
         UNION ALL SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(c.oid) FROM t JOIN pg_constraint AS c ON c.conrelid = t.oid
         UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) FROM t JOIN pg_index ON indrelid = t.oid
         UNION ALL SELECT 'policy ' || polname || polcmd::text || polroles::text || coalesce(pg_get_expr(polqual, polrelid), '')
                || coalesce(pg_get_expr(polwithcheck, polrelid), '') FROM t JOIN pg_policy ON polrelid = t.oid
         UNION ALL SELECT 'trigger ' || pg_get_triggerdef(g.oid) FROM t JOIN pg_trigger AS g ON g.tgrelid = t.oid
         ORDER BY 1",
    )
    .bind(format!("public.{table}"))
    .fetch_all(&mut options.connect().await.unwrap())
    .await
    .unwrap()
}

#[tokio::test]
async fn a_rebuilt_store_is_what_it_was_but_for_its_rows() {
    test_database::run(async |t| {
        append(&t.database, 3, 0..20).await;
        apply(&t.database, "one").await;
        drain(t).await;
        let (mut read, mut registry) = (t.read_side().await, t.registry_side().await);
        execute(
            &mut read,
            "ALTER TABLE public.auth_events SET (fillfactor = 90);
             COMMENT ON TABLE public.auth_events IS 'It''s the read side';
             CREATE INDEX \"auth events by type\" ON public.auth_events (event_type) WHERE version > 1;
             GRANT SELECT (event_id, payload) ON public.auth_events TO gateward_registrar;
             CREATE FUNCTION public.seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE TRIGGER seen BEFORE INSERT ON public.auth_events FOR EACH ROW EXECUTE FUNCTION public.seen()"
                .to_owned(),
        )
        .await;
        let mut before = Vec::new();
        for (store, table) in [(Store::Read, "auth_events"), (Store::Registry, "projects"), (Store::Registry, "oauth_clients")] {
            before.push((store, table, shape(t, store, table).await));
        }
        execute(
            &mut read,
            "DELETE FROM public.auth_events WHERE version = 2; UPDATE public.auth_events SET payload = '[]';
             INSERT INTO public.auth_events SELECT gen_random_uuid(), gen_random_uuid(), 'x', gen_random_uuid(), 1, 'x', 1, '{}', '{}', now()"
                .to_owned(),
        )
        .await;
        execute(&mut registry, "DELETE FROM public.projects; UPDATE public.oauth_clients SET version = 99".to_owned()).await;
        let rebuilt = rebuild(t, Store::Read).await.unwrap();
        assert_eq!((rebuilt.events, rebuilt.taken_over, rebuilt.set_aside), (23, 0, 0));
        let rebuilt = rebuild(t, Store::Registry).await.unwrap();
        assert_eq!((rebuilt.events, rebuilt.rows), (2, 2));
        for (store, table, shape_before) in before {
            assert_eq!(shape(t, store, table).await, shape_before, "{table}");
        }
        assert_eq!(count(&mut read, "pg_class WHERE relname LIKE '%rebuild%'").await, 0);
        // The rows are compared at the end of every test; and it goes on.
        append(&t.database, 3, 20..30).await;
        apply(&t.database, "two").await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_while_appends_and_forwarders_go_on() {
    test_database::run(async |t| {
        let live = in_real_time(t);
        append(&live, 5, 0..100).await;
        apply(&live, "first").await;
        let (stop, stopped) = watch::channel(false);
        let (one, other) = (t.real_forwarder("one"), t.real_forwarder("other"));
        let registrar = t.registry_forwarder("registry");
        let traffic = async {
            let mut next = 100;
            while !*stopped.borrow() {
                append(&live, 5, next..next + 5).await;
                apply(&live, &format!("name {next}")).await;
                next += 5;
            }
            next
        };
        let rebuilding = async {
            let mut rebuilt = Vec::new();
            for _ in 0..4 {
                rebuilt.push(rebuild(t, Store::Read).await.unwrap());
                rebuilt.push(rebuild(t, Store::Registry).await.unwrap());
            }
            stop.send(true).unwrap();
            rebuilt
        };
        let forwarding =
            async { tokio::join!(one.run(stopped.clone()), other.run(stopped.clone()), registrar.run(stopped.clone())) };
        let (appended, rebuilt, _) = Box::pin(async { tokio::join!(traffic, rebuilding, forwarding) }).await;
        assert!(appended > 100, "nothing happened meanwhile");
        assert!(rebuilt.iter().all(|rebuilt| rebuilt.set_aside == 0));
        drain(t).await;
        let disordered: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM (
                 SELECT received_at < lag(received_at) OVER (PARTITION BY aggregate_type, aggregate_id ORDER BY version) AS early
                 FROM public.auth_events) AS arrived WHERE early",
        )
        .fetch_one(&mut t.read_side().await)
        .await
        .unwrap();
        assert_eq!(disordered, 0, "an event seems to have arrived before an earlier one of its aggregate");
        live.close().await;
    })
    .await;
}

#[tokio::test]
async fn one_that_is_killed_leaves_the_table_in_use_and_the_next_cleans_up() {
    test_database::run_leaving_work(async |t| {
        make_unqueued(t, 4_000).await;
        let mut read = t.read_side().await;
        execute(&mut read, "INSERT INTO public.auth_events SELECT gen_random_uuid(), gen_random_uuid(), 'x', gen_random_uuid(), 1, 'x', 1, '{}', '{}', now()".to_owned()).await;
        let database = owner(t, Store::Read);
        let pages = AtomicU32::new(0);
        let (killed, mut kill) = watch::channel(false);
        let progress = |progress| {
            if matches!(progress, Progress::Copied { .. }) && pages.fetch_add(1, Ordering::SeqCst) == 1 {
                killed.send(true).unwrap();
            }
        };
        tokio::select! {
            result = run(Store::Read, &t.database, &database, &progress) => panic!("it was not killed: {result:?}"),
            _ = kill.changed() => {}
        }
        // As with the process, its connection goes.
        let backend = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        execute(&mut read, backend.to_owned()).await;
        drop(database);
        assert_eq!(count(&mut read, "public.auth_events").await, 1, "the table in use was touched");
        assert!(count(&mut read, "public.auth_events_rebuild").await > 0);
        // It is in service.
        append(&t.database, 1, 0..3).await;
        t.real_forwarder("one").drain().await.unwrap();
        assert_eq!(count(&mut read, "public.auth_events").await, 4);

        let rebuilt = rebuild(t, Store::Read).await.unwrap();
        assert_eq!(rebuilt.events, 4_003);
        assert_eq!(count(&mut read, "public.auth_events").await, 4_003);
        assert_eq!(count(&mut read, "pg_class WHERE relname LIKE '%rebuild%'").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_would_be_lost_is_refused_and_nothing_is_changed() {
    test_database::run_leaving_work(async |t| {
        append(&t.database, 2, 0..4).await;
        drain(t).await;
        let mut read = t.read_side().await;
        execute(&mut read, "CREATE VIEW public.dashboard AS SELECT count(*) FROM public.auth_events".to_owned()).await;
        let error = rebuild(t, Store::Read).await.unwrap_err();
        assert!(matches!(&error, RebuildError::Dependents { dependents, .. } if dependents == &["view dashboard"]), "{error}");
        execute(&mut read, "DROP VIEW public.dashboard".to_owned()).await;

        // An event that was acknowledged and that the table would not take again.
        execute(&mut read, "ALTER TABLE public.auth_events ADD CONSTRAINT no CHECK (version <> 2) NOT VALID".to_owned()).await;
        let error = rebuild(t, Store::Read).await.unwrap_err();
        assert!(matches!(&error, RebuildError::Refused { events, .. } if events.len() == 2), "{error}");
        assert_eq!(count(&mut read, "public.auth_events").await, 4);
        execute(&mut read, "ALTER TABLE public.auth_events DROP CONSTRAINT no".to_owned()).await;

        // Two at once.
        let database = owner(t, Store::Read);
        let busy = std::sync::Mutex::new(None);
        let other = owner(t, Store::Read);
        let both = tokio::join!(
            run(Store::Read, &t.database, &database, &|_| {}),
            async { *busy.lock().unwrap() = Some(run(Store::Read, &t.database, &other, &|_| {}).await) }
        );
        let second = busy.into_inner().unwrap().unwrap();
        let (failed, done): (Vec<_>, Vec<_>) = [both.0, second].into_iter().partition(Result::is_err);
        assert!(!done.is_empty() && failed.iter().all(|error| matches!(error, Err(RebuildError::Busy))), "{failed:?}");
        assert_eq!(count(&mut read, "public.auth_events").await, 4);
    })
    .await;
}

//! Tenants, persons and logins against each other, through the same scopes the gateway uses.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use uuid::Uuid;

use crate::clock::Randomness;
use crate::database::{Actor, Component, Database, DatabaseError, PLATFORM};
use crate::http::test_origin::TestOrigin;
use crate::operators::test_tokens::Desk;
use crate::test_database::{self, TestDatabase, execute};

const RED: Uuid = Uuid::from_u128(0xAED);
const BLUE: Uuid = Uuid::from_u128(0xB1E);

fn tenant(workspace_id: Uuid) -> Actor {
    Actor::Workspace { workspace_id, user_id: None, service_name: "test".to_owned() }
}

/// Two workspaces with one project each.
async fn two_tenants(t: &TestDatabase) {
    let mut admin = t.admin().await;
    for (id, slug) in [(RED, "red"), (BLUE, "blue")] {
        execute(
            &mut admin,
            format!(
                "INSERT INTO auth_gateway.workspaces VALUES ('{id}', '{slug}', '{slug}', now(), now());
                 INSERT INTO auth_gateway.projects (id, workspace_id, slug, name, created_at, updated_at)
                 VALUES ('{id}', '{id}', '{slug}-project', '{slug}', now(), now())"
            ),
        )
        .await;
    }
}

async fn slugs(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("SELECT slug FROM projects ORDER BY slug").fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn a_tenant_sees_and_writes_only_its_own() {
    test_database::run(async |t| {
        two_tenants(t).await;
        let mut scope = t.database.scope(tenant(RED)).await.unwrap();
        assert_eq!(slugs(scope.connection()).await, ["red-project"]);
        let touched = sqlx::query("UPDATE projects SET name = 'stolen' WHERE slug = 'blue-project'")
            .execute(scope.connection())
            .await
            .unwrap();
        assert_eq!(touched.rows_affected(), 0);
        let planted = sqlx::query(
            "INSERT INTO projects (id, workspace_id, slug, name, created_at, updated_at)
             VALUES (gen_random_uuid(), $1, 'planted', 'planted', now(), now())",
        )
        .bind(BLUE)
        .execute(scope.connection())
        .await
        .unwrap_err();
        assert!(planted.to_string().contains("row-level security"), "{planted}");
        assert!(
            matches!(scope.commit().await, Err(DatabaseError::Aborted)),
            "a failed scope must not say it stored"
        );

        let mut scope = t.database.scope(Actor::System(Component::PolicyCompiler)).await.unwrap();
        assert_eq!(slugs(scope.connection()).await, ["blue-project", "red-project"]);
    })
    .await;
}

#[tokio::test]
async fn a_pool_of_one_leaks_nothing_to_the_next_tenant_even_when_cancelled_midway() {
    test_database::run(async |t| {
        two_tenants(t).await;
        let options = t.configuration.serve_login.options();
        let database = Database::new(options, 1, t.clock.clone(), Randomness::System);

        for round in 0..3 {
            let mut scope = database.scope(tenant(RED)).await.unwrap();
            sqlx::query("UPDATE projects SET name = 'half done'").execute(scope.connection()).await.unwrap();
            if round > 0 {
                // Start a statement, let it go out, and drop it together with the scope before its answer is read.
                let mut statement =
                    Box::pin(sqlx::query("SELECT pg_sleep(0.05)").execute(scope.connection()));
                let polled = statement.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Pending));
            }
            drop(scope);

            let mut scope = database.scope(tenant(BLUE)).await.unwrap();
            assert_eq!(slugs(scope.connection()).await, ["blue-project"], "round {round}");
            scope.commit().await.unwrap();
        }
        let names: Vec<String> = sqlx::query_scalar("SELECT name FROM auth_gateway.projects ORDER BY name")
            .fetch_all(&mut t.admin().await)
            .await
            .unwrap();
        assert_eq!(names, ["blue", "red"], "a cancelled scope stored something");

        // Opening a scope can be cancelled, too: between BEGIN and the settings.
        for polls in 1..6 {
            let mut opening = Box::pin(database.scope(tenant(RED)));
            for _ in 0..polls {
                if opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(opening);
            let mut scope = database.scope(tenant(BLUE)).await.unwrap();
            assert_eq!(slugs(scope.connection()).await, ["blue-project"], "after {polls} polls");
        }
        database.close().await;
    })
    .await;
}

#[tokio::test]
async fn without_a_context_there_are_no_rows_and_after_a_commit_there_is_no_context() {
    test_database::run(async |t| {
        two_tenants(t).await;
        let mut login = t.configuration.serve_login.options().connect().await.unwrap();
        execute(&mut login, "BEGIN; SET LOCAL ROLE gateward_app; SET LOCAL search_path = auth_gateway".to_owned()).await;
        assert_eq!(slugs(&mut login).await, Vec::<String>::new());
        // A setting that was local to a transaction is '' afterwards, not absent: it must not fail the cast either.
        execute(
            &mut login,
            format!("ROLLBACK; BEGIN; SELECT set_config('app.workspace_id', '{RED}', true); COMMIT; BEGIN; SET LOCAL ROLE gateward_app; SET LOCAL search_path = auth_gateway"),
        )
        .await;
        assert_eq!(slugs(&mut login).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_login_without_a_scope_can_do_nothing() {
    test_database::run(async |t| {
        for url in [&t.configuration.serve_login, &t.configuration.forwarder_login] {
            let mut login = url.options().connect().await.unwrap();
            for table in ["projects", "events", "outbox", "signing_keys", "oauth_audit_log"] {
                let statement = format!("SELECT 1 FROM auth_gateway.{table}");
                let error = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut login).await.unwrap_err();
                assert!(error.to_string().contains("permission denied"), "{table}: {error}");
            }
            let error =
                sqlx::raw_sql("CREATE TABLE public.own (id int)").execute(&mut login).await.unwrap_err();
            assert!(error.to_string().contains("permission denied"), "{error}");
        }
        let mut login = t.configuration.read_login.options().connect().await.unwrap();
        let error = sqlx::raw_sql("SELECT 1 FROM public.auth_events").execute(&mut login).await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_login_takes_only_the_roles_it_was_given() {
    test_database::run(async |t| {
        let denied = t.forwarder.scope(tenant(RED)).await.unwrap_err();
        assert!(matches!(denied, DatabaseError::RoleDenied { role: "gateward_app" }), "{denied}");
        let denied = t.database.scope(Actor::System(Component::Forwarder)).await.unwrap_err();
        assert!(matches!(denied, DatabaseError::RoleDenied { role: "gateward_forwarder" }), "{denied}");
        let mut login = t.configuration.serve_login.options().connect().await.unwrap();
        let error = sqlx::raw_sql("SET ROLE gateward_owner").execute(&mut login).await.unwrap_err();
        assert!(error.to_string().contains("permission denied"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn the_platform_is_nobodys_workspace_and_a_person_sees_themselves_only() {
    test_database::run(async |t| {
        let refused = t.database.scope(tenant(PLATFORM)).await.unwrap_err();
        assert!(matches!(refused, DatabaseError::PlatformIsNoTenant));

        let (ann, bob) = (Uuid::from_u128(0xA), Uuid::from_u128(0xB));
        let mut admin = t.admin().await;
        for (id, email) in [(ann, "ann@example.test"), (bob, "bob@example.test")] {
            execute(
                &mut admin,
                format!(
                    "INSERT INTO auth_gateway.user_accounts (id, email, email_salt, created_at, updated_at)
                     VALUES ('{id}', '{email}', decode(repeat('00', 16), 'hex'), now(), now());
                     INSERT INTO auth_gateway.sessions
                     (id, user_id, token_hash, created_at, last_seen_at, expires_at, absolute_expires_at, amr, auth_time)
                     VALUES ('{id}', '{id}', sha256('{id}'), now(), now(), now(), now(), '{{otp}}', now())"
                ),
            )
            .await;
        }
        let mut scope = t.database.scope(Actor::Person { user_id: ann }).await.unwrap();
        let emails: Vec<String> =
            sqlx::query_scalar("SELECT email FROM user_accounts").fetch_all(scope.connection()).await.unwrap();
        assert_eq!(emails, ["ann@example.test"]);
        let sessions: Vec<Uuid> =
            sqlx::query_scalar("SELECT user_id FROM sessions").fetch_all(scope.connection()).await.unwrap();
        assert_eq!(sessions, [ann]);
        for table in ["signing_keys", "sign_in_challenges", "policy_versions", "oauth_authorization_codes"] {
            let mut scope = t.database.scope(Actor::Person { user_id: ann }).await.unwrap();
            let statement = AssertSqlSafe(format!("SELECT 1 FROM {table}"));
            let error = sqlx::raw_sql(statement).execute(scope.connection()).await.unwrap_err();
            assert!(error.to_string().contains("permission denied"), "{table}: {error}");
        }
    })
    .await;
}

#[tokio::test]
async fn no_table_shows_a_tenant_a_row_of_another() {
    test_database::run(async |t| {
        let desk = Desk::set(t).await;
        let mut admin = t.admin().await;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname IN ('auth_gateway', 'security_service') AND c.relkind IN ('r', 'p', 'v')
               AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id'
                             AND has_column_privilege('gateward_app', c.oid, a.attnum, 'SELECT'))
             ORDER BY 1",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        let mut told_apart = 0;
        for table in tables {
            let count =
                format!("SELECT count(*) FILTER (WHERE workspace_id <> $1), count(*) FROM {table}");
            let (foreign, _): (i64, i64) =
                sqlx::query_as(AssertSqlSafe(count.clone())).bind(desk.demo).fetch_one(&mut admin).await.unwrap();
            let mut scope = t.database.scope(tenant(desk.demo)).await.unwrap();
            let (seen, own): (i64, i64) =
                sqlx::query_as(AssertSqlSafe(count)).bind(desk.demo).fetch_one(scope.connection()).await.unwrap();
            assert_eq!(seen, 0, "{table} shows a tenant rows of another");
            told_apart += i32::from(foreign > 0 && own > 0);
        }
        assert!(told_apart >= 6, "only {told_apart} tables had rows of both");
    })
    .await;
}

#[tokio::test]
async fn requests_of_two_tenants_over_one_connection_never_mix_even_when_cut_off() {
    test_database::run(async |t| {
        let mut desk = Desk::set(t).await;
        let one =
            Database::new(t.configuration.serve_login.options(), 1, t.clock.clone(), Randomness::System);
        desk.test = TestOrigin::with(t, one.clone(), &[]);
        let sides = [(desk.deployer(desk.demo), "notes"), (desk.deployer(desk.other), "theirs")];
        let slugs = async |authorization: &str| {
            let answer = desk.send("GET", "/v1/projects", authorization, "").await;
            assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            answer.json().to_string()
        };
        for round in 0..30 {
            // Cut off after a while that is a little longer each time: before the scope, in it, in its statement, at its end.
            let mut cut = Box::pin(slugs(&sides[round % 2].0));
            for _ in 0..round {
                if cut.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(cut);
            let (red, blue) = tokio::join!(slugs(&sides[0].0), slugs(&sides[1].0));
            for (seen, own, foreign) in [(red, sides[0].1, sides[1].1), (blue, sides[1].1, sides[0].1)] {
                assert!(seen.contains(own) && !seen.contains(foreign), "round {round}: {seen}");
            }
        }
        one.close().await;
    })
    .await;
}

#[tokio::test]
async fn connections_that_died_while_idle_cost_nobody_a_scope() {
    test_database::run(async |t| {
        let mut open = Vec::new();
        for _ in 0..8 {
            open.push(t.database.scope(Actor::System(Component::Operator)).await.unwrap());
        }
        drop(open);
        let login = t.configuration.serve_login.username();
        let kill = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE usename = '{login}' AND datname = current_database()"
        );
        execute(&mut t.admin().await, kill).await;
        t.database.scope(Actor::System(Component::Operator)).await.unwrap().commit().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_denied_leaves_no_transaction_behind() {
    test_database::run(async |t| {
        let options = t.configuration.forwarder_login.options();
        let one = Database::new(options, 1, t.clock.clone(), Randomness::System);
        for _ in 0..3 {
            let denied = one.scope(tenant(RED)).await.unwrap_err();
            assert!(matches!(denied, DatabaseError::RoleDenied { .. }), "{denied}");
            one.scope(Actor::System(Component::Forwarder)).await.unwrap().commit().await.unwrap();
        }
        one.close().await;
    })
    .await;
}

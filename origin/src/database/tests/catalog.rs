//! The catalog itself: every table enforces row-level security on everyone, its owner included, in every database. What a new table
//! lacks is said by name; a test makes tables that lack each of it.

use sqlx::PgConnection;

use crate::database::roles::GROUPS;
use crate::test_database::{self, execute};

/// What is wrong with the tables, views and functions of these schemas.
async fn complaints(connection: &mut PgConnection, schemas: &[&str]) -> Vec<String> {
    sqlx::query_scalar(
        r"WITH object AS (
            SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind, c.reloptions, c.relacl,
                   c.relrowsecurity AND c.relforcerowsecurity AS is_forced, pg_get_userbyid(c.relowner)::text AS owner,
                   EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id') AS is_tenants
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> '_sqlx_migrations')
          SELECT name || ' does not force row-level security' FROM object WHERE relkind IN ('r', 'p') AND NOT is_forced
          UNION ALL
          SELECT name || ' has no policy' FROM object
          WHERE relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = object.oid)
          UNION ALL
          SELECT name || ' belongs to ' || owner FROM object WHERE owner <> 'gateward_owner'
          UNION ALL
          SELECT name || ' is granted to everyone' FROM object
          WHERE EXISTS (SELECT FROM aclexplode(relacl) AS a WHERE a.grantee = 0)
          UNION ALL
          SELECT name || ' is a materialized view or a foreign table, which no policy holds for' FROM object WHERE relkind IN ('m', 'f')
          UNION ALL
          SELECT name || ' does not run as its reader' FROM object
          WHERE relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)
          UNION ALL
          -- A policy for the tenant's role on a table with a workspace_id must mention the setting.
          SELECT name || ' lets every tenant in by the policy ' || p.polname FROM object JOIN pg_policy AS p ON p.polrelid = object.oid
          WHERE is_tenants AND to_regrole('gateward_app') = ANY (p.polroles)
            AND coalesce(pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')
                !~ 'app\.(workspace|user)_id'
          UNION ALL
          SELECT name || ' has a policy for everyone: ' || p.polname FROM object JOIN pg_policy AS p ON p.polrelid = object.oid
          WHERE 0 = ANY (p.polroles)
          UNION ALL
          SELECT n.nspname || '.' || f.proname || ' runs with the rights of its owner' FROM pg_proc AS f
          JOIN pg_namespace AS n ON n.oid = f.pronamespace WHERE n.nspname = ANY ($1) AND f.prosecdef
          ORDER BY 1",
    )
    .bind(schemas)
    .fetch_all(connection)
    .await
    .unwrap()
}

const COMMAND: [&str; 2] = ["auth_gateway", "security_service"];

#[tokio::test]
async fn every_table_forces_row_level_security_and_has_a_policy() {
    test_database::run(async |t| {
        let mut admin = t.admin().await;
        assert_eq!(complaints(&mut admin, &COMMAND).await, Vec::<String>::new());
        let tables: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_tables WHERE schemaname IN ('auth_gateway', 'security_service')",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        assert!(tables >= 30, "only {tables} tables");
        assert_eq!(complaints(&mut t.read_side().await, &["public"]).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_new_table_without_a_policy_is_named_whatever_it_lacks() {
    test_database::run(async |t| {
        let mut admin = t.admin().await;
        let whole = |name: &str| {
            format!(
                "CREATE TABLE auth_gateway.{name} (workspace_id uuid);
                 ALTER TABLE auth_gateway.{name} OWNER TO gateward_owner;
                 ALTER TABLE auth_gateway.{name} ENABLE ROW LEVEL SECURITY;
                 ALTER TABLE auth_gateway.{name} FORCE ROW LEVEL SECURITY;
                 CREATE POLICY app ON auth_gateway.{name} FOR ALL TO gateward_app
                 USING (workspace_id = (SELECT nullif(current_setting('app.workspace_id', true), '')::uuid));"
            )
        };
        execute(&mut admin, whole("new")).await;
        assert_eq!(complaints(&mut admin, &COMMAND).await, Vec::<String>::new(), "nothing is lacking");
        let faults = [
            ("DROP POLICY app ON auth_gateway.new", "auth_gateway.new has no policy"),
            ("ALTER TABLE auth_gateway.new NO FORCE ROW LEVEL SECURITY", "auth_gateway.new does not force row-level security"),
            ("ALTER TABLE auth_gateway.new DISABLE ROW LEVEL SECURITY", "auth_gateway.new does not force row-level security"),
            ("ALTER TABLE auth_gateway.new OWNER TO CURRENT_USER", "auth_gateway.new belongs to "),
            ("GRANT SELECT ON auth_gateway.new TO PUBLIC", "auth_gateway.new is granted to everyone"),
            (
                "CREATE POLICY more ON auth_gateway.new FOR SELECT TO gateward_app USING (true)",
                "auth_gateway.new lets every tenant in by the policy more",
            ),
            ("CREATE POLICY more ON auth_gateway.new FOR SELECT USING (false)", "auth_gateway.new has a policy for everyone: more"),
            (
                "CREATE VIEW auth_gateway.seen AS SELECT * FROM auth_gateway.new;
                 ALTER VIEW auth_gateway.seen OWNER TO gateward_owner",
                "auth_gateway.seen does not run as its reader",
            ),
            (
                "CREATE MATERIALIZED VIEW auth_gateway.kept AS SELECT * FROM auth_gateway.new;
                 ALTER MATERIALIZED VIEW auth_gateway.kept OWNER TO gateward_owner",
                "auth_gateway.kept is a materialized view or a foreign table",
            ),
            (
                "CREATE FUNCTION auth_gateway.strong() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
                "auth_gateway.strong runs with the rights of its owner",
            ),
        ];
        for (fault, complaint) in faults {
            execute(&mut admin, "BEGIN".to_owned()).await;
            execute(&mut admin, fault.to_owned()).await;
            let found = complaints(&mut admin, &COMMAND).await;
            assert!(found.len() == 1 && found[0].starts_with(complaint), "{fault}: {found:?}");
            execute(&mut admin, "ROLLBACK".to_owned()).await;
        }
        execute(&mut admin, "DROP TABLE auth_gateway.new".to_owned()).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_may_change_or_delete_an_event_and_no_group_logs_in_or_bypasses() {
    test_database::run(async |t| {
        let mut admin = t.admin().await;
        let rights: Vec<String> = sqlx::query_scalar(
            "SELECT r.rolname || ' ' || p.privilege FROM pg_roles r, (VALUES ('UPDATE'), ('DELETE'), ('TRUNCATE')) p (privilege)
             WHERE r.rolname LIKE 'gateward\\_%' AND r.rolname <> 'gateward_owner'
               AND has_table_privilege(r.rolname, 'auth_gateway.events', p.privilege)",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert_eq!(rights, Vec::<String>::new());
        let strong: Vec<String> = sqlx::query_scalar(
            "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1) AND (rolcanlogin OR rolbypassrls OR rolsuper)",
        )
        .bind(&GROUPS[..])
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert_eq!(strong, Vec::<String>::new());
    })
    .await;
}

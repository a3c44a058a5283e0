//! The catalog itself: every table of both schemas enforces row-level security on everyone, its owner included.

use sqlx::Row;

use crate::test_database;

/// Tables that hold nothing of any tenant and may go without policies. There is none.
const GLOBAL: [&str; 0] = [];

#[tokio::test]
async fn every_table_forces_row_level_security_and_has_a_policy() {
    test_database::run(async |t| {
        let rows = sqlx::query(
            "SELECT n.nspname || '.' || c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                    pg_get_userbyid(c.relowner)::text AS owner,
                    (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
                    (SELECT count(*) FROM aclexplode(c.relacl) a WHERE a.grantee = 0) AS public_grants
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname IN ('auth_gateway', 'security_service') AND c.relkind IN ('r', 'p')",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert!(rows.len() >= 30, "only {} tables", rows.len());
        for row in rows {
            let name: String = row.get("name");
            if GLOBAL.contains(&name.as_str()) {
                continue;
            }
            assert!(row.get::<bool, _>("forced"), "{name} does not force row-level security");
            assert!(row.get::<i64, _>("policies") > 0, "{name} has no policy");
            assert_eq!(row.get::<String, _>("owner"), "gateward_owner", "{name}");
            assert_eq!(row.get::<i64, _>("public_grants"), 0, "{name} is granted to everyone");
        }
    })
    .await;
}

#[tokio::test]
async fn a_table_with_a_workspace_shows_the_app_role_that_workspace_only() {
    test_database::run(async |t| {
        // A policy for the tenant's role on a table with a workspace_id must mention the setting, except the named ones.
        let loose: Vec<String> = sqlx::query_scalar(
            "SELECT c.oid::regclass::text || ': ' || p.polname
             FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
             WHERE 'gateward_app'::regrole = ANY (p.polroles)
               AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id')
               AND coalesce(pg_get_expr(p.polqual, p.polrelid), '') || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')
                   !~ 'app\\.(workspace|user)_id'",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(loose, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn views_run_as_their_reader() {
    test_database::run(async |t| {
        let loose: Vec<String> = sqlx::query_scalar(
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname IN ('auth_gateway', 'security_service') AND c.relkind IN ('v', 'm')
               AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)",
        )
        .fetch_all(&mut t.admin().await)
        .await
        .unwrap();
        assert_eq!(loose, Vec::<String>::new());
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
            "SELECT rolname::text FROM pg_roles
             WHERE rolname = ANY ('{gateward_owner,gateward_app,gateward_system,gateward_forwarder,gateward_auditor,gateward_projector}')
               AND (rolcanlogin OR rolbypassrls OR rolsuper)",
        )
        .fetch_all(&mut admin)
        .await
        .unwrap();
        assert_eq!(strong, Vec::<String>::new());
    })
    .await;
}

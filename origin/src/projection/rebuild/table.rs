//! A table beside the one in use, and putting it in that one's place. What belongs to the table in use (rights, policies, indexes' names,
//! triggers, settings) is read from the catalog and given to the other; what hangs on it from outside and would be lost is refused.

use sqlx::{AssertSqlSafe, Row};

use crate::database::{DatabaseError, Scope};

/// What is behind the name of a table while it is filled.
pub(super) const SUFFIX: &str = "_rebuild";

/// What would be lost with the table: views and keys of others, publications, and the like.
pub(super) async fn dependents(scope: &mut Scope, table: &str) -> Result<Vec<String>, DatabaseError> {
    Ok(sqlx::query_scalar(
        "WITH present AS (SELECT to_regclass($1)::oid AS oid)
         SELECT DISTINCT 'view ' || c.oid::regclass::text FROM present, pg_depend AS d
         JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_class AS c ON c.oid = r.ev_class
         WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
           AND d.refobjid = present.oid AND c.oid <> present.oid
         UNION ALL SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass::text FROM present, pg_constraint
         WHERE contype = 'f' AND confrelid = present.oid AND conrelid <> present.oid
         UNION ALL SELECT 'publication ' || p.pubname FROM present, pg_publication_rel AS r
         JOIN pg_publication AS p ON p.oid = r.prpubid WHERE r.prrelid = present.oid
         UNION ALL SELECT 'table ' || inhrelid::regclass::text FROM present, pg_inherits WHERE inhparent = present.oid
         UNION ALL SELECT 'rule ' || rulename FROM present, pg_rewrite WHERE ev_class = present.oid
         UNION ALL SELECT 'replica identity by index' FROM present, pg_class
         WHERE pg_class.oid = present.oid AND relreplident = 'i'
         ORDER BY 1",
    )
    .bind(format!("public.{table}"))
    .fetch_all(scope.connection())
    .await?)
}

/// Makes the empty table, marked with `run`. What an earlier run has left goes.
pub(super) async fn create(scope: &mut Scope, table: &str, run: &str) -> Result<(), DatabaseError> {
    execute(
        scope,
        format!(
            "DROP TABLE IF EXISTS public.{table}{SUFFIX};
             CREATE TABLE public.{table}{SUFFIX} (LIKE public.{table} INCLUDING ALL);
             COMMENT ON TABLE public.{table}{SUFFIX} IS 'gateward rebuild {run}'"
        ),
    )
    .await
}

/// Whether the table that is being filled is still the one that `run` made.
pub(super) async fn is_ours(scope: &mut Scope, table: &str, run: &str) -> Result<bool, DatabaseError> {
    let comment: Option<String> = sqlx::query_scalar("SELECT obj_description(to_regclass($1), 'pg_class')")
        .bind(format!("public.{table}{SUFFIX}"))
        .fetch_one(scope.connection())
        .await?;
    Ok(comment.is_some_and(|comment| comment == format!("gateward rebuild {run}")))
}

/// Keeps everybody away from the table in use until the scope ends, and lets the scope see its rows, whatever the policies.
/// Gives what is to be said of the table that takes its place.
pub(super) async fn take(scope: &mut Scope, table: &str) -> Result<Heritage, DatabaseError> {
    execute(scope, format!("LOCK TABLE public.{table} IN ACCESS EXCLUSIVE MODE")).await?;
    let heritage = Heritage::of(scope, table).await?;
    // The owner is bound by the policies. Nobody sees this: the table is locked, and gone when the scope is stored.
    execute(scope, format!("ALTER TABLE public.{table} NO FORCE ROW LEVEL SECURITY")).await?;
    Ok(heritage)
}

/// Puts the new table in the place of the one that was taken.
pub(super) async fn replace(scope: &mut Scope, table: &str, heritage: Heritage) -> Result<(), DatabaseError> {
    execute(
        scope,
        format!("DROP TABLE public.{table}; ALTER TABLE public.{table}{SUFFIX} RENAME TO {table}"),
    )
    .await?;
    // What the owner's default privileges gave to a new table, the old one may not have had.
    let granted: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', $1, CASE WHEN a.grantee = 0 THEN 'PUBLIC'
                                ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
         FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = to_regclass($1) AND a.grantee <> c.relowner",
    )
    .bind(format!("public.{table}"))
    .fetch_all(scope.connection())
    .await?;
    for statement in granted.into_iter().chain(heritage.statements) {
        execute(scope, statement).await?;
    }
    let fresh = indexes(scope, table).await?;
    for (name, definition) in fresh {
        let known = heritage.indexes.iter().find(|(_, known)| *known == definition);
        let Some((known, _)) = known.filter(|(known, _)| *known != name) else { continue };
        let rename: String =
            sqlx::query_scalar("SELECT format('ALTER INDEX public.%I RENAME TO %I', $1::text, $2::text)")
                .bind(&name)
                .bind(known)
                .fetch_one(scope.connection())
                .await?;
        execute(scope, rename).await?;
    }
    Ok(())
}

/// What a table has besides its rows and what `LIKE` copies.
pub(super) struct Heritage {
    /// To be run in order once the new table has the old one's name.
    statements: Vec<String>,
    /// Name and definition of each index.
    indexes: Vec<(String, String)>,
}

impl Heritage {
    async fn of(scope: &mut Scope, table: &str) -> Result<Self, DatabaseError> {
        let statements = sqlx::query_scalar(
            "WITH present AS (SELECT * FROM pg_class WHERE oid = to_regclass($1))
             SELECT statement FROM (
             SELECT 1 AS step, format('ALTER TABLE %s SET (%s)', $1, array_to_string(reloptions, ', ')) AS statement
             FROM present WHERE reloptions IS NOT NULL
             UNION ALL SELECT 2, format('COMMENT ON TABLE %s IS %L', $1, obj_description(oid, 'pg_class')) FROM present
             UNION ALL SELECT 3, format('ALTER TABLE %s REPLICA IDENTITY %s', $1,
                                        CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
             FROM present WHERE relreplident IN ('f', 'n')
             UNION ALL SELECT 4, format('GRANT %s ON %s TO %s%s', a.privilege_type, $1,
                           CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                           CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
             FROM present, aclexplode(relacl) AS a WHERE a.grantee <> relowner
             UNION ALL SELECT 5, format('GRANT %s (%I) ON %s TO %s%s', a.privilege_type, c.attname, $1,
                           CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                           CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
             FROM present JOIN pg_attribute AS c ON c.attrelid = present.oid, aclexplode(c.attacl) AS a
             WHERE c.attnum > 0 AND NOT c.attisdropped
             UNION ALL SELECT 6, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', polname, $1,
                           CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                           CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                       WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                           (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
                            FROM unnest(polroles) AS r),
                           coalesce(' USING (' || pg_get_expr(polqual, polrelid) || ')', ''),
                           coalesce(' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')', ''))
             FROM present JOIN pg_policy ON polrelid = present.oid
             UNION ALL SELECT 7, format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', $1) FROM present WHERE relrowsecurity
             UNION ALL SELECT 8, format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', $1) FROM present WHERE relforcerowsecurity
             UNION ALL SELECT 9, format('ALTER TABLE %s ADD CONSTRAINT %I %s', $1, conname, pg_get_constraintdef(c.oid))
             FROM present JOIN pg_constraint AS c ON c.conrelid = present.oid WHERE c.contype = 'f'
             UNION ALL SELECT 10, pg_get_triggerdef(t.oid) FROM present JOIN pg_trigger AS t ON t.tgrelid = present.oid
             WHERE NOT t.tgisinternal) AS all_of_them
             ORDER BY step, statement",
        )
        .bind(format!("public.{table}"))
        .fetch_all(scope.connection())
        .await?;
        Ok(Self { statements, indexes: indexes(scope, table).await? })
    }
}

/// Each index with its definition, from which its own name and that of the table are taken.
async fn indexes(scope: &mut Scope, table: &str) -> Result<Vec<(String, String)>, DatabaseError> {
    let rows = sqlx::query(
        "SELECT c.relname::text AS name,
                i.indisprimary::text || regexp_replace(pg_get_indexdef(c.oid), '^CREATE (UNIQUE )?INDEX .* ON (ONLY )?[^ ]+ USING ', '\\1')
                AS definition
         FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
         WHERE i.indrelid = to_regclass($1) ORDER BY c.relname",
    )
    .bind(format!("public.{table}"))
    .fetch_all(scope.connection())
    .await?;
    rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("definition")?))).collect()
}

pub(super) async fn execute(scope: &mut Scope, statement: String) -> Result<(), DatabaseError> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(scope.connection()).await?;
    Ok(())
}

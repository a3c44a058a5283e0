//! Row-level security: enabled and forced on every table, with a policy, and no view that runs as its owner.

use super::Seen;
use super::examination::{EveryStore, Examination, Place, Unexamined, refused};
use super::finding::Finding;

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let mut stores = EveryStore::default();
    for place in Place::ALL {
        let looked = check_one(e, place, &mut stores.seen).await;
        stores.after(looked)?;
    }
    stores.seen()
}

async fn check_one(e: &Examination, place: Place, seen: &mut Seen) -> Result<(), Unexamined> {
    let mut scope = e.scope(place).await?;
    // A table that a rebuild is filling has nobody's rights yet; it gets its policies with its name.
    let (tables, loose): (i64, Vec<String>) = sqlx::query_as(
        "WITH tables AS (
             SELECT n.nspname || '.' || c.relname AS name, c.relkind,
                    CASE WHEN c.relkind = 'v' THEN 'security_invoker=true' = ANY (coalesce(c.reloptions, '{}'))
                         ELSE c.relrowsecurity AND c.relforcerowsecurity
                              AND EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid) END AS is_tight
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE pg_get_userbyid(c.relowner) = 'gateward_owner' AND c.relkind IN ('r', 'p', 'v')
               AND n.nspname IN ('public', 'auth_gateway', 'security_service') AND c.relname NOT LIKE '%\\_rebuild')
         SELECT count(*), coalesce(array_agg(name ORDER BY name) FILTER (WHERE NOT is_tight), '{}') FROM tables",
    )
    .fetch_one(scope.connection())
    .await
    .map_err(refused(place))?;
    seen.facts.push(format!("{}: {tables} tables and views", place.name()));
    if !loose.is_empty() {
        seen.findings.push(Finding::failure(
            "row-security",
            place.name(),
            format!("not forced, without a policy, or a view that runs as its owner: {}", loose.join(", ")),
            "ALTER TABLE … ENABLE ROW LEVEL SECURITY; ALTER TABLE … FORCE ROW LEVEL SECURITY; and for a view ALTER VIEW … SET (security_invoker = true). \
             Then find out who changed it.",
        ));
    }
    Ok(())
}

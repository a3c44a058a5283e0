//! Whether every schema and table is there that the migrations make.

use std::collections::BTreeSet;

use super::Seen;
use super::examination::{EveryStore, Examination, Place, Unexamined, refused};
use super::finding::Finding;
use crate::database::migrate;

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let mut stores = EveryStore::default();
    for place in Place::ALL {
        let looked = check_one(e, place, &mut stores.seen).await;
        stores.after(looked)?;
    }
    stores.seen()
}

async fn check_one(e: &Examination, place: Place, seen: &mut Seen) -> Result<(), Unexamined> {
    let migrator = match place {
        Place::Command => migrate::command(),
        Place::Read => migrate::read(),
        Place::Registry => migrate::registry(),
    };
    let expected = migrate::tables(migrator);
    let mut scope = e.scope(place).await?;
    let present: Vec<String> = sqlx::query_scalar(
        "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND n.nspname IN ('public', 'auth_gateway', 'security_service')",
    )
    .fetch_all(scope.connection())
    .await
    .map_err(refused(place))?;
    let present: BTreeSet<String> = present.into_iter().collect();
    let missing: Vec<&str> =
        expected.iter().filter(|table| !present.contains(*table)).map(String::as_str).collect();
    seen.facts.push(format!(
        "{}: {} of {} tables",
        place.name(),
        expected.len() - missing.len(),
        expected.len()
    ));
    if !missing.is_empty() {
        seen.findings.push(Finding::failure(
            "table-missing",
            place.name(),
            format!("not there: {}", missing.join(", ")),
            "Somebody removed or renamed them. Name them back, or restore them from a backup; the read side and the registry can be rebuilt \
             once they are there.",
        ));
    }
    Ok(())
}

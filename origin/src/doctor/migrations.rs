//! What has been migrated in each store, against what this binary brings.

use std::collections::BTreeMap;

use super::Seen;
use super::examination::{EveryStore, Examination, Place, Unexamined, refused};
use super::finding::Finding;
use crate::database::migrate;
use crate::database::sqlstate;

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
    let mut scope = e.scope(place).await?;
    let rows: Result<Vec<(i64, bool, Vec<u8>)>, _> =
        sqlx::query_as("SELECT version, success, checksum FROM public._sqlx_migrations ORDER BY version")
            .fetch_all(scope.connection())
            .await;
    let name = place.name();
    let run = "Run gateward migrate with this version of gateward.";
    let applied: BTreeMap<i64, (bool, Vec<u8>)> = match rows {
        Ok(rows) => {
            rows.into_iter().map(|(version, success, checksum)| (version, (success, checksum))).collect()
        }
        // undefined_table, insufficient_privilege: nothing was migrated, or only what came before this right.
        Err(error) if matches!(sqlstate(&error).as_deref(), Some("42P01" | "42501")) => {
            seen.findings.push(Finding::failure(
                "migrations-missing",
                name,
                "it was never migrated, or not for long",
                run,
            ));
            return Ok(());
        }
        Err(error) => return Err(refused(place)(error)),
    };
    let ours: BTreeMap<i64, &[u8]> =
        migrator.iter().map(|migration| (migration.version, migration.checksum.as_ref())).collect();
    let list = |versions: Vec<i64>| versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    seen.facts.push(format!("{name}: at {}", applied.keys().max().copied().unwrap_or(0)));

    let missing: Vec<i64> = ours
        .keys()
        .filter(|version| !applied.get(*version).is_some_and(|(success, _)| *success))
        .copied()
        .collect();
    if !missing.is_empty() {
        let found = format!("not migrated: {}", list(missing));
        seen.findings.push(Finding::failure("migrations-missing", name, found, run));
    }
    let unknown: Vec<i64> = applied.keys().filter(|version| !ours.contains_key(*version)).copied().collect();
    if !unknown.is_empty() {
        seen.findings.push(Finding::warning(
            "migrations-unknown",
            name,
            format!("migrated by a newer version of gateward: {}", list(unknown)),
            "Upgrade this host, or ignore it while an upgrade is under way: each migration is safe beside the version before.",
        ));
    }
    let changed: Vec<i64> = applied
        .iter()
        .filter(|(version, (_, checksum))| ours.get(version).is_some_and(|ours| *ours != checksum.as_slice()))
        .map(|(version, _)| *version)
        .collect();
    if !changed.is_empty() {
        seen.findings.push(Finding::failure(
            "migrations-changed",
            name,
            format!("migrated by other statements than this version has: {}", list(changed)),
            "Find out which build migrated it. The tables may not be what this version takes them for.",
        ));
    }
    Ok(())
}

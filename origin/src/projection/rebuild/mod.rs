//! Makes a store again from events, in tables beside those in use, and swaps them in one transaction. Forwarders go on all the while.
//!
//! Nothing is lost across the swap. An event is committed before it is delivered, so what was delivered before the copy began is in the
//! copy. The swap keeps deliveries waiting, takes over from the events what was delivered since, and stores; whatever waited, or is still
//! queued, is delivered into the new table. Nothing is doubled: rows are keyed on the event, or guarded by a version.
//!
//! A run that is killed leaves the tables in use as they were; what it had made is removed by the next.

mod read_side;
mod registry;
mod table;

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::{Store, recorded};
use crate::database::{Actor, Component, Database, DatabaseError, Scope, sqlstate};
use crate::registry::{TABLES, Unreadable};

/// "gateward", as the key of the advisory lock that keeps two runs apart.
const LOCK: i64 = 0x6761_7465_7761_7264;
/// Events in a page of the copy.
const PAGE: i64 = 1_000;
/// How long a swap may wait for those who read the table; meanwhile deliveries wait behind it.
const LOCK_TIMEOUT: &str = "2s";
/// How often a swap is tried, with a pause in between in which deliveries go on.
const SWAPS: u32 = 30;
/// That pause.
const PAUSE: Duration = Duration::from_secs(1);

/// How far a rebuild has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many events were copied, of about so many.
    Copied {
        /// So far.
        events: u64,
        /// An estimate; 0 when there is none.
        about: u64,
    },
    /// What happened since the copy began was copied, too.
    CaughtUp {
        /// How many events.
        events: u64,
    },
    /// Somebody reads the table; the swap is tried again.
    Waiting {
        /// How often it was tried.
        tries: u32,
    },
}

/// What a rebuild came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rebuilt {
    /// The store.
    pub store: Store,
    /// Events read from the command database in the copy.
    pub events: u64,
    /// Rows in the new tables.
    pub rows: u64,
    /// Rows that were delivered while the copy ran, and taken over in the swap.
    pub taken_over: u64,
    /// Events that the store will not take, and that were set aside before: they are not in it.
    pub set_aside: u64,
    /// How long it took.
    pub milliseconds: u64,
}

/// Why a store was not rebuilt. The tables in use are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Another run is at it.
    #[error("another rebuild of this store is running; wait for it to end")]
    Busy,
    /// Another run has begun since.
    #[error("another rebuild of this store has taken over; nothing was swapped")]
    TakenOver,
    /// Something would be lost with the table.
    #[error(
        "public.{table} cannot be replaced, since these depend on it: {}; drop them, rebuild, and create them again", .dependents.join(", ")
    )]
    Dependents {
        /// The table.
        table: &'static str,
        /// What depends on it.
        dependents: Vec<String>,
    },
    /// The store will not take events that it ought to have.
    #[error(
        "the store refuses {} event{} that nobody set aside, such as {}: {reason}; mend the store's table and run it again",
        .events.len(), if .events.len() == 1 { "" } else { "s" }, .events.first().copied().unwrap_or_default()
    )]
    Refused {
        /// Their ids.
        events: Vec<Uuid>,
        /// What the store said of the first.
        reason: String,
    },
    /// Somebody kept the table for too long.
    #[error(
        "somebody has read public tables of the store in one long transaction; nothing was swapped. Run it again when that has ended"
    )]
    Locked,
    /// An event cannot be projected.
    #[error(transparent)]
    Payload(#[from] Unreadable),
    /// The command database.
    #[error("command database: {0}")]
    Command(#[source] DatabaseError),
    /// The store.
    #[error("store: {0}")]
    Store(#[from] DatabaseError),
}

/// A rebuild under way.
struct Run<'a> {
    store: Store,
    command: &'a Database,
    /// The store by an administrator's login, one connection.
    database: &'a Database,
    /// Marks the tables that this run has made.
    id: String,
    /// The store's clock when the copy began.
    began: time::OffsetDateTime,
    progress: &'a (dyn Fn(Progress) + Sync),
    rebuilt: Rebuilt,
}

/// Rebuilds a store. `database` is the store by a login that may act as its owner, with a pool of one connection.
pub async fn run(
    store: Store,
    command: &Database,
    database: &Database,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Rebuilt, RebuildError> {
    let started = command.clock().instant();
    let mut scope = database.scope(Actor::System(Component::Rebuilder)).await?;
    let is_alone: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(scope.connection())
        .await
        .map_err(DatabaseError::from)?;
    if !is_alone {
        return Err(RebuildError::Busy);
    }
    let id = scope.new_id().simple().to_string();
    let began: time::OffsetDateTime = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(scope.connection())
        .await
        .map_err(DatabaseError::from)?;
    for table in tables(store) {
        let dependents = table::dependents(&mut scope, table).await?;
        if !dependents.is_empty() {
            return Err(RebuildError::Dependents { table, dependents });
        }
        table::create(&mut scope, table, &id).await?;
    }
    scope.commit().await?;

    let rebuilt = Rebuilt { store, events: 0, rows: 0, taken_over: 0, set_aside: 0, milliseconds: 0 };
    let mut run = Run { store, command, database, id, began, progress, rebuilt };
    match store {
        Store::Read => run.copy_read_side().await?,
        Store::Registry => run.copy_registry().await?,
    }
    run.swap().await?;
    run.rebuilt.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    // The lock goes with the connection in any case.
    if let Ok(mut scope) = database.scope(Actor::System(Component::Rebuilder)).await {
        let _ = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(scope.connection()).await;
    }
    Ok(run.rebuilt)
}

/// The tables of a store.
fn tables(store: Store) -> Vec<&'static str> {
    match store {
        Store::Read => vec!["auth_events"],
        Store::Registry => TABLES.iter().map(|table| table.name()).collect(),
    }
}

impl Run<'_> {
    /// A transaction as the owner, as long as the new tables are this run's.
    async fn scope(&self) -> Result<Scope, RebuildError> {
        let mut scope = self.database.scope(Actor::System(Component::Rebuilder)).await?;
        for table in tables(self.store) {
            if !table::is_ours(&mut scope, table, &self.id).await? {
                return Err(RebuildError::TakenOver);
            }
        }
        Ok(scope)
    }

    async fn about(&self) -> u64 {
        u64::try_from(recorded::about(self.command).await.unwrap_or(0)).unwrap_or(0)
    }

    async fn swap(&mut self) -> Result<(), RebuildError> {
        let mut scope = self.scope().await?;
        for table in tables(self.store) {
            table::execute(&mut scope, format!("ANALYZE public.{table}{}", table::SUFFIX)).await?;
        }
        scope.commit().await?;
        for tries in 1..=SWAPS {
            match self.try_swap().await {
                Err(RebuildError::Store(error)) if is_lock_timeout(&error) => {
                    (self.progress)(Progress::Waiting { tries });
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
        Err(RebuildError::Locked)
    }

    async fn try_swap(&mut self) -> Result<(), RebuildError> {
        let mut scope = self.scope().await?;
        sqlx::query("SELECT set_config('lock_timeout', $1, true)")
            .bind(LOCK_TIMEOUT)
            .execute(scope.connection())
            .await
            .map_err(DatabaseError::from)?;
        let mut heritages = Vec::new();
        for table in tables(self.store) {
            heritages.push((table, table::take(&mut scope, table).await?));
        }
        // Asking the command database here keeps deliveries waiting for as long as it takes. It is about the few rows that were
        // delivered since the copy caught up, and there is no other moment at which these are all.
        let taken_over = match self.store {
            Store::Read => self.take_over_read_side(&mut scope).await?,
            Store::Registry => self.take_over_registry(&mut scope).await?,
        };
        let mut rows = 0;
        for (table, heritage) in heritages {
            table::replace(&mut scope, table, heritage).await?;
            let about: i64 = sqlx::query_scalar(
                "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass($1)",
            )
            .bind(format!("public.{table}"))
            .fetch_one(scope.connection())
            .await
            .map_err(DatabaseError::from)?;
            rows += u64::try_from(about).unwrap_or(0);
        }
        scope.commit().await?;
        self.rebuilt.taken_over = taken_over;
        self.rebuilt.rows = rows + taken_over;
        Ok(())
    }
}

fn is_lock_timeout(error: &DatabaseError) -> bool {
    // lock_not_available; a deadlock with somebody who reads both tables counts as the same.
    match error {
        DatabaseError::Refused(source) => sqlstate(source).as_deref() == Some("55P03"),
        DatabaseError::Contended(_) => true,
        _ => false,
    }
}

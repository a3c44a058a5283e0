//! Finds the rows in which a store differs from the events. Nothing that is queued, in flight or just delivered is called a difference,
//! whatever goes on meanwhile: each candidate is confirmed by looks at both sides in the order in which an event moves.
//!
//! - *Missing*: the event was committed and is neither queued nor set aside, so it was acknowledged; after that the store has no row.
//! - *Extra*: the store has a row; after that no event of the kind is known. An event is committed before it is delivered.
//! - *Changed*: both sides have it, and what never changes differs.

mod buckets;
mod registry;

use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

pub use self::buckets::read_side;
pub use self::registry::registry;
use super::Store;
use crate::database::{Database, DatabaseError};
use crate::registry::Unreadable;

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// How old an event must be to be compared in bulk; younger ones are settled sooner or later.
    pub settle: Duration,
    /// How many differences are listed; there may be more.
    pub most: usize,
    /// When to stop with what there is.
    pub deadline: Option<Instant>,
}

impl Default for Reach {
    fn default() -> Self {
        Self { settle: Duration::from_mins(1), most: 10_000, deadline: None }
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drift {
    /// The store that was compared with the events.
    pub store: Store,
    /// How many events, or rows of the registry, were compared.
    pub compared: u64,
    /// Buckets of which the sums differed, and which were looked into.
    pub buckets_differing: u64,
    /// The rows that differ, as far as they are listed.
    pub differences: Vec<Difference>,
    /// Whether everything was compared and every difference is listed.
    pub is_complete: bool,
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no row.
    Missing,
    /// The row says something else.
    Changed,
    /// No event stands for the row.
    Extra,
}

impl Kind {
    /// As it is said.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Extra => "extra",
        }
    }
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// How.
    pub kind: Kind,
    /// The table.
    pub table: &'static str,
    /// The row's key: the event's id in `auth_events`, the aggregate's elsewhere.
    pub id: Uuid,
}

/// Why two stores could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DriftError {
    /// The command database.
    #[error("command database: {0}")]
    Command(#[source] DatabaseError),
    /// The store.
    #[error("{}: {source}", .store.name())]
    Store {
        /// Which.
        store: Store,
        /// What it said.
        source: DatabaseError,
    },
    /// An event cannot be projected.
    #[error(transparent)]
    Payload(#[from] Unreadable),
}

impl DriftError {
    pub(super) fn of(store: Store) -> impl Fn(DatabaseError) -> Self {
        move |source| Self::Store { store, source }
    }
}

/// Compares one store, by its own login, with the events.
pub async fn find(
    store: Store,
    command: &Database,
    database: &Database,
    reach: Reach,
) -> Result<Drift, DriftError> {
    match store {
        Store::Read => read_side(command, database, reach).await,
        Store::Registry => registry(command, database, reach).await,
    }
}

impl Drift {
    fn new(store: Store) -> Self {
        Self { store, compared: 0, buckets_differing: 0, differences: Vec::new(), is_complete: true }
    }

    /// Whether no more is to be looked for; then the whole is not complete.
    fn is_over(&mut self, reach: Reach, now: Instant) -> bool {
        let over =
            self.differences.len() >= reach.most || reach.deadline.is_some_and(|deadline| now >= deadline);
        self.is_complete &= !over;
        over
    }
}

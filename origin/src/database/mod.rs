//! The only way to Postgres. A [`Database`] hands out nothing but a [`Scope`]: a transaction that has taken its actor's role and
//! tenant before the first statement of the caller. No other module may open a connection, except the migration in here and
//! the harness of the tests.

mod actor;
mod error;
pub mod migrate;
pub(crate) mod roles;
mod scope;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use self::actor::{Actor, Component, PLATFORM};
pub use self::error::DatabaseError;
pub(crate) use self::error::sqlstate;
pub use self::scope::Scope;
use crate::clock::{Clock, Randomness};

/// A pool of connections whose login role can do nothing by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    clock: Clock,
    randomness: Randomness,
}

impl Database {
    /// A pool of up to `connections`. Connects when the first scope is asked for, so that a database that is down at the start
    /// is an error of that scope, not of the process.
    pub fn new(options: PgConnectOptions, connections: u32, clock: Clock, randomness: Randomness) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(5))
            // A scope finds out by itself, with its first statement.
            .test_before_acquire(false)
            .idle_timeout(Duration::from_mins(5))
            .connect_lazy_with(options.application_name("gateward"));
        Self { pool, clock, randomness }
    }

    /// Opens a transaction for `actor`. Nothing is stored unless [`Scope::commit`] is called.
    pub async fn scope(&self, actor: Actor) -> Result<Scope, DatabaseError> {
        Scope::open(&self.pool, actor, self.clock.clone(), self.randomness.clone()).await
    }

    /// The clock that stamps events.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The source of identifiers.
    pub fn randomness(&self) -> &Randomness {
        &self.randomness
    }

    /// Closes every connection and waits until they are closed.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

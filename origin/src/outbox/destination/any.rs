//! One of the kinds there are, built from its row and the environment. Whoever adds a kind adds a variant, and to every `match`.

use super::{Destination, Postgres, Registered, Undelivered};
use crate::clock::{Clock, Randomness};
use crate::configuration::{self, Faults, Source};
use crate::database::Database;
use crate::outbox::Delivery;
use crate::registry::ClientRegistry;

/// How many connections one destination may hold open: its forwarder delivers one batch at a time.
const CONNECTIONS: u32 = 2;

/// What destinations are built from besides their rows.
#[derive(Clone)]
pub struct Surroundings {
    /// Where credentials are: the environment.
    pub source: Source,
    /// The command database, by the forwarder's login.
    pub command: Database,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub randomness: Randomness,
}

/// A destination of any kind.
#[derive(Debug)]
pub enum AnyDestination {
    /// `public.auth_events` of a Postgres.
    Postgres(Postgres),
    /// The client registry.
    Registry(ClientRegistry),
}

impl AnyDestination {
    /// Builds what a row asks for. Connects to nothing yet; a faulty or missing credential is named with its destination.
    pub fn open(registered: &Registered, surroundings: &Surroundings) -> Result<Self, Faults> {
        let Registered { name, kind, .. } = registered;
        let Surroundings { source, clock, randomness, .. } = surroundings;
        match kind.as_str() {
            "postgres" => {
                let url = configuration::destination_url(source, name)?;
                let database = Database::new(url.options(), CONNECTIONS, clock.clone(), randomness.clone());
                Ok(Self::Postgres(Postgres::new(database)))
            }
            "registry" => {
                let url = configuration::destination_url(source, name)?;
                let database = Database::new(url.options(), CONNECTIONS, clock.clone(), randomness.clone());
                Ok(Self::Registry(ClientRegistry::new(database)))
            }
            unknown => Err(Faults::of_unknown_kind(name, unknown)),
        }
    }

    /// Closes its connections.
    pub async fn close(&self) {
        match self {
            Self::Postgres(postgres) => postgres.close().await,
            Self::Registry(registry) => registry.close().await,
        }
    }
}

impl Destination for AnyDestination {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        match self {
            Self::Postgres(postgres) => postgres.deliver(batch).await,
            Self::Registry(registry) => registry.deliver(batch).await,
        }
    }

    fn most_rows(&self) -> usize {
        match self {
            Self::Postgres(postgres) => postgres.most_rows(),
            Self::Registry(registry) => registry.most_rows(),
        }
    }
}

//! What checks look at: the configuration and the stores, each by the login that the gateway itself uses. A store that is away is known to be
//! before the checks begin, so that none of them waits for it.

use std::time::Duration;

use super::Seen;
use crate::clock::{Clock, Randomness};
use crate::configuration::{DatabaseUrl, DoctorConfiguration, Source};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::projection::Store;

/// How long a store may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections to each store.
const CONNECTIONS: u32 = 2;

/// What is seen of the stores, one after the other. What is seen of one stands though another is away.
#[derive(Default)]
pub(super) struct EveryStore {
    pub(super) seen: Seen,
    away: Option<Place>,
}

impl EveryStore {
    /// Goes on after a store was looked at, or was away.
    pub(super) fn after(&mut self, looked: Result<(), Unexamined>) -> Result<(), Unexamined> {
        match looked {
            Err(Unexamined::Away(place)) => self.away = self.away.or(Some(place)),
            other => other?,
        }
        Ok(())
    }

    /// All of it; where nothing was seen, that a store is away is the answer.
    pub(super) fn seen(self) -> Result<Seen, Unexamined> {
        match self.away {
            Some(place) if self.seen.facts.is_empty() && self.seen.findings.is_empty() => {
                Err(Unexamined::Away(place))
            }
            _ => Ok(self.seen),
        }
    }
}

/// One of the three stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Command,
    Read,
    Registry,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Command, Self::Read, Self::Registry];

    /// As it is called in findings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Command => "command database",
            Self::Read => "read database",
            Self::Registry => "client registry",
        }
    }

    /// The variable that names it.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Command => "DATABASE_URL",
            Self::Read => "READ_DATABASE_URL",
            Self::Registry => "REGISTRY_DATABASE_URL",
        }
    }

    /// Whom the doctor acts as there.
    fn actor(self) -> Actor {
        Actor::System(match self {
            Self::Command => Component::Auditor,
            Self::Read => Component::Projector,
            Self::Registry => Component::Registrar,
        })
    }
}

impl From<Store> for Place {
    fn from(store: Store) -> Self {
        match store {
            Store::Read => Self::Read,
            Store::Registry => Self::Registry,
        }
    }
}

/// Why a check could not look.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unexamined {
    /// A store it needs is away, which is a finding of its own.
    #[error("the {} is away", .0.name())]
    Away(Place),
    /// The store refused.
    #[error("{}: {source}", .place.name())]
    Refused {
        place: Place,
        #[source]
        source: DatabaseError,
    },
    /// Another reason.
    #[error("{0}")]
    Other(String),
}

/// A store as it was found.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) url: Option<DatabaseUrl>,
    pub(super) database: Option<Database>,
    /// Why it cannot be used.
    pub(super) fault: Option<DatabaseError>,
    /// By how much its clock is ahead of this host's, and how uncertain that is; in seconds.
    pub(super) skew: Option<(f64, f64)>,
}

/// Everything there is to look at.
pub(super) struct Examination {
    pub(super) source: Source,
    pub(super) clock: Clock,
    pub(super) stores: Vec<Found>,
}

impl Examination {
    /// Reads the configuration and tries each store.
    pub(super) async fn begin(source: &Source, clock: Clock) -> Self {
        let DoctorConfiguration { command, read, registry } = DoctorConfiguration::read(source);
        let open = |place, url: Option<DatabaseUrl>| Box::pin(find(place, url, clock.clone()));
        let (command, read, registry) = tokio::join!(
            open(Place::Command, command),
            open(Place::Read, read),
            open(Place::Registry, registry)
        );
        Self { source: source.clone(), clock, stores: vec![command, read, registry] }
    }

    /// A store that answers.
    pub(super) fn database(&self, place: Place) -> Result<&Database, Unexamined> {
        let found = self.stores.iter().find(|found| found.place == place);
        found
            .filter(|found| found.fault.is_none())
            .and_then(|found| found.database.as_ref())
            .ok_or(Unexamined::Away(place))
    }

    /// A transaction in a store, as whom the doctor acts there.
    pub(super) async fn scope(&self, place: Place) -> Result<Scope, Unexamined> {
        let database = self.database(place)?;
        database.scope(place.actor()).await.map_err(|source| Unexamined::Refused { place, source })
    }

    /// Closes what was opened.
    pub(super) async fn end(&self) {
        for found in &self.stores {
            if let Some(database) = &found.database {
                database.close().await;
            }
        }
    }
}

/// What a store refused, said by the place it was in.
pub(super) fn refused(place: Place) -> impl Fn(sqlx::Error) -> Unexamined {
    move |source| Unexamined::Refused { place, source: source.into() }
}

async fn find(place: Place, url: Option<DatabaseUrl>, clock: Clock) -> Found {
    let mut found = Found { place, url, database: None, fault: None, skew: None };
    let Some(url) = &found.url else { return found };
    let database = Database::new(url.options(), CONNECTIONS, clock.clone(), Randomness::System);
    match tokio::time::timeout(PATIENCE, ask(&database, place, &clock)).await {
        Ok(Ok(skew)) => found.skew = Some(skew),
        Ok(Err(fault)) => found.fault = Some(fault),
        Err(_) => found.fault = Some(DatabaseError::Unreachable(sqlx::Error::PoolTimedOut)),
    }
    found.database = Some(database);
    found
}

/// Asks a store for its time. The answer was true at some moment between asking and hearing it.
async fn ask(database: &Database, place: Place, clock: &Clock) -> Result<(f64, f64), DatabaseError> {
    let mut scope = database.scope(place.actor()).await?;
    let (started, before) = (clock.instant(), clock.now());
    let theirs: time::OffsetDateTime =
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(scope.connection()).await?;
    let uncertain = started.elapsed().as_secs_f64() / 2.0;
    Ok(((theirs - before).as_seconds_f64() - uncertain, uncertain))
}

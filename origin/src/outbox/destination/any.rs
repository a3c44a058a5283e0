//! One of the kinds there are, built from its row and the environment. Whoever adds a kind adds a variant, and to every `match`.

use tokio::sync::watch;

use super::{
    DeliveryFault, Destination, Postgres, Registered, Undelivered, nats::Nats, postgrest::Postgrest,
    webhook::Webhook,
};
use crate::audit::{AuditLog, KeeperError};
use crate::clock::{Clock, Randomness};
use crate::configuration::{self, AuditConfiguration, Faults, Source};
use crate::database::Database;
use crate::egress::Client;
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
    /// The audit log, in the command database.
    AuditLog(Box<AuditLog>),
    /// The same behind PostgREST.
    Postgrest(Box<Postgrest>),
    /// A receiver of webhooks.
    Webhook(Box<Webhook>),
    /// A stream of NATS JetStream.
    Nats(Box<Nats>),
}

impl AnyDestination {
    /// Builds what a row asks for. Connects to nothing yet; every faulty or missing credential is named with its destination.
    pub fn open(registered: &Registered, surroundings: &Surroundings) -> Result<Self, Faults> {
        let Registered { name, kind, options, .. } = registered;
        let Surroundings { source, command, clock, randomness } = surroundings;
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
            "sealer" => {
                let configuration = AuditConfiguration::read(source)?;
                Ok(Self::AuditLog(Box::new(AuditLog::new(command.clone(), configuration))))
            }
            "postgrest" => {
                let settings = configuration::postgrest_settings(source, name, options);
                let (settings, client) = both(settings, client(source, name))?;
                Ok(Self::Postgrest(Box::new(Postgrest::new(client, settings, clock.clone()))))
            }
            "webhook" => {
                let settings = configuration::webhook_settings(source, name, options);
                let (settings, client) = both(settings, client(source, name))?;
                Ok(Self::Webhook(Box::new(Webhook::new(client, settings, clock.clone()))))
            }
            "nats" => {
                let settings = configuration::nats_settings(source, name, options)?;
                Ok(Self::Nats(Box::new(Nats::new(settings, clock.clone(), randomness.clone()))))
            }
            unknown => Err(Faults::of_unknown_kind(name, unknown)),
        }
    }

    /// Connects and tries whether events would be taken, without delivering any: says what is there, or what is wrong.
    pub async fn check(&self, surroundings: &Surroundings) -> Result<String, DeliveryFault> {
        match self {
            Self::Postgres(postgres) => postgres.check().await.map(|()| "its table takes events".to_owned()),
            Self::Registry(registry) => {
                let nothing = registry.deliver(&[]).await.map_err(|undelivered| undelivered.fault);
                nothing.map(|()| "its database takes events".to_owned())
            }
            Self::AuditLog(log) => {
                let nothing = log.deliver(&[]).await.map_err(|undelivered| undelivered.fault);
                nothing.map(|()| "the log takes events".to_owned())
            }
            Self::Postgrest(postgrest) => {
                postgrest.check().await.map(|()| "its table takes events".to_owned())
            }
            Self::Webhook(webhook) => {
                let id = surroundings.randomness.uuid(&surroundings.clock).to_string();
                webhook.check(&id).await.map(|()| {
                    let keys = webhook.public_keys();
                    let verify = if keys.is_empty() { "" } else { "; it can be verified with " };
                    format!("it accepted the signed test message {id}{verify}{}", keys.join(" "))
                })
            }
            Self::Nats(nats) => nats.check().await.map(|stream| format!("its events go to stream {stream}")),
        }
    }

    /// What a destination does beside taking deliveries, until `stop` says so.
    pub async fn run_beside(&self, stop: watch::Receiver<bool>) {
        if let Self::AuditLog(log) = self {
            log.keep(stop).await;
        }
    }

    /// The same, once, after its queue was emptied.
    pub async fn conclude(&self) -> Result<(), KeeperError> {
        if let Self::AuditLog(log) = self { log.keep_once().await } else { Ok(()) }
    }

    /// Closes its connections.
    pub async fn close(&self) {
        match self {
            Self::Postgres(postgres) => postgres.close().await,
            Self::Registry(registry) => registry.close().await,
            Self::AuditLog(log) => log.close().await,
            // These hold none that has to be told.
            Self::Postgrest(_) | Self::Webhook(_) | Self::Nats(_) => {}
        }
    }
}

/// What calls over HTTP, with the hosts that the operator allows.
fn client(source: &Source, name: &str) -> Result<Client, Faults> {
    let hosts = configuration::private_destination_hosts(source)?;
    Client::new(&hosts).map_err(|error| Faults::of_tls(name, &error))
}

/// Both, or the faults of both.
fn both<A, B>(one: Result<A, Faults>, other: Result<B, Faults>) -> Result<(A, B), Faults> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Faults(mut faults)), Err(Faults(more))) => {
            faults.extend(more);
            Err(Faults(faults))
        }
        (Err(faults), _) | (_, Err(faults)) => Err(faults),
    }
}

impl Destination for AnyDestination {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        match self {
            Self::Postgres(postgres) => postgres.deliver(batch).await,
            Self::Registry(registry) => registry.deliver(batch).await,
            Self::AuditLog(log) => log.deliver(batch).await,
            Self::Postgrest(postgrest) => postgrest.deliver(batch).await,
            Self::Webhook(webhook) => webhook.deliver(batch).await,
            Self::Nats(nats) => nats.deliver(batch).await,
        }
    }

    fn most_rows(&self) -> usize {
        match self {
            Self::Postgres(postgres) => postgres.most_rows(),
            Self::Registry(registry) => registry.most_rows(),
            Self::AuditLog(log) => log.most_rows(),
            Self::Postgrest(postgrest) => postgrest.most_rows(),
            Self::Webhook(webhook) => webhook.most_rows(),
            Self::Nats(nats) => nats.most_rows(),
        }
    }
}

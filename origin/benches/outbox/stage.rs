//! The databases of a run: migrated as in production, with production's logins, and the read database as the only destination.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use origin::clock::{Clock, Randomness};
use origin::configuration::{DatabaseUrl, MigrateConfiguration, Source};
use origin::database::{Database, migrate};
use origin::events::NewEvent;
use origin::events::field::{Identifier, Moment};
use origin::events::payload::RefreshTokenRotated;
use origin::outbox::{Forwarder, Settings, destination::Destination};
use shared::scope::Scopes;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use url::Url;
use uuid::Uuid;

const VARIABLE: &str = "GATEWARD_BENCH_DATABASE_URL";
/// Whose events they are.
pub(crate) const WORKSPACE: Uuid = Uuid::from_u128(0x77);

/// What makes events, for clients that run beside each other.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    randomness: Randomness,
}

/// What a run works on.
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    shared: Arc<Shared>,
    /// By the origin's login.
    pub(crate) command: Database,
    /// By the forwarder's login.
    pub(crate) forwarder: Database,
    /// The read side, by the projector's login.
    pub(crate) read: Database,
    admin: PgConnectOptions,
}

impl Stage {
    /// Migrates the server that the environment names.
    pub(crate) async fn set() -> Result<Self> {
        let server = std::env::var(VARIABLE)
            .with_context(|| format!("{VARIABLE} is not set; run `cargo xtask bench outbox`"))?;
        let server = Url::parse(&server)?;
        let of = |login: Option<&str>, database: &str| -> Result<String> {
            let mut url = server.clone();
            url.set_path(database);
            if let Some(login) = login {
                url.set_username(login).ok().context("the URL has no host")?;
                url.set_password(Some("of-a-bench")).ok().context("the URL has no host")?;
            }
            Ok(url.to_string())
        };
        let values = [
            ("MIGRATION_DATABASE_URL", of(None, "bench_command")?),
            ("READ_MIGRATION_DATABASE_URL", of(None, "bench_read")?),
            ("REGISTRY_MIGRATION_DATABASE_URL", of(None, "bench_registry")?),
            ("DATABASE_URL", of(Some("bench_serve"), "bench_command")?),
            ("FORWARDER_DATABASE_URL", of(Some("bench_forward"), "bench_command")?),
            ("READ_DATABASE_URL", of(Some("bench_project"), "bench_read")?),
            ("REGISTRY_DATABASE_URL", of(Some("bench_register"), "bench_registry")?),
        ];
        let source = Source::of(values.iter().map(|(name, value)| (*name, value.as_str())));
        let configuration = MigrateConfiguration::read(&source)?;
        let randomness = Randomness::System;
        migrate::run(&configuration, &randomness).await?;
        let open = |url: &DatabaseUrl, connections| {
            Database::new(url.options(), connections, Clock::System, randomness.clone())
        };
        let stage = Self {
            clock: Clock::System,
            shared: Arc::new(Shared { clock: Clock::System, randomness: randomness.clone() }),
            command: open(&configuration.serve_login, crate::append::CLIENTS),
            forwarder: open(&configuration.forwarder_login, 4),
            read: open(&configuration.read_login, 2),
            admin: configuration.command.options(),
        };
        stage
            .execute(
                "UPDATE auth_gateway.outbox_destinations SET enabled = (id = 1);
                 CREATE TABLE public.bare (
                     id uuid PRIMARY KEY, payload jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now())",
            )
            .await?;
        Ok(stage)
    }

    /// A connection past every policy.
    pub(crate) async fn admin(&self) -> Result<PgConnection> {
        Ok(self.admin.connect().await?)
    }

    pub(crate) async fn execute(&self, statement: &str) -> Result<()> {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut self.admin().await?).await?;
        Ok(())
    }

    pub(crate) async fn number(&self, statement: &str) -> Result<f64> {
        let statement = AssertSqlSafe(format!("SELECT ({statement})::float8"));
        Ok(sqlx::query_scalar(statement).fetch_one(&mut self.admin().await?).await?)
    }

    pub(crate) async fn version(&self) -> Result<String> {
        Ok(sqlx::query_scalar("SHOW server_version").fetch_one(&mut self.admin().await?).await?)
    }

    /// Starts a measurement from the same place: nothing queued, nothing dirty.
    pub(crate) async fn tidy(&self) -> Result<()> {
        self.execute("TRUNCATE auth_gateway.outbox").await?;
        self.execute("CHECKPOINT").await
    }

    /// What makes events.
    pub(crate) fn share(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// A forwarder as `gateward forward` runs it.
    pub(crate) fn forwarder<D: Destination>(&self, destination: D) -> Forwarder<D> {
        let (lease, poll_interval) = (Duration::from_secs(30), Duration::from_millis(150));
        let settings = Settings::new("bench".to_owned(), 1, lease, poll_interval);
        Forwarder::new(self.forwarder.clone(), destination, settings)
    }
}

impl Shared {
    /// What a token endpoint records with each refresh.
    pub(crate) fn event(&self, aggregate_id: Uuid) -> NewEvent {
        let payload = RefreshTokenRotated {
            client_id: Identifier::of("demo-app"),
            jti: self.id(),
            generation: 7,
            scopes: ["notes:read", "notes:write"].into_iter().collect::<Scopes>(),
            expires_at: Moment(self.clock.now()),
        };
        NewEvent::of(WORKSPACE, aggregate_id, &payload)
    }

    pub(crate) fn id(&self) -> Uuid {
        self.randomness.uuid(&self.clock)
    }
}

//! The databases of one test: command, read side and client registry, cloned from migrated templates on a real Postgres, with the roles and
//! logins of production. Tests only.
//!
//! A test that leaves work behind fails: [`run`] ends by checking what is left, then drops the databases. Those of a test that
//! failed stay, for a look at them.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

use crate::clock::{Clock, Randomness};
use crate::configuration::{DatabaseUrl, MigrateConfiguration, Source};
use crate::database::{Actor, Component, Database, migrate};
use crate::outbox::destination::{AnyDestination, Destination, Postgres, Surroundings, registered};
use crate::outbox::{Forwarder, Settings};
use crate::projection::drift;
use crate::registry::ClientRegistry;

const VARIABLE: &str = "GATEWARD_TEST_DATABASE_URL";

/// The databases of one test.
pub(crate) struct TestDatabase {
    /// The origin's way in.
    pub(crate) database: Database,
    /// The forwarder's way in, command side.
    pub(crate) forwarder: Database,
    /// The forwarder's way in, read side.
    pub(crate) read: Database,
    /// The forwarder's way in, client registry.
    pub(crate) registry: Database,
    /// The clock of all of them; it stands still until it is moved.
    pub(crate) clock: Clock,
    /// Administrator of the command database: no role, no row-level security. For looking, and for breaking things.
    pub(crate) command_admin: PgConnectOptions,
    /// Administrator of the read database.
    pub(crate) read_admin: PgConnectOptions,
    /// Administrator of the client registry.
    pub(crate) registry_admin: PgConnectOptions,
    /// The URLs that the services of this test would be given.
    pub(crate) configuration: MigrateConfiguration,
    /// What destinations are built from: the forwarder's login, and the environment with their credentials.
    pub(crate) surroundings: Surroundings,
    names: [String; 3],
}

/// Runs a test with databases of its own and checks what it leaves behind: the real forwarder must be able to carry everything out,
/// and what arrived must be what happened.
pub(crate) async fn run(test: impl AsyncFnOnce(&TestDatabase)) {
    let databases = TestDatabase::create().await;
    Box::pin(test(&databases)).await;
    databases.settle().await;
    databases.drop_databases().await;
}

/// As [`run`], for a test whose subject is what cannot be carried out.
pub(crate) async fn run_leaving_work(test: impl AsyncFnOnce(&TestDatabase)) {
    let databases = TestDatabase::create().await;
    Box::pin(test(&databases)).await;
    databases.drop_databases().await;
}

impl TestDatabase {
    async fn create() -> Self {
        static TEMPLATES: OnceCell<[String; 3]> = OnceCell::const_new();
        let templates = TEMPLATES.get_or_init(make_templates).await;
        let id = Uuid::from_bytes(Randomness::System.bytes()).simple();
        let names = names_of(&format!("gateward_test_{id}"));
        let mut admin = connect("postgres").await;
        for (name, template) in names.iter().zip(templates) {
            execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        }
        admin.close().await.expect("the connection closes");

        let environment = environment(&names, "gateward_test");
        let configuration = migration(&environment);
        let clock = Clock::fixed(time::macros::datetime!(2026-11-21 10:00 UTC));
        let open = |url: &DatabaseUrl| Database::new(url.options(), 8, clock.clone(), Randomness::System);
        let forwarder = open(&configuration.forwarder_login);
        let surroundings = Surroundings {
            source: environment,
            command: forwarder.clone(),
            clock: clock.clone(),
            randomness: Randomness::System,
        };
        Self {
            database: open(&configuration.serve_login),
            forwarder,
            read: open(&configuration.read_login),
            command_admin: configuration.command.options(),
            registry: open(&configuration.registry_login),
            read_admin: configuration.read.options(),
            registry_admin: configuration.registry.options(),
            clock,
            configuration,
            surroundings,
            names,
        }
    }

    /// A connection past every policy, to the command database.
    pub(crate) async fn admin(&self) -> PgConnection {
        self.command_admin.connect().await.expect("the administrator connects to the command database")
    }

    /// A connection past every policy, to the read database.
    pub(crate) async fn read_side(&self) -> PgConnection {
        self.read_admin.connect().await.expect("the administrator connects to the read database")
    }

    /// A connection past every policy, to the client registry.
    pub(crate) async fn registry_side(&self) -> PgConnection {
        self.registry_admin.connect().await.expect("the administrator connects to the client registry")
    }

    /// A forwarder to the read database, with a short lease.
    pub(crate) fn real_forwarder(&self, name: &str) -> Forwarder<Postgres> {
        self.forwarder_to(name, 1, Postgres::new(self.read.clone()))
    }

    /// A forwarder to the client registry, with a short lease.
    pub(crate) fn registry_forwarder(&self, name: &str) -> Forwarder<ClientRegistry> {
        self.forwarder_to(name, 3, ClientRegistry::new(self.registry.clone()))
    }

    /// A forwarder to any destination, with a short lease.
    pub(crate) fn forwarder_to<D: Destination>(
        &self,
        name: &str,
        destination_id: i16,
        destination: D,
    ) -> Forwarder<D> {
        let (lease, poll_interval) = (Duration::from_secs(10), Duration::from_millis(10));
        let mut settings = Settings::new(name.to_owned(), destination_id, lease, poll_interval);
        settings.first_backoff = Duration::from_millis(1);
        Forwarder::new(self.forwarder.clone(), destination, settings)
    }

    /// Drains every enabled destination and compares all stores.
    pub(crate) async fn settle(&self) {
        let mut scope =
            self.forwarder.scope(Actor::System(Component::Forwarder)).await.expect("a scope opens");
        let destinations = registered(&mut scope).await.expect("the destinations can be read");
        drop(scope);
        let seals = destinations.iter().any(|destination| destination.id == 2 && destination.enabled);
        for destination in destinations.into_iter().filter(|destination| destination.enabled) {
            // The connections of these two are open already.
            let drained = if destination.id == 1 {
                self.real_forwarder("teardown").drain().await
            } else if destination.id == 3 {
                self.registry_forwarder("teardown").drain().await
            } else {
                let opened = AnyDestination::open(&destination, &self.surroundings);
                let opened = opened.unwrap_or_else(|faults| panic!("{faults}"));
                let forwarder = self.forwarder_to("teardown", destination.id, opened);
                let drained = forwarder.drain().await;
                let concluded = forwarder.destination().conclude().await;
                concluded.unwrap_or_else(|error| panic!("{}: {error}", destination.name));
                forwarder.destination().close().await;
                drained
            };
            let drained =
                drained.unwrap_or_else(|error| panic!("{} cannot be drained: {error}", destination.name));
            assert!(drained.is_complete(), "work was left behind for {}: {drained:?}", destination.name);
        }
        // A test may have closed the origin's own connections.
        let options = self.configuration.serve_login.options();
        let auditor = Database::new(options, 1, self.clock.clone(), Randomness::System);
        let drift = drift::registry(&auditor, &self.registry, drift::Reach::default()).await;
        assert_eq!(
            drift.expect("both can be read").differences,
            [],
            "the registry is not what replaying comes to"
        );
        let (mut command, mut read) = (self.admin().await, self.read_side().await);
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM auth_gateway.outbox) + (SELECT count(*) FROM auth_gateway.outbox_failed)",
        )
        .fetch_one(&mut command)
        .await
        .expect("the outbox can be counted");
        assert_eq!(left, 0, "rows were left in the outbox");

        let columns =
            "event_id::text, workspace_id::text, aggregate_type, aggregate_id::text, version, event_type,
                       schema_version, payload, metadata, occurred_at";
        let mut sides = Vec::new();
        for (connection, table) in [(&mut command, "auth_gateway.events"), (&mut read, "public.auth_events")]
        {
            let statement =
                format!("SELECT to_jsonb(e) FROM (SELECT {columns} FROM {table} ORDER BY event_id) AS e");
            let rows: Vec<serde_json::Value> = sqlx::query_scalar(AssertSqlSafe(statement))
                .fetch_all(connection)
                .await
                .expect("both sides can be read");
            sides.push(rows);
        }
        assert_eq!(sides[0], sides[1], "the read side differs from the events");

        let broken: Vec<String> = sqlx::query_scalar(
            "SELECT event_type || ' ' || event_id FROM (
                 SELECT *, row_number() OVER aggregate AS place, lag(event_hash) OVER aggregate AS before
                 FROM auth_gateway.events
                 WINDOW aggregate AS (PARTITION BY workspace_id, aggregate_type, aggregate_id ORDER BY version)) AS e
             WHERE version <> place OR prev_hash IS DISTINCT FROM before
                OR event_hash <> sha256(coalesce(prev_hash, ''::bytea) || body)
                OR convert_from(body, 'UTF8')::jsonb -> 'payload' <> payload
                OR convert_from(body, 'UTF8')::jsonb -> 'metadata' <> metadata",
        )
        .fetch_all(&mut command)
        .await
        .expect("the chains can be read");
        assert_eq!(broken, Vec::<String>::new(), "an aggregate's chain is broken");
        if seals {
            crate::audit::tests::log_verifies(&auditor, sides[0].len()).await;
        }
        auditor.close().await;
    }

    async fn drop_databases(self) {
        for database in [&self.database, &self.forwarder, &self.read, &self.registry] {
            database.close().await;
        }
        let mut admin = connect("postgres").await;
        for name in &self.names {
            execute(&mut admin, format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

/// Migrates the templates, unless an earlier run left them with the same migrations.
async fn make_templates() -> [String; 3] {
    let mark = migrate::fingerprint();
    let names = names_of(&format!("gateward_template_{mark}"));
    let mut admin = connect("postgres").await;
    // Several test binaries may start at once; the lock goes with the connection.
    execute(&mut admin, "SELECT pg_advisory_lock(7230416)".to_owned()).await;
    let ready: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = ANY($1) AND datistemplate")
            .bind(&names[..])
            .fetch_one(&mut admin)
            .await
            .expect("the catalog can be read");
    if ready != 3 {
        for name in &names {
            execute(
                &mut admin,
                format!("UPDATE pg_database SET datistemplate = false WHERE datname = '{name}'"),
            )
            .await;
            execute(&mut admin, format!("DROP DATABASE IF EXISTS {name}")).await;
        }
        migrate::run(&configuration(&names, "gateward_test"), &Randomness::System)
            .await
            .expect("the migrations run");
        for name in &names {
            execute(&mut admin, format!("ALTER DATABASE {name} IS_TEMPLATE true")).await;
        }
    }
    names
}

/// The names of the three databases of one installation.
pub(crate) fn names_of(installation: &str) -> [String; 3] {
    ["", "_read", "_registry"].map(|role| format!("{installation}{role}"))
}

/// What the services would be given for these databases, with logins whose names start with `prefix`.
pub(crate) fn configuration(names: &[String; 3], prefix: &str) -> MigrateConfiguration {
    migration(&environment(names, prefix))
}

fn migration(environment: &Source) -> MigrateConfiguration {
    MigrateConfiguration::read(environment).unwrap_or_else(|faults| panic!("{faults}"))
}

fn environment([command, read, registry]: &[String; 3], prefix: &str) -> Source {
    let of = |login: Option<&str>, database: &str| {
        let mut url = server();
        url.set_path(database);
        if let Some(login) = login {
            url.set_username(&format!("{prefix}_{login}")).expect("the URL has a host");
            url.set_password(Some("of-a-test")).expect("the URL has a host");
        }
        url.to_string()
    };
    let values = [
        ("MIGRATION_DATABASE_URL", of(None, command)),
        ("READ_MIGRATION_DATABASE_URL", of(None, read)),
        ("DATABASE_URL", of(Some("serve"), command)),
        ("FORWARDER_DATABASE_URL", of(Some("forward"), command)),
        ("READ_DATABASE_URL", of(Some("project"), read)),
        ("REGISTRY_MIGRATION_DATABASE_URL", of(None, registry)),
        ("REGISTRY_DATABASE_URL", of(Some("register"), registry)),
        ("ISSUER", format!("https://{}", crate::audit::tests::ORIGIN)),
        ("AUDIT_SIGNING_KEY", Base64UrlUnpadded::encode_string(&crate::audit::tests::SEED)),
    ];
    Source::of(values.iter().map(|(name, value)| (*name, value.as_str())))
}

pub(crate) fn server() -> Url {
    let Ok(text) = std::env::var(VARIABLE) else {
        panic!(
            "{VARIABLE} is not set: this test needs a Postgres (15 or later) and a superuser of it, such as \
             postgres://postgres@127.0.0.1:5432/postgres. `cargo xtask test` starts one and sets it."
        );
    };
    Url::parse(&text).unwrap_or_else(|error| panic!("{VARIABLE} is not a URL: {error}"))
}

async fn connect(database: &str) -> PgConnection {
    let mut url = server();
    url.set_path(database);
    let options: PgConnectOptions = url.as_str().parse().expect("the URL is one of Postgres");
    options.connect().await.unwrap_or_else(|error| panic!("{VARIABLE}: cannot connect: {error}"))
}

pub(crate) async fn execute(connection: &mut PgConnection, statement: String) {
    let result = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(connection).await;
    result.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

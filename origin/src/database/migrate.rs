//! `gateward migrate`: databases, roles and tables, from nothing or from any earlier version. The only code that connects without
//! a scope, with logins that nothing else uses. Safe to run twice and by two at once.

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::roles::{self, Login};
use super::sqlstate;
use crate::clock::Randomness;
use crate::configuration::{DatabaseUrl, MigrateConfiguration};

/// Migrations of the command database.
static COMMAND: Migrator = sqlx::migrate!("../migrations/command");
/// Migrations of the read database.
static READ: Migrator = sqlx::migrate!("../migrations/read");
/// Migrations of the client registry.
static REGISTRY: Migrator = sqlx::migrate!("../migrations/registry");

/// Why the databases could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The server could not be reached or refused the login.
    #[error("{variable}: cannot connect to database {database:?}: {source}")]
    Connect {
        /// The variable that holds the address.
        variable: &'static str,
        /// The database asked for.
        database: String,
        /// What came back.
        #[source]
        source: sqlx::Error,
    },
    /// The server lacks what the schema needs.
    #[error("Postgres 15 or later is needed (security_invoker views); this server says {version}")]
    TooOld {
        /// `server_version_num`.
        version: i32,
    },
    /// A service's login is the one that owns everything.
    #[error(
        "{variable} logs in as {login:?}, which runs the migrations; give the service a login of its own"
    )]
    LoginIsAdmin {
        /// The variable at fault.
        variable: &'static str,
        /// The login role.
        login: String,
    },
    /// A service's login would see every tenant.
    #[error(
        "{variable} logs in as {login:?}, which is a superuser or bypasses row-level security; use another login, or take that \
         from it with ALTER ROLE … NOSUPERUSER NOBYPASSRLS"
    )]
    LoginIsPrivileged {
        /// The variable at fault.
        variable: &'static str,
        /// The login role.
        login: String,
    },
    /// A migration failed; it was rolled back whole.
    #[error("a migration failed and was rolled back: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A statement about roles or databases failed.
    #[error("setting up roles and databases failed: {0}")]
    Statement(#[from] sqlx::Error),
}

/// What is there after a migration.
#[derive(Debug, serde::Serialize)]
pub struct Migrated {
    /// Name of the command database and how many migrations it has.
    pub command: DatabaseState,
    /// Name of the read database and how many migrations it has.
    pub read: DatabaseState,
    /// Name of the client registry and how many migrations it has.
    pub registry: DatabaseState,
}

/// One database after its migration.
#[derive(Debug, serde::Serialize)]
pub struct DatabaseState {
    /// The database's name.
    pub database: String,
    /// Number of its newest migration.
    pub version: i64,
}

/// Brings all three databases up to date, creating what is missing.
pub async fn run(
    configuration: &MigrateConfiguration,
    randomness: &Randomness,
) -> Result<Migrated, MigrationError> {
    let command = migrate_one(
        "MIGRATION_DATABASE_URL",
        &configuration.command,
        &[
            Login {
                variable: "DATABASE_URL",
                url: &configuration.serve_login,
                groups: &["gateward_app", "gateward_system", "gateward_auditor", "gateward_retention"],
            },
            Login {
                variable: "FORWARDER_DATABASE_URL",
                url: &configuration.forwarder_login,
                groups: &["gateward_forwarder", "gateward_sealer"],
            },
        ],
        &COMMAND,
        randomness,
    )
    .await?;
    let read = migrate_one(
        "READ_MIGRATION_DATABASE_URL",
        &configuration.read,
        &[Login {
            variable: "READ_DATABASE_URL",
            url: &configuration.read_login,
            groups: &["gateward_projector"],
        }],
        &READ,
        randomness,
    )
    .await?;
    let registry = migrate_one(
        "REGISTRY_MIGRATION_DATABASE_URL",
        &configuration.registry,
        &[Login {
            variable: "REGISTRY_DATABASE_URL",
            url: &configuration.registry_login,
            groups: &["gateward_registrar"],
        }],
        &REGISTRY,
        randomness,
    )
    .await?;
    Ok(Migrated { command, read, registry })
}

async fn migrate_one(
    variable: &'static str,
    admin: &DatabaseUrl,
    logins: &[Login<'_>],
    migrator: &Migrator,
    randomness: &Randomness,
) -> Result<DatabaseState, MigrationError> {
    let mut connection = connect_or_create(variable, admin).await?;
    roles::ensure(&mut connection, logins, randomness).await?;
    migrator.run(&mut connection).await?;
    connection.close().await?;
    let version = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    Ok(DatabaseState { database: admin.database().to_owned(), version })
}

async fn connect_or_create(
    variable: &'static str,
    admin: &DatabaseUrl,
) -> Result<PgConnection, MigrationError> {
    let fault = |source| MigrationError::Connect { variable, database: admin.database().to_owned(), source };
    let options = admin.options();
    match options.connect().await {
        Ok(connection) => return Ok(connection),
        // invalid_catalog_name: the database is not there yet.
        Err(error) if sqlstate(&error).as_deref() == Some("3D000") => {}
        Err(error) => return Err(fault(error)),
    }
    let mut maintenance = options.clone().database("postgres").connect().await.map_err(fault)?;
    let create: String = sqlx::query_scalar("SELECT format('CREATE DATABASE %I', $1::text)")
        .bind(admin.database())
        .fetch_one(&mut maintenance)
        .await?;
    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut maintenance).await {
        // Somebody else made it in between.
        if !matches!(sqlstate(&error).as_deref(), Some("42P04" | "23505")) {
            return Err(error.into());
        }
    } else {
        // Only of a database that is ours from its start: others may rely on what somebody else's gives them.
        roles::close_to_others(&mut maintenance, admin.database()).await?;
    }
    maintenance.close().await?;
    options.connect().await.map_err(fault)
}

/// The command database's migrations.
pub(crate) fn command() -> &'static Migrator {
    &COMMAND
}

/// The read database's.
pub(crate) fn read() -> &'static Migrator {
    &READ
}

/// The client registry's.
pub(crate) fn registry() -> &'static Migrator {
    &REGISTRY
}

/// The tables, with their schemas, that migrations make and do not remove again.
pub(crate) fn tables(migrator: &Migrator) -> Vec<String> {
    let mut tables = Vec::new();
    for migration in migrator.iter() {
        let statements = migration.sql.as_str();
        let named = |verb: &'static str| {
            let after = statements.split(verb).skip(1);
            after.filter_map(|rest| rest.trim_start_matches("IF EXISTS ").split([' ', '(', ';', '\n']).next())
        };
        tables.extend(named("CREATE TABLE ").map(str::to_owned));
        let gone: Vec<&str> = named("DROP TABLE ").collect();
        tables.retain(|table| !gone.contains(&table.as_str()));
    }
    tables
}

/// Names the set of migrations, so that a template made of other ones is not taken for this one.
#[cfg(test)]
pub(crate) fn fingerprint() -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for migration in COMMAND.iter().chain(READ.iter()).chain(REGISTRY.iter()) {
        hash.update(&migration.checksum);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

//! What `gateward migrate` needs: for each store an administrator, and the logins to create.

use super::commands::{DATABASE, READ};
use super::database_url::DatabaseUrl;
use super::fault::Faults;
use super::forward::FORWARDER;
use super::reader::{Reader, Source};

pub(super) const MIGRATION: &str =
    "Set it to a login that may create roles and databases: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE.";
pub(super) const REGISTRY: &str = "Set it to the forwarder's login on the client registry: postgres://LOGIN:PASSWORD@HOST:PORT/DATABASE. \
                                   Without it projects and clients would have nowhere to be shown.";

/// `gateward migrate`.
#[derive(Clone)]
pub struct MigrateConfiguration {
    /// Administrator of the command database.
    pub command: DatabaseUrl,
    /// Administrator of the read database.
    pub read: DatabaseUrl,
    /// Administrator of the client registry.
    pub registry: DatabaseUrl,
    /// The login to create for `serve`.
    pub serve_login: DatabaseUrl,
    /// The login to create for `forward` on the command database.
    pub forwarder_login: DatabaseUrl,
    /// The login to create for `forward` on the read database.
    pub read_login: DatabaseUrl,
    /// The login to create for `forward` on the client registry.
    pub registry_login: DatabaseUrl,
}

impl MigrateConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let whole = Self::collect(&mut reader);
        reader.finish(whole)
    }

    fn collect(reader: &mut Reader<'_>) -> Option<Self> {
        let command = reader.required("MIGRATION_DATABASE_URL", MIGRATION, DatabaseUrl::parse);
        let read = reader.required("READ_MIGRATION_DATABASE_URL", MIGRATION, DatabaseUrl::parse);
        let registry = reader.required("REGISTRY_MIGRATION_DATABASE_URL", MIGRATION, DatabaseUrl::parse);
        let serve_login = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let forwarder_login = reader.required("FORWARDER_DATABASE_URL", FORWARDER, DatabaseUrl::parse);
        let read_login = reader.required("READ_DATABASE_URL", READ, DatabaseUrl::parse);
        let registry_login = reader.required("REGISTRY_DATABASE_URL", REGISTRY, DatabaseUrl::parse);
        Some(Self {
            command: command?,
            read: read?,
            registry: registry?,
            serve_login: serve_login?,
            forwarder_login: forwarder_login?,
            read_login: read_login?,
            registry_login: registry_login?,
        })
    }
}

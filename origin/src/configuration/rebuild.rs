//! What `gateward project rebuild` needs: the events, and an administrator of each store that is rebuilt.

use super::commands::DATABASE;
use super::database_url::DatabaseUrl;
use super::fault::Faults;
use super::migrate::MIGRATION;
use super::reader::{Reader, Source};
use crate::projection::Store;

/// `gateward project rebuild`.
#[derive(Clone)]
pub struct RebuildConfiguration {
    /// The origin's login on the command database.
    pub database: DatabaseUrl,
    /// The administrators of the stores asked for, in that order.
    pub stores: Vec<(Store, DatabaseUrl)>,
}

impl RebuildConfiguration {
    /// Reads it, or says everything that is wrong with it.
    pub fn read(source: &Source, stores: &[Store]) -> Result<Self, Faults> {
        let mut reader = Reader::new(source);
        let database = reader.required("DATABASE_URL", DATABASE, DatabaseUrl::parse);
        let mut found = Vec::new();
        for store in stores {
            let variable = match store {
                Store::Read => "READ_MIGRATION_DATABASE_URL",
                Store::Registry => "REGISTRY_MIGRATION_DATABASE_URL",
            };
            found.extend(reader.required(variable, MIGRATION, DatabaseUrl::parse).map(|url| (*store, url)));
        }
        reader.finish(database.map(|database| Self { database, stores: found }))
    }
}

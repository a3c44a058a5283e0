//! What `gateward doctor` looks at. Nothing is required: what is missing or faulty is a finding, and the rest is examined all the same.

use super::database_url::DatabaseUrl;
use super::reader::{Reader, Source};

/// `gateward doctor`: the stores that can be tried.
#[derive(Clone)]
pub struct DoctorConfiguration {
    /// The origin's login on the command database.
    pub command: Option<DatabaseUrl>,
    /// The forwarder's login on the read database.
    pub read: Option<DatabaseUrl>,
    /// The forwarder's login on the client registry.
    pub registry: Option<DatabaseUrl>,
}

impl DoctorConfiguration {
    /// Reads what can be read. Faults are those of [`check`](super::check).
    pub fn read(source: &Source) -> Self {
        let mut reader = Reader::new(source);
        Self {
            command: reader.optional("DATABASE_URL", DatabaseUrl::parse),
            read: reader.optional("READ_DATABASE_URL", DatabaseUrl::parse),
            registry: reader.optional("REGISTRY_DATABASE_URL", DatabaseUrl::parse),
        }
    }
}

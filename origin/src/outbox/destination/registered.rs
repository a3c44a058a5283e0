//! The rows of `outbox_destinations`: what there is to deliver to.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::database::{DatabaseError, Scope};

/// A destination as it is registered.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Registered {
    /// Its number in the outbox.
    pub id: i16,
    /// Its name, in messages and in the names of its variables.
    pub name: String,
    /// How it is delivered to.
    pub kind: String,
    /// Where to, by kind. Holds no secret.
    pub options: serde_json::Value,
    /// Whether events are queued for it and delivered to it.
    pub enabled: bool,
}

/// Every destination, enabled or not, by its number.
pub async fn registered(scope: &mut Scope) -> Result<Vec<Registered>, DatabaseError> {
    Ok(sqlx::query_as("SELECT id, name, kind, options, enabled FROM outbox_destinations ORDER BY id")
        .fetch_all(scope.connection())
        .await?)
}

/// The aggregate id of a destination's own events: it follows from the name, as a UUID of version 8 (RFC 9562, 5.8).
pub fn aggregate_id(name: &str) -> Uuid {
    let hash: [u8; 32] =
        Sha256::new().chain_update("outbox_destination:").chain_update(name.as_bytes()).finalize().into();
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

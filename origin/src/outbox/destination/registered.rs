//! The rows of `outbox_destinations`: what there is to deliver to.

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

//! The destination that is the client registry: a batch becomes the rows it comes to, and a row is written by a newer version only. So what
//! comes twice, or late from a forwarder that lost its lease, changes nothing.

use super::row::{Happened, Unreadable, fold};
use super::store;
use crate::database::{Actor, Component, Database, DatabaseError, sqlstate};
use crate::outbox::Delivery;
use crate::outbox::destination::{DeliveryFault, Destination, Undelivered};

/// The registry, by its login.
#[derive(Debug, Clone)]
pub struct ClientRegistry {
    database: Database,
}

impl ClientRegistry {
    /// Delivers through `database`, whose login may act as the registrar.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn project(&self, batch: &[Delivery]) -> Result<(), Fault> {
        let rows: Vec<_> = fold(batch.iter().map(Happened::from))?.into_values().collect();
        let mut scope = self.database.scope(Actor::System(Component::Registrar)).await?;
        store::write(&mut scope, &rows, "").await?;
        scope.commit().await?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Payload(#[from] Unreadable),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Destination for ClientRegistry {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        self.project(batch).await.map_err(|fault| {
            let reason = fault.to_string();
            // One transaction: all of it or nothing.
            Undelivered::from(match &fault {
                Fault::Payload(_) => DeliveryFault::Refused(reason),
                // Data exceptions, integrity violations and limits: the row's own fault. Anything else would meet every row alike.
                Fault::Database(DatabaseError::Refused(source))
                    if sqlstate(source).is_some_and(|code| {
                        code.starts_with("22") || code.starts_with("23") || code.starts_with("54")
                    }) =>
                {
                    DeliveryFault::Refused(reason)
                }
                Fault::Database(_) => DeliveryFault::outage(reason),
            })
        })
    }
}

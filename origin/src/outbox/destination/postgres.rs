//! The destination that is a plain Postgres: `public.auth_events` of the read database. An event that is there already stays as it
//! is, so delivering it again changes nothing.

use sqlx::types::Json;
use uuid::Uuid;

use super::{DeliveryFault, Destination, Undelivered, is_a_rows_fault};
use crate::database::{Actor, Component, Database, DatabaseError, sqlstate};
use crate::failpoint;
use crate::outbox::Delivery;

/// The read side, by its projector login.
#[derive(Debug, Clone)]
pub struct Postgres {
    database: Database,
}

impl Postgres {
    /// Delivers through `database`, whose login may act as the projector.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Closes its connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Inserts nothing, the way events are inserted: login, role, table, columns and key have to be right for it.
    pub async fn check(&self) -> Result<(), DeliveryFault> {
        self.insert(&[]).await.map_err(|error| DeliveryFault::outage(error.to_string()))
    }

    async fn insert(&self, batch: &[Delivery]) -> Result<(), DatabaseError> {
        let mut scope = self.database.scope(Actor::System(Component::Projector)).await?;
        sqlx::query(
            "INSERT INTO auth_events (event_id, workspace_id, aggregate_type, aggregate_id, version, event_type,
                                      schema_version, payload, metadata, occurred_at)
             SELECT event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version, payload,
                    metadata, occurred_at
             FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::text[], $7::smallint[],
                         $8::jsonb[], $9::jsonb[], $10::timestamptz[]) WITH ORDINALITY
                  AS batch (event_id, workspace_id, aggregate_type, aggregate_id, version, event_type, schema_version,
                            payload, metadata, occurred_at, place)
             ORDER BY place
             ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(column(batch, |row| row.event_id))
        .bind(column(batch, |row| row.workspace_id))
        .bind(column(batch, |row| row.aggregate_type.as_str()))
        .bind(column::<Uuid>(batch, |row| row.aggregate_id))
        .bind(column(batch, |row| row.version))
        .bind(column(batch, |row| row.event_type.as_str()))
        .bind(column(batch, |row| row.schema_version))
        .bind(column(batch, |row| Json(&row.payload)))
        .bind(column(batch, |row| Json(&row.metadata)))
        .bind(column(batch, |row| row.occurred_at))
        .execute(scope.connection())
        .await?;
        failpoint::reach("destination.before_commit");
        scope.commit().await
    }
}

fn column<'a, T>(batch: &'a [Delivery], of: impl Fn(&'a Delivery) -> T) -> Vec<T> {
    batch.iter().map(of).collect()
}

impl Destination for Postgres {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        self.insert(batch).await.map_err(|error| {
            let reason = error.to_string();
            // One transaction: all of it or nothing.
            Undelivered::from(match &error {
                DatabaseError::Refused(source)
                    if sqlstate(source).is_some_and(|code| is_a_rows_fault(&code)) =>
                {
                    DeliveryFault::Refused(reason)
                }
                _ => DeliveryFault::outage(reason),
            })
        })
    }
}

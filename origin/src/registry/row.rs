//! What an event makes of a row. Pure: the same events give the same rows, whoever applies them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::store::Table;
use crate::events::upcast;
use crate::outbox::Delivery;

/// The aggregates that the registry is made of.
pub(crate) const AGGREGATES: [&str; 2] = ["client", "project"];

/// An event, as far as a row depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened<'a> {
    pub(crate) workspace_id: Uuid,
    pub(crate) aggregate_id: Uuid,
    pub(crate) version: i64,
    pub(crate) event_type: &'a str,
    pub(crate) schema_version: i16,
    pub(crate) payload: &'a Value,
    pub(crate) occurred_at: OffsetDateTime,
}

impl<'a> From<&'a Delivery> for Happened<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Self {
            workspace_id: delivery.workspace_id,
            aggregate_id: delivery.aggregate_id,
            version: delivery.version,
            event_type: &delivery.event_type,
            schema_version: delivery.schema_version,
            payload: &delivery.payload,
            occurred_at: delivery.occurred_at,
        }
    }
}

/// A row of the registry. What is `None` is not known from the events seen so far, and stays as it is in the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    #[serde(skip)]
    pub(crate) table: Table,
    pub(crate) id: Uuid,
    pub(crate) workspace_id: Uuid,
    /// Of the event that changed it last.
    pub(crate) version: i64,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) created_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) updated_at: OffsetDateTime,
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

/// What the row says.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Facts {
    Client {
        client_id: String,
        project_id: Uuid,
        name: String,
        kind: String,
        redirect_uris: Vec<String>,
        origins: Vec<String>,
        scopes: Vec<String>,
        enabled: bool,
    },
    Project {
        /// Events before schema version 3 of `ProjectUpdated` do not repeat it.
        slug: Option<String>,
        name: String,
        services: Vec<Service>,
        revision: i64,
    },
}

/// A service as the registry shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Service {
    slug: String,
    scopes: Vec<String>,
    credentials: Vec<String>,
}

/// A payload that does not have the shape of its event.
#[derive(Debug, thiserror::Error)]
#[error("version {version} of {aggregate_id}, {event_type}, cannot be read: {reason}")]
pub struct Unreadable {
    aggregate_id: Uuid,
    version: i64,
    event_type: String,
    reason: String,
}

#[derive(Deserialize)]
struct ClientPayload {
    client_id: String,
    project_id: Uuid,
    name: String,
    kind: String,
    redirect_uris: Vec<String>,
    origins: Vec<String>,
    scopes: String,
    /// A client is enabled when it is registered.
    #[serde(default = "enabled")]
    enabled: bool,
}

fn enabled() -> bool {
    true
}

#[derive(Deserialize)]
struct ProjectPayload {
    slug: Option<String>,
    name: String,
    services: Vec<ServicePayload>,
    revision: i64,
}

#[derive(Deserialize)]
struct ServicePayload {
    slug: String,
    scopes: String,
    credentials: Vec<String>,
}

impl Row {
    /// The row after an event; nothing where the event does not change what the registry shows, or the row has seen it.
    fn after(before: Option<&Self>, happened: &Happened<'_>) -> Result<Option<Self>, Unreadable> {
        if before.is_some_and(|row| row.version >= happened.version) {
            return Ok(None);
        }
        let because = |reason: String| Unreadable {
            aggregate_id: happened.aggregate_id,
            version: happened.version,
            event_type: happened.event_type.to_owned(),
            reason,
        };
        let unreadable = |error: serde_json::Error| because(error.to_string());
        let payload = upcast(happened.event_type, happened.schema_version, happened.payload)
            .map_err(|error| because(error.to_string()))?;
        let (table, facts) = match happened.event_type {
            "ClientRegistered" | "ClientUpdated" => {
                (Table::Clients, client(ClientPayload::deserialize(&*payload).map_err(unreadable)?))
            }
            "ProjectCreated" | "ProjectUpdated" => (
                Table::Projects,
                project(ProjectPayload::deserialize(&*payload).map_err(unreadable)?, before),
            ),
            _ => return Ok(None),
        };
        let first = matches!(happened.event_type, "ClientRegistered" | "ProjectCreated");
        let created_at =
            if first { Some(happened.occurred_at) } else { before.and_then(|row| row.created_at) };
        Ok(Some(Self {
            table,
            id: happened.aggregate_id,
            workspace_id: happened.workspace_id,
            version: happened.version,
            created_at,
            updated_at: happened.occurred_at,
            facts,
        }))
    }
}

fn client(payload: ClientPayload) -> Facts {
    let ClientPayload { client_id, project_id, name, kind, redirect_uris, origins, scopes, enabled } =
        payload;
    Facts::Client {
        client_id,
        project_id,
        name,
        kind,
        redirect_uris,
        origins,
        scopes: words(&scopes),
        enabled,
    }
}

fn project(payload: ProjectPayload, before: Option<&Row>) -> Facts {
    let known = match before.map(|row| &row.facts) {
        Some(Facts::Project { slug, .. }) => slug.clone(),
        _ => None,
    };
    let service =
        |ServicePayload { slug, scopes, credentials }| Service { slug, scopes: words(&scopes), credentials };
    Facts::Project {
        slug: payload.slug.or(known),
        name: payload.name,
        services: payload.services.into_iter().map(service).collect(),
        revision: payload.revision,
    }
}

/// Scopes stand in a payload as RFC 6749, 3.3 writes them.
fn words(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// The rows that events come to, one for each aggregate that has one; each aggregate's events must be in order.
pub(crate) fn fold<'a>(
    events: impl IntoIterator<Item = Happened<'a>>,
) -> Result<BTreeMap<Uuid, Row>, Unreadable> {
    let mut rows = BTreeMap::new();
    for happened in events {
        if let Some(row) = Row::after(rows.get(&happened.aggregate_id), &happened)? {
            rows.insert(happened.aggregate_id, row);
        }
    }
    Ok(rows)
}

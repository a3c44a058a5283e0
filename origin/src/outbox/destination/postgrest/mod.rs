//! The destination that is a Postgres behind PostgREST, as Supabase offers it: one POST of a JSON array into `auth_events`. An event
//! that is there already stays as it is. A batch is one statement over there: all of it takes effect or nothing.

#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::{DeliveryFault, Destination, Undelivered, message, retry_after::retry_after};
use crate::{
    clock::Clock,
    egress::{Bounds, Call, Client, EgressFault},
    outbox::Delivery,
};

/// What a row has, in the order of the table.
const COLUMNS: &str = "event_id,workspace_id,aggregate_type,aggregate_id,version,event_type,schema_version,payload,metadata,occurred_at";
/// An answer is empty, or an error.
const BOUNDS: Bounds =
    Bounds { look_up: Duration::from_secs(2), time: Duration::from_secs(5), body: 64 * 1024 };

/// A service key. Cannot be printed.
#[derive(Clone)]
pub struct ServiceKey(Zeroizing<String>);

impl ServiceKey {
    /// Reads one, or says why it is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // What a bearer token may consist of (RFC 6750, 2.1).
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if text.len() < 16 || text.len() > 4_096 || !text.bytes().all(fits) {
            return Err("is no key of 16 to 4,096 letters, digits and -._~+/=");
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl std::fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceKey(…)")
    }
}

/// Where to and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's URL, such as `https://abcdefgh.supabase.co`.
    pub url: Url,
    /// Opens it.
    pub key: ServiceKey,
    /// What stands between the URL and the table: `/rest/v1` at Supabase, empty for a PostgREST of one's own.
    pub base_path: String,
    /// The table.
    pub table: String,
    /// Its schema, where it is not the first that PostgREST exposes.
    pub schema: Option<String>,
}

/// A table behind PostgREST.
#[derive(Debug)]
pub struct Postgrest {
    client: Client,
    settings: Settings,
    clock: Clock,
}

impl Postgrest {
    /// A table; nothing is connected to yet.
    pub fn new(client: Client, settings: Settings, clock: Clock) -> Self {
        Self { client, settings, clock }
    }

    /// Inserts nothing, the way events are inserted: credentials, table, columns and key have to be right for it.
    pub async fn check(&self) -> Result<(), DeliveryFault> {
        self.insert(Bytes::from_static(b"[]")).await
    }

    async fn insert(&self, body: Bytes) -> Result<(), DeliveryFault> {
        let Settings { url, base_path, table, .. } = &self.settings;
        let session = self.client.open(url, BOUNDS).await.map_err(|fault| away(&fault))?;
        let path = url.path().trim_end_matches('/');
        let target = format!("{path}{base_path}/{table}?on_conflict=event_id&columns={COLUMNS}");
        let call = Call { method: Method::POST, target, headers: self.headers()?, body };
        let answer = session.call(&call).await.map_err(|fault| away(&fault))?;
        // Whoever answers may repeat what it was sent.
        let key = self.settings.key.0.as_bytes();
        let repeats = answer.body.windows(key.len()).any(|part| part == key);
        let body = if repeats { &[][..] } else { &answer.body };
        verdict::judge(answer.status, body, retry_after(&answer.headers, self.clock.now()))
    }

    fn headers(&self) -> Result<HeaderMap, DeliveryFault> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| DeliveryFault::outage("a header field cannot be written"))
        };
        let key = &self.settings.key.0;
        let mut secret = [value(key)?, value(&Zeroizing::new(format!("Bearer {}", key.as_str())))?];
        for value in &mut secret {
            value.set_sensitive(true);
        }
        let [apikey, authorization] = secret;
        let mut headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (
                HeaderName::from_static("prefer"),
                HeaderValue::from_static("resolution=ignore-duplicates,return=minimal"),
            ),
            (HeaderName::from_static("apikey"), apikey),
            (header::AUTHORIZATION, authorization),
        ]);
        if let Some(schema) = &self.settings.schema {
            headers.insert(HeaderName::from_static("content-profile"), value(schema)?);
        }
        Ok(headers)
    }
}

impl Destination for Postgrest {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        let rows: Result<Vec<Value>, String> = batch.iter().map(row).collect();
        let body = rows
            .and_then(|rows| serde_json::to_vec(&rows).map_err(|error| error.to_string()))
            .map_err(DeliveryFault::Refused)?;
        Ok(self.insert(body.into()).await?)
    }
}

/// An event as a row of the table.
fn row(event: &Delivery) -> Result<Value, String> {
    Ok(json!({
        "event_id": event.event_id,
        "workspace_id": event.workspace_id,
        "aggregate_type": event.aggregate_type,
        "aggregate_id": event.aggregate_id,
        "version": event.version,
        "event_type": event.event_type,
        "schema_version": event.schema_version,
        "payload": event.payload,
        "metadata": event.metadata,
        "occurred_at": message::timestamp(event.occurred_at)?,
    }))
}

fn away(fault: &EgressFault) -> DeliveryFault {
    let advice = match fault {
        EgressFault::PrivateAddress => "; the operator allows hosts in PRIVATE_DESTINATION_HOSTS",
        _ => "",
    };
    DeliveryFault::outage(format!("{fault}{advice}"))
}

//! The rows of services, issuers and certificates, and what they mean. The policy is compiled from the same reading that a change
//! starts from. It may not repair a row: one that cannot be read is none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::policy::{Credential, Limit, PublicRoute, Rewrite, Route, Service, Upstream};
use shared::scope::Scopes;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

/// A row of `services`.
#[derive(FromRow)]
pub(crate) struct ServiceRow {
    pub(crate) project_id: Uuid,
    pub(crate) slug: String,
    upstreams: Vec<String>,
    upstream_settings: Json<Value>,
    rewrites: Json<Value>,
    methods: Vec<String>,
    scopes: Vec<String>,
    credentials: Vec<String>,
    public: Json<Value>,
    routes: Json<Value>,
    max_body_bytes: Option<i64>,
    timeout_millis: Option<i32>,
    hard_seconds: Option<i64>,
    limits: Json<Value>,
    assertion: bool,
}

/// What is kept of an upstream besides its URL.
#[derive(Serialize, Deserialize)]
pub(super) struct UpstreamSettings {
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// The column `upstream_settings`: those that are not as if nothing were said.
pub(super) fn upstream_settings(upstreams: &[Upstream]) -> BTreeMap<&str, UpstreamSettings> {
    upstreams
        .iter()
        .filter(|upstream| upstream.weight != 1 || upstream.region.is_some())
        .map(|Upstream { url, weight, region }| {
            (url.as_str(), UpstreamSettings { weight: *weight, region: region.clone() })
        })
        .collect()
}

impl ServiceRow {
    /// The settings; `None` when a column cannot be read.
    pub(crate) fn settings(&self) -> Option<Service> {
        let mut settings: BTreeMap<String, UpstreamSettings> = read(&self.upstream_settings)?;
        let upstreams = self.upstreams.iter().map(|url| match settings.remove(url) {
            Some(UpstreamSettings { weight, region }) => {
                Upstream { weight, region, ..Upstream::new(url.trim_end_matches('/')) }
            }
            None => Upstream::new(url.trim_end_matches('/')),
        });
        let upstreams = upstreams.collect();
        Some(Service {
            upstreams,
            rewrites: read::<Vec<Rewrite>>(&self.rewrites)?,
            methods: self.methods.clone(),
            scopes: read_scopes(&self.scopes)?,
            // Kinds that are not known here yet are refused by not being listed.
            credentials: self.credentials.iter().filter_map(|kind| Credential::of_name(kind)).collect(),
            public: read::<Vec<PublicRoute>>(&self.public)?,
            routes: read::<Vec<Route>>(&self.routes)?,
            max_body_bytes: whole(self.max_body_bytes).ok()?,
            timeout_millis: whole(self.timeout_millis).ok()?,
            hard_seconds: whole(self.hard_seconds).ok()?,
            limits: read::<Vec<Limit>>(&self.limits)?,
            assertion: self.assertion,
        })
    }
}

/// Scopes as a table holds them; `None` when one has a character that RFC 6749 §3.3 does not allow.
pub(crate) fn read_scopes(scopes: &[String]) -> Option<Scopes> {
    Scopes::parse(&scopes.join(" "))
}

/// What a JSON column holds.
pub(crate) fn read<T: serde::de::DeserializeOwned>(column: &Json<Value>) -> Option<T> {
    serde_json::from_value(column.0.clone()).ok()
}

/// A number that cannot be negative.
fn whole<I, T: TryFrom<I>>(number: Option<I>) -> Result<Option<T>, T::Error> {
    number.map(T::try_from).transpose()
}

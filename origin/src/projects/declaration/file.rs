//! The shape of a declaration, in TOML and in JSON. A member that is not known is a fault, since it is most likely a misspelt one
//! that is. What is written is what is read: the declaration in force is told in this shape too.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use shared::policy::{Credential, LimitBy, Tier};

use super::amount::Amount;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) workspace: Workspace,
    #[serde(default)]
    pub(super) project: Vec<Project>,
    #[serde(default)]
    pub(super) client: Vec<Client>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workspace {
    pub(super) slug: String,
    pub(super) name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    pub(super) slug: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cors: Option<Cors>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) limit: Vec<Limit>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) service: Vec<Service>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) issuer: Vec<Issuer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) certificate: Vec<Certificate>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) slug: String,
    pub(super) upstreams: Vec<Upstream>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<Vec<Credential>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) public: Vec<Public>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_body: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hard_limit: Option<Amount>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) assertion: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rewrite: Vec<Rewrite>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) route: Vec<Route>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) limit: Vec<Limit>,
}

/// A base URL, or a table of it and more.
pub(super) struct Upstream {
    pub(super) url: String,
    pub(super) weight: u64,
    pub(super) region: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamTable {
    url: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(weight: &u64) -> bool {
    *weight == 1
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UpstreamVisitor;

        impl<'de> Visitor<'de> for UpstreamVisitor {
            type Value = Upstream;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base URL, or a table of url, weight and region")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Upstream, E> {
                Ok(Upstream { url: url.to_owned(), weight: 1, region: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Upstream, A::Error> {
                let UpstreamTable { url, weight, region } =
                    UpstreamTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Upstream { url, weight, region })
            }
        }

        deserializer.deserialize_any(UpstreamVisitor)
    }
}

impl Serialize for Upstream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { url, weight, region } = self;
        if *weight == 1 && region.is_none() {
            return serializer.serialize_str(url);
        }
        UpstreamTable { url: url.clone(), weight: *weight, region: region.clone() }.serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Public {
    pub(super) method: String,
    pub(super) path: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rewrite {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<Vec<Credential>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_body: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hard_limit: Option<Amount>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) limit: Vec<Limit>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    pub(super) by: LimitBy,
    pub(super) requests: u64,
    pub(super) window: Amount,
    #[serde(default, skip_serializing_if = "is_default_tier")]
    pub(super) tier: Tier,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_tier(tier: &Tier) -> bool {
    *tier == Tier::default()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    pub(super) origins: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) expose: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) credentials: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_age: Option<Amount>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issuer {
    #[serde(rename = "issuer")]
    pub(super) name: String,
    pub(super) jwks_uri: String,
    pub(super) audiences: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scope_claim: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Certificate {
    pub(super) id: String,
    pub(super) thumbprint: String,
    pub(super) service: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_after: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    #[serde(rename = "client_id")]
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) project: String,
    #[serde(default)]
    pub(super) redirect_uris: Vec<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    #[serde(default)]
    pub(super) origins: Vec<String>,
    pub(super) confidential: Option<bool>,
    pub(super) token_endpoint_auth_method: Option<String>,
    pub(super) grant_types: Option<Vec<String>>,
    pub(super) jwks: Option<KeySet>,
}

/// A JWK set (RFC 7517, 5).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeySet {
    pub(super) keys: Vec<serde_json::Map<String, serde_json::Value>>,
}

//! Projects, their services and routes, as the policy carries them. It may not judge a request: [`crate::decide`] does.

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::Limit;
use crate::{
    jwt::{Algorithm, Jwk},
    scope::Scopes,
};

/// A project: a tenant's group of services under `/{project}/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The workspace it belongs to.
    pub workspace_id: String,
    /// Services by slug.
    pub services: BTreeMap<String, Service>,
    /// Which pages of other origins may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// Limits on all its services together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Issuers whose tokens its services may accept, by `iss`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub issuers: BTreeMap<String, ExternalIssuer>,
    /// Client certificates its services may accept, by the base64url SHA-256 of their DER (RFC 8705 §3.1, `x5t#S256`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub certificates: BTreeMap<String, CertificateIdentity>,
    /// Grows whenever an API key or opaque token of the project is made, changed or revoked: what an edge looked up under
    /// another epoch is looked up again.
    #[serde(default)]
    pub credential_epoch: u64,
}

/// A service behind `/{project}/{service}/*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Where requests go.
    pub upstreams: Vec<Upstream>,
    /// How paths are rewritten; the most specific one that covers a path is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrites: Vec<Rewrite>,
    /// Methods that are let through, upper case; none named lets all through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Scopes that every credential must have.
    #[serde(default)]
    pub scopes: Scopes,
    /// Kinds of credential that are accepted.
    pub credentials: Vec<Credential>,
    /// What needs no credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public: Vec<PublicRoute>,
    /// Paths with rules of their own; the most specific one that covers a request is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// The largest body, in bytes; `None` sets no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// How long the upstream may take to begin its answer, in milliseconds; `None` leaves it to the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_millis: Option<u32>,
    /// How old the policy may be for a request to be decided, in seconds; `None` takes the policy's own hard limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_seconds: Option<u64>,
    /// Limits on this service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Whether the upstream gets `X-Gateway-Assertion`.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub assertion: bool,
}

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its base URL, without a trailing slash.
    pub url: String,
    /// Its share of the requests, beside the others' weights; 0 takes none while another one is well.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
    /// Where it stands, in the words of the edges' `REGION`: an edge prefers those of its own region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

impl Upstream {
    /// An upstream of weight 1 in no region.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), weight: 1, region: None }
    }
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

/// A rewriting of paths below the service. Rules match the path as it came in; only what is forwarded changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// The decoded path; `/*` at its end stands for everything below.
    pub from: String,
    /// What takes its place, percent-encoded; ends with `/*` when `from` does.
    pub to: String,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// An access token of a person or client.
    AccessToken,
    /// A service token.
    ServiceToken,
    /// A JWT of an issuer that the project trusts.
    ExternalToken,
    /// An API key of ours, `gw_…`.
    ApiKey,
    /// Any other token that the origin knows by its hash.
    OpaqueToken,
    /// A client certificate.
    ClientCertificate,
}

impl Credential {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AccessToken,
        Self::ServiceToken,
        Self::ExternalToken,
        Self::ApiKey,
        Self::OpaqueToken,
        Self::ClientCertificate,
    ];

    /// The name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::ServiceToken => "service_token",
            Self::ExternalToken => "external_token",
            Self::ApiKey => "api_key",
            Self::OpaqueToken => "opaque_token",
            Self::ClientCertificate => "client_certificate",
        }
    }

    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A method and canonical path (below the service) that needs no credential. Nothing else of a request counts
/// (CVE-2025-54576): not its query, fragment or user agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicRoute {
    /// The method, upper case.
    pub method: String,
    /// The decoded path; `/*` at its end stands for everything below.
    pub path: String,
}

/// A path below the service with rules of its own. What it leaves out, the service's settings fill in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The methods it is about, upper case; none named means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The decoded path; `/*` at its end stands for everything below.
    pub path: String,
    /// Scopes needed besides the service's.
    #[serde(default, skip_serializing_if = "Scopes::is_empty")]
    pub scopes: Scopes,
    /// Kinds of credential that are accepted here in place of the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
    /// As in [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// As in [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_millis: Option<u32>,
    /// As in [`Service`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_seconds: Option<u64>,
    /// Limits besides the service's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

/// Which pages of other origins may call a project (Fetch standard, CORS protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins such as `https://app.example.com`, exactly as browsers send them; `*` alone for all, and then without credentials.
    pub origins: Vec<String>,
    /// Methods besides the simple ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Request headers, lower case, besides the simple ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Response headers that a page may read, besides the simple ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Whether cookies may come along.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub credentials: bool,
    /// How long a browser may remember a preflight's answer, in seconds.
    #[serde(default = "default_max_age")]
    pub max_age_seconds: u32,
}

const fn default_max_age() -> u32 {
    600
}

/// An issuer of JWTs that a project trusts, with the keys that the origin fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalIssuer {
    /// What `aud` must name one of.
    pub audiences: Vec<String>,
    /// Its keys, fetched by the origin.
    #[serde(default)]
    pub keys: Vec<IssuerKey>,
    /// The claim that holds scopes: a space-separated text, or a list.
    #[serde(default = "default_scope_claim")]
    pub scope_claim: String,
    /// Scopes that its tokens may bring; others are ignored.
    #[serde(default)]
    pub scopes: Scopes,
}

fn default_scope_claim() -> String {
    "scope".into()
}

/// A key of an external issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerKey {
    /// `kid`.
    pub kid: String,
    /// The one algorithm this key verifies.
    pub alg: Algorithm,
    /// The public key.
    pub jwk: Jwk,
}

/// Who a client certificate stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateIdentity {
    /// Its id in the project; revocations and logs name it `{project}/{id}`.
    pub id: String,
    /// The calling service.
    pub service: String,
    /// What it may do.
    #[serde(default)]
    pub scopes: Scopes,
    /// The second from which it is not believed any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

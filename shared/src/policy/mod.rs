//! The policy: everything the edge decides by, compiled and signed by the origin. It may not hold a secret: whoever reads
//! it learns public keys, routes and the ids of what was revoked.

mod active;
mod freshness;
mod statement;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

pub use active::{ActivePolicy, PolicyFault};
pub use freshness::{Attempt, Freshness, FreshnessBounds, age_counts_from, may_refresh_for_key};
pub use statement::{PolicyStatement, STATEMENT_HEADER, TOKEN_TYPE};

use crate::{gcra::Quota, jwt::PolicyKey, scope::Scopes};

/// Everything the edge decides by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The issuer identifier: the public URL of the edge, without a trailing slash (RFC 8414 §2).
    pub issuer: String,
    /// Keys that tokens may be signed with.
    pub keys: Vec<PolicyKey>,
    /// Enabled clients by `client_id`.
    pub clients: BTreeMap<String, Client>,
    /// Enabled projects by slug.
    pub projects: BTreeMap<String, Project>,
    /// Rate limits.
    pub limits: Limits,
    /// What is refused although its signature and times are good.
    #[serde(default)]
    pub revocations: Revocations,
    /// How old a policy may be.
    pub freshness: FreshnessBounds,
}

/// An OAuth client (RFC 6749 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The workspace it belongs to.
    pub workspace_id: String,
    /// The project whose resources it asks for by default.
    pub project: String,
    /// Registered redirect URIs.
    pub redirect_uris: Vec<String>,
    /// Scopes it may ask for.
    pub scopes: Scopes,
    /// Whether it authenticates at the token endpoint (RFC 6749 §2.1).
    #[serde(default)]
    pub confidential: bool,
}

/// A project: a tenant's group of services under `/{project}/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The workspace it belongs to.
    pub workspace_id: String,
    /// Services by slug.
    pub services: BTreeMap<String, Service>,
}

/// A service behind `/{project}/{service}/*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Base URLs, without a trailing slash; requests take turns.
    pub upstreams: Vec<String>,
    /// Scopes that every credential must have.
    #[serde(default)]
    pub scopes: Scopes,
    /// Kinds of credential that are accepted.
    pub credentials: Vec<Credential>,
    /// What needs no credential.
    #[serde(default)]
    pub public: Vec<PublicRoute>,
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// An access token of a person or client.
    AccessToken,
    /// A service token.
    ServiceToken,
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

impl PublicRoute {
    /// Whether the route covers this method and decoded path.
    pub fn covers(&self, method: &str, path: &str) -> bool {
        let path_matches = match self.path.strip_suffix("/*") {
            Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
            None => self.path == path,
        };
        self.method == method && path_matches
    }
}

/// Quotas; the edge's are approximate, since every isolate counts for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// All requests of one address (/64 for IPv6).
    pub address: Quota,
    /// Requests of one address to the endpoints that take credentials: token, revocation and the sign-in forms.
    pub credential: Quota,
    /// Requests of one client to the token and revocation endpoints.
    pub client: Quota,
}

/// What is refused. Each entry is kept as long as a token it touches could still be valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// `jti` → the second at which the entry may be forgotten.
    #[serde(default)]
    pub tokens: BTreeMap<String, u64>,
    /// Grant (`sid`) → the second at which the entry may be forgotten.
    #[serde(default)]
    pub grants: BTreeMap<String, u64>,
    /// Subject → tokens issued before this second are refused.
    #[serde(default)]
    pub subjects: BTreeMap<String, u64>,
    /// Client → tokens issued before this second are refused.
    #[serde(default)]
    pub clients: BTreeMap<String, u64>,
}

impl Revocations {
    /// Whether `claims` are revoked, by token, grant, subject or client.
    pub fn cover(&self, claims: &crate::jwt::Claims) -> bool {
        let cut_off = |before: Option<&u64>| before.is_some_and(|second| claims.iat < *second);
        self.tokens.contains_key(&claims.jti)
            || claims.sid.as_ref().is_some_and(|sid| self.grants.contains_key(sid))
            || cut_off(claims.sub.as_ref().and_then(|sub| self.subjects.get(sub)))
            || cut_off(claims.client_id.as_ref().and_then(|client| self.clients.get(client)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_route_matches_method_and_whole_segments() {
        let exact = PublicRoute { method: "GET".into(), path: "/health".into() };
        assert!(exact.covers("GET", "/health"));
        for (method, path) in [
            ("POST", "/health"),
            ("GET", "/health/"),
            ("GET", "/healthz"),
            ("GET", "/Health"),
            ("get", "/health"),
        ] {
            assert!(!exact.covers(method, path), "{method} {path}");
        }
        let below = PublicRoute { method: "GET".into(), path: "/assets/*".into() };
        assert!(below.covers("GET", "/assets/a/b") && below.covers("GET", "/assets/"));
        assert!(!below.covers("GET", "/assets") && !below.covers("GET", "/assetsx/a"));
    }
}

//! The policy: everything the edge decides by, compiled and signed by the origin. It may not hold a secret: whoever reads
//! it learns public keys, routes and the ids of what was revoked.

mod active;
mod filter;
mod freshness;
mod limit;
mod project;
mod revocations;
mod route_table;
mod statement;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

pub use active::{ActivePolicy, FILTER_HEADER, PolicyFault};
pub use filter::{RevocationFilter, entry_hash};
pub use freshness::{
    Attempt, Freshness, FreshnessBounds, REFRESH_SECONDS, age_counts_from, may_refresh_for_key,
};
pub use limit::{Limit, LimitBy, Limits, Tier};
pub use project::{
    CertificateIdentity, Cors, Credential, ExternalIssuer, IssuerKey, Project, PublicRoute, Rewrite, Route,
    Service, Upstream,
};
pub use revocations::{FilterName, Judgement, Revocable, Revocations};
pub use route_table::{Matched, RouteTable};
pub use statement::{ACKNOWLEDGEMENT_TARGET, PolicyStatement, STATEMENT_HEADER, TARGET, TOKEN_TYPE};

use crate::{
    client::{AuthMethod, GrantType},
    jwt::PolicyKey,
    scope::Scopes,
};

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
    /// Public keys of the edges, by which upstreams check `X-Gateway-Assertion`; published with the others, and believed for
    /// nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edge_keys: Vec<PolicyKey>,
}

/// An OAuth client (RFC 6749 §2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Web origins whose pages may call the token and revocation endpoints for this client (Fetch standard, CORS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// The one way it authenticates; where there is none, either way of showing a secret if it is confidential, and none if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<AuthMethod>,
    /// How it may get tokens; empty stands for [`GrantType::DEFAULT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grant_types: Vec<GrantType>,
}

impl Client {
    /// Whether this is a way in which the client is registered to authenticate.
    pub fn authenticates_by(&self, method: AuthMethod) -> bool {
        match self.auth_method {
            Some(registered) => registered == method,
            None if self.confidential => {
                matches!(method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
            }
            None => method == AuthMethod::None,
        }
    }

    /// Whether the client may get tokens in this way.
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        if self.grant_types.is_empty() {
            return GrantType::DEFAULT.contains(&grant_type);
        }
        self.grant_types.contains(&grant_type)
    }
}

//! Rate limits, as the policy carries them. It may not count: [`crate::gcra`] does.

use serde::{Deserialize, Serialize};

use crate::gcra::Quota;

/// Quotas of the gateway as a whole; approximate, since every isolate counts for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// All requests of one address (/64 for IPv6).
    pub address: Quota,
    /// Requests of one address to the endpoints that take credentials: token, revocation and the sign-in forms.
    pub credential: Quota,
    /// Requests of one client to the token and revocation endpoints.
    pub client: Quota,
}

/// A limit on a project, a service or a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is counted apart.
    pub by: LimitBy,
    /// How much.
    #[serde(flatten)]
    pub quota: Quota,
    /// Who counts.
    #[serde(default)]
    pub tier: Tier,
}

/// What a limit counts apart, within the project, service or route that it stands on. A request that has no such thing is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// The caller's address (/64 for IPv6).
    Address,
    /// The OAuth client.
    Client,
    /// The subject: a person, a service, a client acting for itself.
    Subject,
    /// The credential itself: API key, token or certificate.
    Key,
    /// All requests of the service together.
    Service,
    /// All requests of the project together.
    Project,
}

/// Who counts, and so how exact the count is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Every isolate for itself: approximate, and free.
    #[default]
    Isolate,
    /// One place for all edges: exact, at the price of a round trip to it.
    Exact,
}

impl Tier {
    /// The name in configuration and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Exact => "exact",
        }
    }
}

impl LimitBy {
    /// The name in configuration and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Client => "client",
            Self::Subject => "subject",
            Self::Key => "key",
            Self::Service => "service",
            Self::Project => "project",
        }
    }
}

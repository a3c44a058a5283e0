//! What is refused although its signature and times are good. It may not refuse a token for a likeness.

use alloc::{collections::BTreeMap, string::String};

use serde::{Deserialize, Serialize};

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

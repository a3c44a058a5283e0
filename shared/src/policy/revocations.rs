//! What is refused although its signature and times are good. It may not refuse a token for a likeness: what the filter hits and nothing
//! else decides is asked about.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString as _},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use super::RevocationFilter;
use crate::jwt::Claims;

/// What is refused. Each entry is kept as long as a token it touches could still be valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocations {
    /// `jti` → the second at which the entry may be forgotten. Of tokens of other issuers, `iss jti`.
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
    /// Further tokens and grants; when this is there, `tokens` and `grants` hold what was revoked since it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterName>,
}

/// A filter that travels beside the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterName {
    /// base64url of SHA-256 of its bytes.
    pub sha256: String,
}

/// What revocations know a credential by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocable<'a> {
    /// Its own id: `jti`; for other issuers, `iss jti` ([`Revocable::foreign_token`]).
    pub token: &'a str,
    /// The grant it came of.
    pub grant: Option<&'a str>,
    /// The subject.
    pub subject: Option<&'a str>,
    /// The client.
    pub client: Option<&'a str>,
    /// The second of issuance.
    pub issued_at: u64,
}

impl<'a> Revocable<'a> {
    /// A token of our own.
    pub fn of(claims: &'a Claims) -> Self {
        Self {
            token: &claims.jti,
            grant: claims.sid.as_deref(),
            subject: claims.sub.as_deref(),
            client: claims.client_id.as_deref(),
            issued_at: claims.iat,
        }
    }

    /// The id of another issuer's token. An issuer's URL has no space, so that no two pairs give the same.
    pub fn foreign_token(issuer: &str, jti: &str) -> String {
        alloc::format!("{issuer} {jti}")
    }
}

/// What the revocations say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing covers it.
    Clear,
    /// It is revoked.
    Covered,
    /// The filter hits these entries, `jti:…` or `grant:…`: whether rightly, only the origin knows.
    Ask(Vec<String>),
}

impl Revocations {
    /// Judges by everything that is exact, and then by the filter; `filter` is the one that [`Self::filter`] names.
    pub fn judge(&self, filter: Option<&RevocationFilter>, what: &Revocable<'_>) -> Judgement {
        let cut_off = |before: Option<&u64>| before.is_some_and(|second| what.issued_at < *second);
        let is_covered = self.tokens.contains_key(what.token)
            || what.grant.is_some_and(|grant| self.grants.contains_key(grant))
            || cut_off(what.subject.and_then(|subject| self.subjects.get(subject)))
            || cut_off(what.client.and_then(|client| self.clients.get(client)));
        if is_covered {
            return Judgement::Covered;
        }
        let Some(filter) = filter else { return Judgement::Clear };
        let entries = [Some(("jti", what.token)), what.grant.map(|grant| ("grant", grant))];
        let hit: Vec<String> = entries
            .into_iter()
            .flatten()
            .filter(|(kind, value)| filter.hits(super::entry_hash(kind, value)))
            .map(|(kind, value)| [kind, ":", value].concat())
            .collect();
        if hit.is_empty() { Judgement::Clear } else { Judgement::Ask(hit) }
    }

    /// How many entries stand in it one by one.
    pub fn exact_entries(&self) -> usize {
        [&self.tokens, &self.grants, &self.subjects, &self.clients]
            .iter()
            .fold(0, |sum, entries| entries.len().saturating_add(sum))
    }
}

impl From<&RevocationFilter> for FilterName {
    fn from(filter: &RevocationFilter) -> Self {
        Self { sha256: filter.sha256().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::{format, vec};

    use super::*;
    use crate::policy::entry_hash;

    fn what<'a>(token: &'a str, grant: &'a str) -> Revocable<'a> {
        Revocable { token, grant: Some(grant), subject: Some("s"), client: Some("c"), issued_at: 100 }
    }

    #[test]
    fn what_is_exact_needs_no_question() {
        let one = |name: &str, second: u64| BTreeMap::from([(name.into(), second)]);
        let exact = [
            Revocations { tokens: one("t", 0), ..Revocations::default() },
            Revocations { grants: one("g", 0), ..Revocations::default() },
            Revocations { subjects: one("s", 101), ..Revocations::default() },
            Revocations { clients: one("c", 101), ..Revocations::default() },
        ];
        for revocations in exact {
            assert_eq!(revocations.judge(None, &what("t", "g")), Judgement::Covered);
            assert_eq!(revocations.exact_entries(), 1);
        }
        let later = Revocations { subjects: one("s", 100), clients: one("c", 100), ..Revocations::default() };
        assert_eq!(later.judge(None, &what("t", "g")), Judgement::Clear);
    }

    #[test]
    fn a_hit_is_asked_about_and_names_its_kind() {
        let hashes = vec![entry_hash("jti", "t1"), entry_hash("grant", "g1")];
        let filter = RevocationFilter::build(hashes, [], 0).unwrap();
        let revocations = Revocations { filter: Some(FilterName::from(&filter)), ..Revocations::default() };
        let judge = |token: &str, grant: &str| revocations.judge(Some(&filter), &what(token, grant));
        let ask =
            |entries: &[&str]| Judgement::Ask(entries.iter().map(|entry| String::from(*entry)).collect());
        let clear = (0..).map(|number| format!("clear-{number}"));
        let clear: Vec<String> = clear
            .filter(|name| !filter.hits(entry_hash("jti", name)) && !filter.hits(entry_hash("grant", name)))
            .take(1)
            .collect();
        assert_eq!(judge("t1", "g1"), ask(&["jti:t1", "grant:g1"]));
        assert_eq!(judge("t1", &clear[0]), ask(&["jti:t1"]));
        assert_eq!(judge(&clear[0], "g1"), ask(&["grant:g1"]));
        assert_eq!(judge(&clear[0], &clear[0]), Judgement::Clear);
        let exact = Revocations { tokens: BTreeMap::from([("t1".into(), 0)]), ..revocations.clone() };
        assert_eq!(exact.judge(Some(&filter), &what("t1", "g1")), Judgement::Covered);
    }
}

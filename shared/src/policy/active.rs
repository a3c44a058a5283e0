//! A policy in force: verified, decoded, ready to decide by. It may not change: a newer one replaces it whole.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{Judgement, Policy, PolicyStatement, Revocable, RevocationFilter, RouteTable};
use crate::{
    jwt::{PolicyKey, TokenFault, VerificationKey},
    time::UnixMillis,
};

/// The request header by which an edge says which filter of revocations it holds, by its hash: that one need not be sent again.
pub const FILTER_HEADER: &str = "x-gateway-filter";

/// A policy in force.
#[derive(Debug)]
pub struct ActivePolicy {
    /// The content.
    pub policy: Policy,
    /// Its version.
    pub version: u64,
    /// When the origin last confirmed it.
    pub made_at: UnixMillis,
    sha256: String,
    keys: BTreeMap<String, (PolicyKey, VerificationKey)>,
    filter: Option<Arc<RevocationFilter>>,
    /// By project and service.
    routes: BTreeMap<String, BTreeMap<String, RouteTable>>,
    /// The origins of all clients together.
    client_origins: BTreeSet<String>,
    /// A hash of every key that a token can be verified by, and of whose it is.
    trust: [u8; 32],
}

/// Why a policy is not accepted; the one in force stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFault {
    /// The statement is not the policy key's.
    Statement(TokenFault),
    /// The statement is for another issuer.
    WrongIssuer,
    /// The statement is about other content.
    OtherContent,
    /// The content is not a policy.
    Malformed,
    /// A key of the policy does not fit its algorithm.
    BadKey,
    /// It is older than the one in force.
    Older,
    /// The filter of revocations that it names came neither with it nor with the one in force.
    FilterMissing,
    /// What came with it is not the filter that it names.
    OtherFilter,
}

impl ActivePolicy {
    /// Accepts `body` with its statement; `current` is what it would replace. The content of the policy is one line of JSON; after a
    /// line feed follows the filter that it names, unless `current` has it.
    pub fn accept(
        statement: &str,
        body: &[u8],
        key: &VerificationKey,
        issuer: &str,
        current: Option<&Self>,
    ) -> Result<Self, PolicyFault> {
        let statement = Self::check(statement, key, issuer, current)?;
        let mut parts = body.splitn(2, |byte| *byte == b'\n');
        let content = parts.next().unwrap_or_default();
        if !statement.is_about(content) {
            return Err(PolicyFault::OtherContent);
        }
        let policy: Policy = serde_json::from_slice(content).map_err(|_| PolicyFault::Malformed)?;
        if policy.issuer != issuer {
            return Err(PolicyFault::WrongIssuer);
        }
        let filter = match parts.next() {
            Some(bytes) => {
                Some(Arc::new(RevocationFilter::parse(bytes.into()).ok_or(PolicyFault::OtherFilter)?))
            }
            None => current
                .and_then(|current| current.filter.clone())
                .filter(|filter| Some(filter.sha256()) == named_filter(&policy)),
        };
        Self::from_parts(policy, statement, filter)
    }

    /// A policy that was just made here, without the envelope; `filter` is the one it names.
    pub fn from_parts(
        policy: Policy,
        statement: PolicyStatement,
        filter: Option<Arc<RevocationFilter>>,
    ) -> Result<Self, PolicyFault> {
        match (named_filter(&policy), &filter) {
            (Some(_), None) => return Err(PolicyFault::FilterMissing),
            (named, Some(filter)) if named != Some(filter.sha256()) => return Err(PolicyFault::OtherFilter),
            _ => {}
        }
        let mut keys = BTreeMap::new();
        for key in &policy.keys {
            let verification = VerificationKey::from_jwk(key.alg, &key.jwk).ok_or(PolicyFault::BadKey)?;
            keys.insert(key.kid.clone(), (key.clone(), verification));
        }
        Ok(Self {
            routes: routes_of(&policy),
            client_origins: policy
                .clients
                .values()
                .flat_map(|client| client.origins.iter().cloned())
                .collect(),
            trust: trust_of(&policy),
            policy,
            version: statement.version,
            made_at: statement.made_at,
            sha256: statement.sha256,
            keys,
            filter,
        })
    }

    /// The filter of revocations, where there are too many for a list.
    pub fn filter(&self) -> Option<&Arc<RevocationFilter>> {
        self.filter.as_ref()
    }

    /// The filter's name: its hash.
    pub fn filter_name(&self) -> Option<&str> {
        named_filter(&self.policy)
    }

    /// What the revocations say of a credential.
    pub fn revocation_of(&self, what: &Revocable<'_>) -> Judgement {
        self.policy.revocations.judge(self.filter.as_deref(), what)
    }

    /// The routes of a service.
    pub fn routes(&self, project: &str, service: &str) -> Option<&RouteTable> {
        self.routes.get(project)?.get(service)
    }

    /// Whether pages of this origin may call the token endpoint, for one client or another.
    pub fn is_client_origin(&self, origin: &str) -> bool {
        self.client_origins.contains(origin)
    }

    /// A hash of every key that a token can be verified by: what was verified under another one must be verified anew.
    pub fn trust(&self) -> &[u8; 32] {
        &self.trust
    }

    /// The later time at which the origin confirmed this same content ("304 Not Modified"); `Older` when it is another's.
    pub fn confirmed_at(&self, statement: &str, key: &VerificationKey) -> Result<UnixMillis, PolicyFault> {
        let statement = Self::check(statement, key, &self.policy.issuer, Some(self))?;
        if statement.version != self.version || statement.sha256 != self.sha256 {
            return Err(PolicyFault::OtherContent);
        }
        Ok(statement.made_at.max(self.made_at))
    }

    fn check(
        statement: &str,
        key: &VerificationKey,
        issuer: &str,
        current: Option<&Self>,
    ) -> Result<PolicyStatement, PolicyFault> {
        let statement = PolicyStatement::verify(statement, key).map_err(PolicyFault::Statement)?;
        if statement.iss != issuer {
            return Err(PolicyFault::WrongIssuer);
        }
        if current.is_some_and(|current| statement.version < current.version) {
            return Err(PolicyFault::Older);
        }
        Ok(statement)
    }

    /// The key of this `kid`, if what it signed may be believed at `now`.
    pub fn key(&self, kid: &str, now: UnixMillis) -> Option<(&PolicyKey, &VerificationKey)> {
        self.keys
            .get(kid)
            .filter(|(key, _)| key.is_believed(now))
            .map(|(key, verification)| (key, verification))
    }
}

fn named_filter(policy: &Policy) -> Option<&str> {
    policy.revocations.filter.as_ref().map(|filter| filter.sha256.as_str())
}

fn routes_of(policy: &Policy) -> BTreeMap<String, BTreeMap<String, RouteTable>> {
    let tables = |services: &BTreeMap<String, super::Service>| {
        services.iter().map(|(slug, service)| (slug.clone(), RouteTable::of(service))).collect()
    };
    policy.projects.iter().map(|(slug, project)| (slug.clone(), tables(&project.services))).collect()
}

fn trust_of(policy: &Policy) -> [u8; 32] {
    let issuers: BTreeMap<&String, _> =
        policy.projects.iter().map(|(slug, project)| (slug, &project.issuers)).collect();
    // What does not serialise to JSON came from JSON; nothing here has another form.
    let keys = serde_json::to_vec(&(&policy.keys, issuers)).unwrap_or_default();
    Sha256::digest(&keys).into()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{
        decide::sample,
        jwt::SigningKey,
        policy::{FilterName, entry_hash},
    };

    const ISSUER: &str = "https://auth.test";

    fn signed(key: &SigningKey, version: u64, content: &[u8]) -> String {
        PolicyStatement::new(ISSUER, version, UnixMillis(5), content).sign(key).unwrap()
    }

    #[test]
    fn only_the_policy_key_and_only_forward() {
        let key = SigningKey::from_seed("policy", &[1; 32]);
        let stranger = SigningKey::from_seed("policy", &[2; 32]);
        let content: Vec<u8> = serde_json::to_vec(&sample::policy()).unwrap();
        let accept = |statement: &str, content: &[u8], current: Option<&ActivePolicy>| {
            ActivePolicy::accept(statement, content, &key.verification_key(), ISSUER, current)
        };
        let current = accept(&signed(&key, 7, &content), &content, None).unwrap();
        assert_eq!(current.version, 7);
        assert!(accept(&signed(&key, 7, &content), &content, Some(&current)).is_ok());
        assert!(accept(&signed(&key, 8, &content), &content, Some(&current)).is_ok());
        assert_eq!(
            accept(&signed(&key, 6, &content), &content, Some(&current)).unwrap_err(),
            PolicyFault::Older
        );
        assert_eq!(
            accept(&signed(&stranger, 8, &content), &content, None).unwrap_err(),
            PolicyFault::Statement(TokenFault::BadSignature)
        );
        assert_eq!(accept(&signed(&key, 8, b"{}"), &content, None).unwrap_err(), PolicyFault::OtherContent);
        assert_eq!(accept(&signed(&key, 8, b"{}"), b"{}", None).unwrap_err(), PolicyFault::Malformed);
        let other = PolicyStatement::new("https://evil.test", 8, UnixMillis(5), &content).sign(&key).unwrap();
        assert_eq!(accept(&other, &content, None).unwrap_err(), PolicyFault::WrongIssuer);
    }

    #[test]
    fn a_confirmation_makes_the_same_content_younger() {
        let key = SigningKey::from_seed("policy", &[1; 32]);
        let content = serde_json::to_vec(&sample::policy()).unwrap();
        let verification = key.verification_key();
        let current =
            ActivePolicy::accept(&signed(&key, 7, &content), &content, &verification, ISSUER, None).unwrap();
        let later = PolicyStatement::new(ISSUER, 7, UnixMillis(9), &content).sign(&key).unwrap();
        assert_eq!(current.confirmed_at(&later, &verification), Ok(UnixMillis(9)));
        let earlier = PolicyStatement::new(ISSUER, 7, UnixMillis(2), &content).sign(&key).unwrap();
        assert_eq!(current.confirmed_at(&earlier, &verification), Ok(UnixMillis(5)));
        let newer = PolicyStatement::new(ISSUER, 8, UnixMillis(9), &content).sign(&key).unwrap();
        assert_eq!(current.confirmed_at(&newer, &verification), Err(PolicyFault::OtherContent));
        assert_eq!(current.confirmed_at(&signed(&key, 6, &content), &verification), Err(PolicyFault::Older));
    }

    #[test]
    fn a_filter_comes_with_its_policy_or_is_taken_over_and_no_other_will_do() {
        let key = SigningKey::from_seed("policy", &[1; 32]);
        let accept = |version: u64,
                      content: &[u8],
                      attached: Option<&RevocationFilter>,
                      current: Option<&ActivePolicy>| {
            let statement = signed(&key, version, content);
            let mut body = content.to_vec();
            if let Some(filter) = attached {
                body.push(b'\n');
                body.extend_from_slice(filter.bytes());
            }
            ActivePolicy::accept(&statement, &body, &key.verification_key(), ISSUER, current)
        };
        let filter = |value: &str| RevocationFilter::build([entry_hash("jti", value)].into(), [], 0).unwrap();
        let (one, other) = (filter("1"), filter("2"));
        let content = |filter: Option<&RevocationFilter>| {
            let mut policy = sample::policy();
            policy.revocations.filter = filter.map(FilterName::from);
            serde_json::to_vec(&policy).unwrap()
        };
        let (naming_one, naming_other, without) = (content(Some(&one)), content(Some(&other)), content(None));
        let first = accept(1, &naming_one, Some(&one), None).unwrap();
        assert_eq!(first.filter().map(|filter| &**filter), Some(&one));
        assert_eq!(accept(1, &naming_one, None, None).unwrap_err(), PolicyFault::FilterMissing);
        assert_eq!(accept(1, &naming_one, Some(&other), None).unwrap_err(), PolicyFault::OtherFilter);
        assert_eq!(accept(1, &without, Some(&one), None).unwrap_err(), PolicyFault::OtherFilter);
        // Taken over from the one in force, if that has it.
        let second = accept(2, &naming_one, None, Some(&first)).unwrap();
        assert_eq!(second.filter_name(), Some(one.sha256()));
        assert_eq!(accept(3, &naming_other, None, Some(&second)).unwrap_err(), PolicyFault::FilterMissing);
        let third = accept(3, &naming_other, Some(&other), Some(&second)).unwrap();
        assert_eq!(third.filter_name(), Some(other.sha256()));
        let last = accept(4, &without, None, Some(&third)).unwrap();
        assert_eq!(last.filter(), None);
        // A filter that broke off.
        let mut body = naming_one.clone();
        body.push(b'\n');
        body.extend_from_slice(&one.bytes()[..one.bytes().len() - 1]);
        let broken =
            ActivePolicy::accept(&signed(&key, 1, &naming_one), &body, &key.verification_key(), ISSUER, None);
        assert_eq!(broken.unwrap_err(), PolicyFault::OtherFilter);
    }
}

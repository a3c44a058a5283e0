//! A policy in force: verified, decoded, ready to decide by. It may not change: a newer one replaces it whole.

use alloc::{collections::BTreeMap, string::String};

use super::{Policy, PolicyStatement};
use crate::{
    jwt::{PolicyKey, TokenFault, VerificationKey},
    time::UnixMillis,
};

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
}

impl ActivePolicy {
    /// Accepts `content` with its statement; `current` is what it would replace.
    pub fn accept(
        statement: &str,
        content: &[u8],
        key: &VerificationKey,
        issuer: &str,
        current: Option<&Self>,
    ) -> Result<Self, PolicyFault> {
        let statement = Self::check(statement, key, issuer, current)?;
        if !statement.is_about(content) {
            return Err(PolicyFault::OtherContent);
        }
        let policy: Policy = serde_json::from_slice(content).map_err(|_| PolicyFault::Malformed)?;
        if policy.issuer != issuer {
            return Err(PolicyFault::WrongIssuer);
        }
        Self::from_parts(policy, statement)
    }

    /// A policy that was just made here: the origin decides by its own without the envelope.
    pub fn from_parts(policy: Policy, statement: PolicyStatement) -> Result<Self, PolicyFault> {
        let mut keys = BTreeMap::new();
        for key in &policy.keys {
            let verification = VerificationKey::from_jwk(key.alg, &key.jwk).ok_or(PolicyFault::BadKey)?;
            keys.insert(key.kid.clone(), (key.clone(), verification));
        }
        Ok(Self {
            policy,
            version: statement.version,
            made_at: statement.made_at,
            sha256: statement.sha256,
            keys,
        })
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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{decide::sample, jwt::SigningKey};

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
}

//! What a door remembers between requests: quotas in use, signatures that verified, credentials that were looked up, proofs that were
//! used, upstreams that failed, keys that verify often. It may not outgrow its bounds, and losing it changes no verdict but that of a rate limit, and of a
//! proof that is used twice within its minute.

use alloc::sync::Arc;
use core::{fmt, hash::Hasher as _};

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::health::{Chosen, Health};
use crate::{
    bounded::BoundedMap,
    credential::CredentialStatement,
    dpop,
    gcra::{ArrivalTime, Outcome, Quota},
    jwt::{Claims, PreparedKeys},
    policy::{Credential, Upstream},
    time::UnixMillis,
};

/// Keys with a quota in use, per generation.
const QUOTA_ENTRIES: usize = 32_768;
/// Tokens whose signature verified, per generation.
const TOKEN_ENTRIES: usize = 8_192;
/// Hits of a filter that the origin was asked about, per generation.
const CONFIRMATION_ENTRIES: usize = 8_192;
/// Credentials that were looked up, per generation.
const CREDENTIAL_ENTRIES: usize = 4_096;
/// Proofs that were used, per generation.
const PROOF_ENTRIES: usize = 16_384;

/// A token whose signature is known to be good. Times, issuer, audience, scopes and revocation are judged at each use.
#[derive(Clone, Debug)]
pub(super) struct VerifiedToken {
    pub(super) kid: Option<Arc<str>>,
    pub(super) kind: Credential,
    pub(super) claims: Arc<Claims>,
}

/// What a token is remembered under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey([u8; 16]);

/// What is remembered.
pub struct Memory {
    /// Of the hash that tokens are remembered under.
    key: [u8; 16],
    quotas: BoundedMap<(u8, [u8; 16]), ArrivalTime>,
    tokens: BoundedMap<TokenKey, VerifiedToken>,
    confirmations: BoundedMap<[u8; 32], bool>,
    credentials: BoundedMap<[u8; 32], Arc<CredentialStatement>>,
    proofs: BoundedMap<[u8; 32], (UnixMillis, [u8; 16])>,
    health: Health,
    prepared_keys: PreparedKeys,
}

impl Default for Memory {
    /// A memory whose key is no secret: for tests, and where no caller chooses what is remembered.
    fn default() -> Self {
        Self::new([0; 16])
    }
}

impl Memory {
    /// An empty memory; `key` must be fresh randomness.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            key,
            quotas: BoundedMap::new(QUOTA_ENTRIES),
            tokens: BoundedMap::new(TOKEN_ENTRIES),
            confirmations: BoundedMap::new(CONFIRMATION_ENTRIES),
            credentials: BoundedMap::new(CREDENTIAL_ENTRIES),
            proofs: BoundedMap::new(PROOF_ENTRIES),
            health: Health::default(),
            prepared_keys: PreparedKeys::default(),
        }
    }

    /// Notes that an upstream, by its base URL, failed: it did not answer, not in time, or with 502, 503 or 504.
    pub fn upstream_failed(&mut self, base: &str, now: UnixMillis) {
        self.health.failed(base, now);
    }

    /// Notes that an upstream answered a probe ([`super::ToUpstream::report`]).
    pub fn upstream_answered(&mut self, base: &str) {
        self.health.answered(base);
    }

    /// How many upstreams are left alone for now.
    pub fn ejected_upstreams(&self) -> usize {
        self.health.ejected()
    }

    pub(super) fn choose_upstream<'a>(
        &mut self,
        upstreams: &'a [Upstream],
        region: Option<&str>,
        excluded: &[&str],
        now: UnixMillis,
    ) -> Option<Chosen<'a>> {
        self.health.choose(upstreams, region, excluded, now)
    }

    /// Keys that verify often.
    pub(super) fn prepared_keys(&mut self) -> &mut PreparedKeys {
        &mut self.prepared_keys
    }

    /// Counts a request of `key` against `quota`.
    pub(super) fn charge(&mut self, kind: u8, key: [u8; 16], quota: Quota, now: UnixMillis) -> Outcome {
        let key = (kind, key);
        let outcome = quota.check(self.quotas.get(&key).copied(), now);
        self.quotas.insert(key, outcome.state);
        outcome
    }

    /// The key under which a token is remembered: a keyed hash of the trust that it was verified under, framed, and of the token, so
    /// that neither a changed key set nor another project nor another token can answer for it. SipHash-2-4 of 128 bits, in a seventh
    /// of SHA-256's time: who does not know the key cannot look for a token that hashes like another's.
    /// Revocations and settings are not in it: they are judged at each use, and a revocation a second would leave nothing remembered.
    pub(super) fn token_key(&self, domain: &str, token: &str, trust: &[u8; 32]) -> TokenKey {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(trust);
        hasher.write_u64(u64::try_from(domain.len()).unwrap_or(u64::MAX));
        hasher.write(domain.as_bytes());
        hasher.write(token.as_bytes());
        TokenKey(hasher.finish128().as_bytes())
    }

    pub(super) fn verified(&mut self, key: &TokenKey) -> Option<VerifiedToken> {
        self.tokens.touch(key).cloned()
    }

    pub(super) fn remember(&mut self, key: TokenKey, token: VerifiedToken) {
        self.tokens.insert(key, token);
    }

    /// Whether an entry that a filter hit is revoked, if the origin was asked.
    pub(super) fn confirmed(&self, key: &[u8; 32]) -> Option<bool> {
        self.confirmations.get(key).copied()
    }

    pub(super) fn confirm(&mut self, key: [u8; 32], is_revoked: bool) {
        self.confirmations.insert(key, is_revoked);
    }

    pub(super) fn credential(&self, sha256: &[u8; 32]) -> Option<Arc<CredentialStatement>> {
        self.credentials.get(sha256).cloned()
    }

    pub(super) fn remember_credential(&mut self, sha256: [u8; 32], statement: Arc<CredentialStatement>) {
        self.credentials.insert(sha256, statement);
    }

    /// Whether a proof was not used by another request while it holds.
    pub(super) fn proof_is_new(&mut self, key: [u8; 32], request_id: &str, now: UnixMillis) -> bool {
        let request = super::facts::key_of(request_id);
        // An `iat` ahead of our clock lets it hold longer by as much.
        let lifetime = dpop::LIFETIME_SECONDS.saturating_mul(2).saturating_mul(1000);
        let used = self.proofs.get(&key).is_some_and(|(at, by)| now.since(*at) < lifetime && *by != request);
        if !used {
            self.proofs.insert(key, (now, request));
        }
        !used
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Memory({} quotas, {} tokens, {} credentials)",
            self.quotas.len(),
            self.tokens.len(),
            self.credentials.len()
        )
    }
}

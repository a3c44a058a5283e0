//! What a door remembers between requests: quotas in use and signatures that verified. It may not outgrow its bounds, and
//! losing it changes no verdict but that of a rate limit.

use alloc::sync::Arc;
use core::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    bounded::BoundedMap,
    gcra::{ArrivalTime, Outcome, Quota},
    jwt::{Claims, TokenType},
    time::UnixMillis,
};

/// Keys with a quota in use, per generation.
const QUOTA_ENTRIES: usize = 32_768;
/// Tokens whose signature verified, per generation.
const TOKEN_ENTRIES: usize = 8_192;
/// Hits of a filter that the origin was asked about, per generation.
const CONFIRMATION_ENTRIES: usize = 8_192;

/// A token whose signature is known to be good. Times, issuer, audience, scopes and revocation are judged at each use.
#[derive(Clone, Debug)]
pub(super) struct VerifiedToken {
    pub(super) kid: Option<alloc::string::String>,
    pub(super) token_type: TokenType,
    pub(super) claims: Arc<Claims>,
}

/// What is remembered.
pub struct Memory {
    quotas: BoundedMap<(u8, [u8; 16]), ArrivalTime>,
    tokens: BoundedMap<[u8; 32], VerifiedToken>,
    confirmations: BoundedMap<[u8; 32], bool>,
    turn: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            quotas: BoundedMap::new(QUOTA_ENTRIES),
            tokens: BoundedMap::new(TOKEN_ENTRIES),
            confirmations: BoundedMap::new(CONFIRMATION_ENTRIES),
            turn: 0,
        }
    }
}

impl Memory {
    /// Counts a request of `key` against `quota`.
    pub(super) fn charge(&mut self, kind: u8, key: [u8; 16], quota: Quota, now: UnixMillis) -> Outcome {
        let key = (kind, key);
        let outcome = quota.check(self.quotas.get(&key).copied(), now);
        self.quotas.insert(key, outcome.state);
        outcome
    }

    /// The key under which a token is remembered: its hash together with the policy version, so that neither a changed key
    /// set nor another token can answer for it.
    pub(super) fn token_key(token: &str, policy_version: u64) -> [u8; 32] {
        Sha256::new()
            .chain_update(policy_version.to_be_bytes())
            .chain_update(token.as_bytes())
            .finalize()
            .into()
    }

    pub(super) fn verified(&self, key: &[u8; 32]) -> Option<VerifiedToken> {
        self.tokens.get(key).cloned()
    }

    pub(super) fn remember(&mut self, key: [u8; 32], token: VerifiedToken) {
        self.tokens.insert(key, token);
    }

    /// Whether an entry that a filter hit is revoked, if the origin was asked.
    pub(super) fn confirmed(&self, key: &[u8; 32]) -> Option<bool> {
        self.confirmations.get(key).copied()
    }

    pub(super) fn confirm(&mut self, key: [u8; 32], is_revoked: bool) {
        self.confirmations.insert(key, is_revoked);
    }

    /// The next of `count` upstreams in turn.
    pub(super) fn next_turn(&mut self, count: usize) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn.checked_rem(count).unwrap_or_default()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Memory({} quotas, {} tokens)", self.quotas.len(), self.tokens.len())
    }
}

//! The policy in force, held whole and swapped whole. It is compiled again when somebody asks and it is too old, by whoever asks: nobody
//! waits for another request's work, and nothing runs while nobody asks.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::Duration;

use shared::{
    base64url,
    jwt::{Algorithm, Jwk, KeyPhase, PolicyKey, SigningKey, TokenType},
    policy::{FreshnessBounds, PolicyStatement},
    time::UnixMillis,
};
use uuid::Uuid;

use super::{
    compile::{self, Compiled, PolicyError, Settings},
    filter,
};
use crate::{
    configuration::{EdgePublicKey, ServeConfiguration},
    database::{Database, Scope},
};

/// While somebody else compiles, how old the policy may be that others go on with, in milliseconds. Well below the age at which an
/// edge would wait for a newer one. Also the time after which a compilation that never came back is no longer counted on.
const MEANWHILE_MILLIS: u64 = 2_000;
/// How often an identifier is drawn again that a filter hits.
const MOST_DRAWS: usize = 8;
/// After a filter could not be built, how long this process waits before it tries again: the attempt itself is work for the database.
const BUILD_AGAIN: Duration = Duration::from_secs(10);

/// The policy in force and what is needed to make the next.
pub struct PolicyBook {
    settings: Settings,
    key: SigningKey,
    interval_millis: u64,
    current: RwLock<Option<Arc<Compiled>>>,
    /// Grows with every change that was made here: a policy that was begun before the last one is out of date.
    changes: Arc<AtomicU64>,
    /// When the compilation began that others need not repeat; 0 when there is none.
    compiling_since: AtomicU64,
    /// Whether this process builds a filter of revocations.
    is_building: Arc<AtomicBool>,
}

impl PolicyBook {
    /// An empty book: the first who asks compiles.
    pub fn new(configuration: &ServeConfiguration) -> Self {
        Self {
            settings: Settings {
                issuer: configuration.issuer.as_str().to_owned(),
                limits: configuration.limits,
                edge_keys: edge_keys(&configuration.edge_public_keys),
                freshness: configuration.freshness,
                list: configuration.revocation_list,
            },
            key: SigningKey::from_seed("policy", configuration.policy_signing_key.expose()),
            interval_millis: u64::try_from(configuration.policy_compile_interval.as_millis())
                .unwrap_or(u64::MAX),
            current: RwLock::new(None),
            changes: Arc::default(),
            compiling_since: AtomicU64::new(0),
            is_building: Arc::default(),
        }
    }

    /// Says that something the policy is made of was committed, such as a revocation: the next who asks compiles, whatever the age.
    pub fn mark_changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// The policy, at most `POLICY_COMPILE_INTERVAL` old, or a little older while another request compiles.
    pub async fn current(&self, database: &Database) -> Result<Arc<Compiled>, PolicyError> {
        let now = UnixMillis(database.clock().unix_millis());
        let held = self.held();
        if let Some(held) = &held
            && self.is_current(held, now)
        {
            return Ok(Arc::clone(held));
        }
        let claim = self.claim(now);
        if let (None, Some(held)) = (&claim, &held)
            && is_within(held, now, MEANWHILE_MILLIS)
        {
            return Ok(Arc::clone(held));
        }
        let changes = self.changes.load(Ordering::SeqCst);
        let filter = held.as_ref().and_then(|held| held.filter());
        let compiled = compile::run(database, &self.settings, changes, filter).await;
        drop(claim);
        let is_due = match &compiled {
            Ok(compiled) => compiled.filter_is_due,
            Err(error) => matches!(error, PolicyError::FilterPending),
        };
        if is_due {
            self.build_filter_beside(database);
        }
        Ok(self.replace(compiled?))
    }

    /// The statement about a policy, signed: its version, and when it was true.
    pub fn statement(&self, compiled: &Compiled) -> Result<String, PolicyError> {
        PolicyStatement::new(&self.settings.issuer, compiled.version, compiled.made_at, &compiled.content)
            .sign(&self.key)
            .ok_or(PolicyError::Unsigned)
    }

    /// The key that signs what the origin states to its edges.
    pub fn statement_key(&self) -> &SigningKey {
        &self.key
    }

    /// An identifier for a new token (`jti`) or `grant` that the filter of revocations in force does not hit: no edge need ask about it.
    /// When the next filter is built, it is among what that is checked against.
    pub fn fresh_id(&self, kind: &str, scope: &Scope) -> Uuid {
        let held = self.held();
        let filter = held.as_ref().and_then(|held| held.filter());
        let is_hit = |id: &Uuid| {
            filter.is_some_and(|filter| filter.hits(shared::policy::entry_hash(kind, &id.to_string())))
        };
        let mut id = scope.new_id();
        // Each draw is hit once in 256.
        for _ in 0..MOST_DRAWS {
            if !is_hit(&id) {
                break;
            }
            id = scope.new_id();
        }
        id
    }

    /// How old a policy may be.
    pub fn freshness(&self) -> FreshnessBounds {
        self.settings.freshness
    }

    /// Has the filter of revocations built, unless that is under way here. The requests do not wait for it.
    fn build_filter_beside(&self, database: &Database) {
        if self.is_building.swap(true, Ordering::SeqCst) {
            return;
        }
        let done = BuildingEnds(Arc::clone(&self.is_building));
        let (database, changes, list) = (database.clone(), Arc::clone(&self.changes), self.settings.list);
        tokio::spawn(async move {
            match filter::build(&database, list).await {
                Ok(filter::Built::Elsewhere) => {}
                Ok(built) => {
                    changes.fetch_add(1, Ordering::SeqCst);
                    tracing::info!(?built, "the filter of revocations was built");
                }
                Err(error) => {
                    tracing::error!(%error, "the filter of revocations was not built");
                    tokio::time::sleep(BUILD_AGAIN).await;
                }
            }
            drop(done);
        });
    }

    /// The version last compiled here.
    pub fn version(&self) -> Option<u64> {
        self.held().map(|held| held.version)
    }

    fn held(&self) -> Option<Arc<Compiled>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the newer of two that were compiled side by side; the caller gets its own, which is no older than its question.
    fn replace(&self, compiled: Compiled) -> Arc<Compiled> {
        let compiled = Arc::new(compiled);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_newer = current
            .as_ref()
            .is_none_or(|held| (held.version, held.made_at) <= (compiled.version, compiled.made_at));
        if is_newer {
            *current = Some(Arc::clone(&compiled));
        }
        compiled
    }

    fn is_current(&self, held: &Compiled, now: UnixMillis) -> bool {
        held.changes == self.changes.load(Ordering::SeqCst) && is_within(held, now, self.interval_millis)
    }

    /// The right to be the one who compiles, unless somebody has it already.
    fn claim(&self, now: UnixMillis) -> Option<Claim<'_>> {
        let since = self.compiling_since.load(Ordering::SeqCst);
        if since != 0 && now.since(UnixMillis(since)) < MEANWHILE_MILLIS {
            return None;
        }
        let mine = now.0.max(1);
        self.compiling_since
            .compare_exchange(since, mine, Ordering::SeqCst, Ordering::SeqCst)
            .ok()
            .map(|_| Claim { book: self, mine })
    }
}

/// The keys of the edges as the policy publishes them: for assertions to upstreams, and for no credential.
fn edge_keys(edges: &[EdgePublicKey]) -> Vec<PolicyKey> {
    let mut keys: Vec<PolicyKey> = edges
        .iter()
        .map(|edge| PolicyKey {
            kid: edge.edge_id.clone(),
            alg: Algorithm::EdDsa,
            phase: KeyPhase::Active,
            signs: vec![TokenType::UpstreamAssertion],
            not_after: None,
            jwk: Jwk::Okp { crv: "Ed25519".to_owned(), x: base64url::encode(edge.key.as_bytes()) },
        })
        .collect();
    keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    keys
}

/// Whether `held` is at most `millis` old. One from the future says that the clock was set back: it counts as old.
fn is_within(held: &Compiled, now: UnixMillis, millis: u64) -> bool {
    held.made_at <= now && now.since(held.made_at) < millis
}

/// Says when dropped that nothing is being built any more, also where building panicked.
struct BuildingEnds(Arc<AtomicBool>);

impl Drop for BuildingEnds {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Given back when dropped, so that a request that is cancelled in mid-flight leaves nothing behind.
struct Claim<'a> {
    book: &'a PolicyBook,
    mine: u64,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // A failure means that it had been taken over.
        let _ = self.book.compiling_since.compare_exchange(self.mine, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

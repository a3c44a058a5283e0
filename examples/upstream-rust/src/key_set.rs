//! The gateway's keys: fetched when one is needed that is not known, but not more often than every few seconds, whatever is asked
//! for; kept while a fetch fails.

use std::{collections::HashMap, time::Duration};

use ed25519_dalek::VerifyingKey;
use jwt_compact::jwk::JsonWebKey;
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

/// After this time the set is fetched again, so that a key that was withdrawn is forgotten.
const KEPT_FOR: Duration = Duration::from_mins(5);
/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the document may be, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A cached JWK set (RFC 7517).
pub(crate) struct KeySet {
    uri: String,
    cooldown: Duration,
    // Held while fetching: requests that need the same key wait for one fetch.
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    keys: HashMap<String, VerifyingKey>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl KeySet {
    /// The set at `uri`, which is asked at most once in `cooldown`.
    pub(crate) fn new(uri: String, cooldown: Duration) -> Self {
        Self { uri, cooldown, cached: Mutex::default() }
    }

    /// The key of this id.
    pub(crate) async fn find(&self, key_id: &str) -> Option<VerifyingKey> {
        let mut cached = self.cached.lock().await;
        let is_fresh = cached.fetched.is_some_and(|at| at.elapsed() < KEPT_FOR);
        let may_ask = cached.tried.is_none_or(|at| at.elapsed() >= self.cooldown);
        if may_ask && !(is_fresh && cached.keys.contains_key(key_id)) {
            cached.tried = Some(now());
            let uri = self.uri.clone();
            if let Ok(Ok(keys)) = tokio::task::spawn_blocking(move || fetch(&uri)).await {
                cached.keys = keys;
                cached.fetched = Some(now());
            }
        }
        cached.keys.get(key_id).copied()
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Entry {
    kid: String,
    alg: String,
    #[serde(flatten)]
    key: JsonWebKey<'static>,
}

/// The Ed25519 keys of the document; other kinds are for tokens that do not concern us.
fn fetch(uri: &str) -> Result<HashMap<String, VerifyingKey>, ureq::Error> {
    let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build();
    let mut answer = ureq::Agent::from(agent).get(uri).call()?;
    let document: Document = answer.body_mut().with_config().limit(MAX_BYTES).read_json()?;
    let usable = |value| {
        let entry: Entry = serde_json::from_value(value).ok()?;
        let key = VerifyingKey::try_from(&entry.key).ok()?;
        (entry.alg == "EdDSA").then_some((entry.kid, key))
    };
    Ok(document.keys.into_iter().filter_map(usable).collect())
}

#[allow(clippy::disallowed_methods, reason = "the other clock of this program: how long ago something was")]
fn now() -> Instant {
    Instant::now()
}

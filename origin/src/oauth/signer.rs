//! The key that signs what is issued here, at hand. It may not sign anything: [`super::issue`] does.

use std::sync::{PoisonError, RwLock};

use shared::{jwt::SigningKey, time::UnixMillis};

use crate::{
    configuration::KeyBytes,
    http::Origin,
    signing_keys::{self, Sealer, SigningKeyError},
};

/// How long the active key is used without a look at the database, in milliseconds. A key that is no longer active is believed for
/// far longer than this.
const KEY_KEPT_MILLIS: u64 = 5_000;

/// The active signing key, looked up now and then.
pub struct Signer {
    sealer: Sealer,
    held: RwLock<Option<(SigningKey, UnixMillis)>>,
}

impl Signer {
    /// A signer that opens keys sealed under this key.
    pub fn new(key: &KeyBytes) -> Self {
        Self { sealer: Sealer::new(key), held: RwLock::new(None) }
    }

    /// The key that signs now; made where there is none yet. Opens a transaction of its own when it has to look, so call it before yours.
    pub(crate) async fn key(&self, origin: &Origin) -> Result<SigningKey, SigningKeyError> {
        let now = UnixMillis(origin.clock.unix_millis());
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((key, since)) = &held
            && *since <= now
            && now.since(*since) < KEY_KEPT_MILLIS
        {
            return Ok(key.clone());
        }
        let key = signing_keys::active(&origin.database, &self.sealer).await?;
        if held.is_none_or(|(held, _)| held.kid() != key.kid()) {
            // The edges must hear of it before a token that it signed comes back.
            origin.policy.mark_changed();
        }
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), now));
        Ok(key)
    }
}

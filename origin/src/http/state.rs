//! What every handler works with: the way to the database, clock and randomness, configuration, and the policy in force. It may not
//! hold anything of one request.

use std::{ops::Deref, sync::Arc};

use shared::{code::CodeKey, jwt::VerificationKey};
use tokio::sync::Semaphore;

use super::Metrics;
use crate::{
    clock::{Clock, Randomness},
    configuration::ServeConfiguration,
    database::Database,
    mail::Mailer,
    oauth::{RefreshSecrets, Signer},
    policy::PolicyBook,
    sign_in::CodeHashKey,
    sync,
};

/// The origin's state. Cheap to clone.
#[derive(Clone)]
pub struct Origin(Arc<Parts>);

/// What [`Origin`] is made of.
pub struct Parts {
    /// The way to the database.
    pub database: Database,
    /// The clock.
    pub clock: Clock,
    /// The randomness.
    pub randomness: Randomness,
    /// The configuration.
    pub configuration: ServeConfiguration,
    /// The edges whose assertions are believed, by id.
    pub edges: Vec<(String, VerificationKey)>,
    /// The key of authorization codes, which the edges hold too.
    pub code_key: CodeKey,
    /// Hashes one-time codes.
    pub code_hash_key: CodeHashKey,
    /// Sends mail.
    pub mailer: Mailer,
    /// The key that signs access tokens.
    pub signer: Signer,
    /// The making of refresh tokens.
    pub refresh_secrets: RefreshSecrets,
    /// The policy in force.
    pub policy: PolicyBook,
    /// Counters.
    pub metrics: Metrics,
    /// How many backfills may go on at once.
    pub backfills: Arc<Semaphore>,
}

impl Origin {
    /// The state of an origin with this configuration.
    pub fn new(
        configuration: ServeConfiguration,
        database: Database,
        clock: Clock,
        randomness: Randomness,
    ) -> Self {
        let edges = configuration
            .edge_public_keys
            .iter()
            .map(|edge| (edge.edge_id.clone(), VerificationKey::Ed25519(edge.key)))
            .collect();
        Self(Arc::new(Parts {
            edges,
            code_key: CodeKey::new(*configuration.code_mac_key.expose()),
            code_hash_key: CodeHashKey::derive(&configuration.key_encryption_key),
            mailer: Mailer::new(&configuration.mail, clock.clone(), randomness.clone()),
            signer: Signer::new(&configuration.key_encryption_key),
            refresh_secrets: RefreshSecrets::new(&configuration.key_encryption_key),
            policy: PolicyBook::new(&configuration),
            metrics: Metrics::default(),
            backfills: Arc::new(Semaphore::new(sync::BACKFILLS_AT_ONCE)),
            configuration,
            database,
            clock,
            randomness,
        }))
    }

    /// The issuer: the edges' public URL.
    pub fn issuer(&self) -> &str {
        self.configuration.issuer.as_str()
    }
}

impl Deref for Origin {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

//! Finds the active key, or makes the first one. However many start at once, one key is made: the unique index on active keys
//! decides, and the others load what it let in.

use shared::jwt::{Jwk, SigningKey};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::seal::{Sealed, Sealer};
use crate::database::{Actor, Component, Database, DatabaseError, Scope};
use crate::events::field::Identifier;
use crate::events::payload::SigningKeyActivated;
use crate::events::{AppendError, NewEvent};

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// The database refused or could not be reached.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The event could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The key is there and cannot be opened.
    #[error(
        "the signing key {kid} cannot be opened: KEY_ENCRYPTION_KEY is not the one it was sealed under. Set it to that one; \
         a lost one means a new signing key"
    )]
    CannotOpen {
        /// Which key.
        kid: String,
    },
    /// A key could not be made.
    #[error("a new signing key could not be sealed")]
    CannotSeal,
}

/// A key as others may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicKey {
    /// `kid`.
    pub kid: String,
    /// `alg`, such as `EdDSA`.
    pub alg: String,
    /// `published`, `active` or `retiring`; retired keys are not listed.
    pub phase: String,
    /// The public half.
    pub jwk: Jwk,
    /// When it began to retire.
    pub retiring_at: Option<OffsetDateTime>,
}

/// The Ed25519 key that signs tokens; made now where there is none yet.
pub async fn active(database: &Database, sealer: &Sealer) -> Result<SigningKey, SigningKeyError> {
    loop {
        let mut scope = database.scope(Actor::System(Component::AuthorizationServer)).await?;
        if let Some(key) = load(&mut scope, sealer).await? {
            return Ok(key);
        }
        if let Some(key) = make(&mut scope, sealer, database).await? {
            scope.commit().await?;
            return Ok(key);
        }
        // Somebody else made it in between; it is committed, so the next look finds it.
    }
}

async fn load(scope: &mut Scope, sealer: &Sealer) -> Result<Option<SigningKey>, SigningKeyError> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT kid, private_key_encrypted FROM signing_keys
         WHERE purpose = 'token' AND alg = 'EdDSA' AND phase = 'active'",
    )
    .fetch_optional(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    let Some((kid, stored)) = row else { return Ok(None) };
    match sealer.open(&kid, &Sealed(stored)) {
        Some(seed) => Ok(Some(SigningKey::from_seed(kid, &seed))),
        None => Err(SigningKeyError::CannotOpen { kid }),
    }
}

/// Makes a key, unless another became active meanwhile.
async fn make(
    scope: &mut Scope,
    sealer: &Sealer,
    database: &Database,
) -> Result<Option<SigningKey>, SigningKeyError> {
    let id = scope.new_id();
    let kid = id.to_string();
    let seed = Zeroizing::new(database.randomness().bytes());
    let stored = sealer.seal(&kid, &seed, database.randomness()).ok_or(SigningKeyError::CannotSeal)?;
    let key = SigningKey::from_seed(kid.as_str(), &seed);
    let inserted = sqlx::query(
        "INSERT INTO signing_keys
             (kid, alg, purpose, phase, public_jwk, private_key_encrypted, created_at, activated_at)
         VALUES ($1, 'EdDSA', 'token', 'active', $2, $3, $4, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&kid)
    .bind(sqlx::types::Json(key.public_jwk()))
    .bind(stored.0)
    .bind(scope.clock().now())
    .execute(scope.connection())
    .await
    .map_err(DatabaseError::from)?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    let activated = SigningKeyActivated { kid: Identifier::of(&kid), algorithm: Identifier::of("EdDSA") };
    scope.append(NewEvent::of_platform(id, &activated)).await?;
    tracing::info!(%kid, "made the first signing key");
    Ok(Some(key))
}

/// Every key that a token may still be signed with, for the policy and the key set (RFC 7517), oldest first. A row that holds no key is
/// left out and logged: it must not keep the others from those who verify.
pub async fn public_keys(scope: &mut Scope) -> Result<Vec<PublicKey>, DatabaseError> {
    type Row = (String, String, String, serde_json::Value, Option<OffsetDateTime>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kid, alg, phase, public_jwk, retiring_at FROM signing_keys
         WHERE purpose = 'token' AND phase <> 'retired' ORDER BY created_at, kid",
    )
    .fetch_all(scope.connection())
    .await?;
    let keys = rows.into_iter().filter_map(
        |(kid, alg, phase, jwk, retiring_at)| match serde_json::from_value(jwk) {
            Ok(jwk) => Some(PublicKey { kid, alg, phase, jwk, retiring_at }),
            Err(error) => {
                tracing::error!(kid, %error, "a signing key's row holds no key: what it signed is refused");
                None
            }
        },
    );
    Ok(keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::KeyBytes;
    use crate::test_database;

    #[tokio::test]
    async fn eight_that_start_at_once_make_one_key() {
        test_database::run(async |t| {
            let mut starts = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let database = t.database.clone();
                starts.spawn(async move {
                    let sealer = Sealer::new(&KeyBytes::new([7; 32]));
                    active(&database, &sealer).await.unwrap().kid().to_owned()
                });
            }
            let mut kids = starts.join_all().await;
            kids.dedup();
            assert_eq!(kids.len(), 1);
            let mut scope = t.database.scope(Actor::System(Component::PolicyCompiler)).await.unwrap();
            let keys = public_keys(&mut scope).await.unwrap();
            assert_eq!(keys.len(), 1);
            assert_eq!((&keys[0].kid, keys[0].phase.as_str()), (&kids[0], "active"));
            let events: Vec<String> = sqlx::query_scalar("SELECT event_type FROM events")
                .fetch_all(scope.connection())
                .await
                .unwrap();
            assert_eq!(events, ["SigningKeyActivated"]);
        })
        .await;
    }

    #[tokio::test]
    async fn another_encryption_key_is_told_apart_from_no_key() {
        test_database::run(async |t| {
            let key = active(&t.database, &Sealer::new(&KeyBytes::new([7; 32]))).await.unwrap();
            let error = active(&t.database, &Sealer::new(&KeyBytes::new([8; 32]))).await.unwrap_err();
            assert!(matches!(error, SigningKeyError::CannotOpen { ref kid } if kid == key.kid()), "{error}");
        })
        .await;
    }
}

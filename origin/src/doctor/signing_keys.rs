//! The keys that sign tokens: one is active and can be opened with this host's key, and what retires comes to an end.

use time::OffsetDateTime;

use super::Seen;
use super::examination::{Examination, Place, Unexamined, refused};
use super::finding::Finding;
use super::outbox::duration;
use crate::configuration::ServeConfiguration;
use crate::database::{Actor, Component};
use crate::signing_keys::{Sealed, Sealer};

/// Seconds after which a key that retires has no token left to verify: the longest life of an access token, and a day.
const RETIRED: f64 = 90_000.0;
/// Seconds after which a key has signed for long enough.
const OLD: f64 = 366.0 * 86_400.0;

/// `kid`, `alg`, phase, and when it was made, began to sign and began to retire.
type Row = (String, String, String, OffsetDateTime, Option<OffsetDateTime>, Option<OffsetDateTime>);

pub(super) async fn check(e: &Examination) -> Result<Seen, Unexamined> {
    let mut seen = Seen::default();
    let mut scope = e.scope(Place::Command).await?;
    let keys: Vec<Row> = sqlx::query_as(
        "SELECT kid, alg, phase, created_at, activated_at, retiring_at FROM signing_keys WHERE phase <> 'retired'
         ORDER BY created_at",
    )
    .fetch_all(scope.connection())
    .await
    .map_err(refused(Place::Command))?;
    drop(scope);
    let now = e.clock.now();
    let age = |at: OffsetDateTime| (now - at).as_seconds_f64();
    for (kid, alg, phase, created_at, activated_at, retiring_at) in &keys {
        let since = match phase.as_str() {
            "active" => activated_at.unwrap_or(*created_at),
            "retiring" => retiring_at.unwrap_or(*created_at),
            _ => *created_at,
        };
        seen.facts.push(format!("{kid} ({alg}): {phase} for {}", duration(age(since))));
        if phase == "retiring" && age(since) > RETIRED {
            seen.findings.push(Finding::warning(
                "signing-keys",
                kid.as_str(),
                format!(
                    "it has been retiring for {}: nothing that it signed is valid any more",
                    duration(age(since))
                ),
                "Retire it, so that its private half goes and edges stop accepting it.",
            ));
        }
        if phase == "active" && age(since) > OLD {
            seen.findings.push(Finding::warning(
                "signing-keys",
                kid.as_str(),
                format!("it has signed for {}", duration(age(since))),
                "Make a new key and let this one retire.",
            ));
        }
    }
    if !keys.iter().any(|key| key.2 == "active") {
        seen.findings.push(Finding::failure(
            "signing-keys",
            "EdDSA",
            "no key is active: no token can be issued",
            "Start gateward serve, which makes the first key. If there was one, find out who retired it.",
        ));
    }
    seen.findings.extend(opened(e).await?);
    Ok(seen)
}

/// Whether the active key can be opened with the key of this host's configuration. Its private half leaves nothing behind.
async fn opened(e: &Examination) -> Result<Option<Finding>, Unexamined> {
    let Ok(serve) = ServeConfiguration::read(&e.source) else { return Ok(None) };
    let sealer = Sealer::new(&serve.key_encryption_key);
    let place = Place::Command;
    let database = e.database(place)?;
    let mut scope = database
        .scope(Actor::System(Component::Operator))
        .await
        .map_err(|source| Unexamined::Refused { place, source })?;
    let keys: Vec<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT kid, private_key_encrypted FROM signing_keys WHERE phase = 'active' AND private_key_encrypted IS NOT NULL",
    )
    .fetch_all(scope.connection())
    .await
    .map_err(refused(place))?;
    let closed = keys.into_iter().find(|(kid, sealed)| sealer.open(kid, &Sealed(sealed.clone())).is_none());
    Ok(closed.map(|(kid, _)| {
        Finding::failure(
            "signing-keys",
            kid,
            "the active key cannot be opened: KEY_ENCRYPTION_KEY is not the one it was sealed under",
            "Set KEY_ENCRYPTION_KEY to that one. gateward serve does not start with another.",
        )
    }))
}

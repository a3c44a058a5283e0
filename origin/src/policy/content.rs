//! What a policy is made of, read row by row. A row that cannot be read is left out and logged, which refuses what it stood for; it
//! may not keep the others, revocations above all, from the edges.

mod clients;
mod projects;

use shared::{
    jwt::{Algorithm, KeyPhase, PolicyKey, TokenType, VerificationKey},
    policy::{Policy, Revocations},
};

use super::{PolicyError, compile::Settings};
use crate::{
    database::Scope,
    signing_keys::{self, PublicKey},
};

/// Reads everything. The order of maps and lists is fixed, so that the same rows give the same bytes.
pub(super) async fn read(
    scope: &mut Scope,
    settings: &Settings,
    revocations: Revocations,
) -> Result<Policy, PolicyError> {
    Ok(Policy {
        issuer: settings.issuer.clone(),
        keys: keys(scope).await?,
        clients: clients::clients(scope).await?,
        projects: projects::projects(scope, &settings.issuer).await?,
        limits: settings.limits,
        revocations,
        freshness: settings.freshness,
        edge_keys: settings.edge_keys.clone(),
    })
}

async fn keys(scope: &mut Scope) -> Result<Vec<PolicyKey>, PolicyError> {
    let mut keys = signing_keys::public_keys(scope).await?;
    keys.sort_by(|one, other| one.kid.cmp(&other.kid));
    let read = keys.into_iter().filter_map(|key| {
        let read = read_key(&key);
        if read.is_none() {
            left_out("signing_keys", &key.kid);
        }
        read
    });
    Ok(read.collect())
}

fn read_key(key: &PublicKey) -> Option<PolicyKey> {
    let text = |text: &str| serde_json::Value::String(text.to_owned());
    let alg: Algorithm = serde_json::from_value(text(&key.alg)).ok()?;
    let phase: KeyPhase = serde_json::from_value(text(&key.phase)).ok()?;
    VerificationKey::from_jwk(alg, &key.jwk)?;
    Some(PolicyKey {
        kid: key.kid.clone(),
        alg,
        phase,
        signs: vec![TokenType::Access, TokenType::Service],
        // A retiring key is believed until its row says `retired`, which the rotation decides by the longest token it signed.
        not_after: None,
        jwk: key.jwk.clone(),
    })
}

fn left_out(table: &str, row: &str) {
    tracing::error!(
        table,
        row,
        "a row cannot be read and is left out of the policy: what it stands for is refused"
    );
}

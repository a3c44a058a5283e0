//! Tokens of issuers that a project trusts. It may not let one of them speak for another, for us, or in another project: keys, audience
//! and scopes are those that this project names for this issuer.

use alloc::{format, string::String, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    super::memory::VerifiedToken, Caller, Facts, Gate, Memory, Place, Refusal, Verdict, check_signature,
};
use crate::{
    jwt::{Audience, Claims, TokenFault, Unverified, VerificationKey},
    policy::{Credential, ExternalIssuer, Revocable},
    scope::Scopes,
    time::UnixMillis,
};

/// The `typ` values that an access token of another issuer has (RFC 9068 §2.1, and what came before it).
const TYPES: [&str; 2] = ["at+jwt", "jwt"];

/// An issuer that the project trusts.
#[derive(Clone, Copy)]
pub(super) struct Issuer<'a> {
    iss: &'a str,
    settings: &'a ExternalIssuer,
}

/// What is read of such a token.
#[derive(Deserialize)]
struct ExternalClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: u64,
    #[serde(default)]
    nbf: Option<u64>,
    /// Without it, the beginning of time: whatever is cut off, this is.
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    jti: Option<String>,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    cnf: Option<crate::jwt::Confirmation>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The trusted issuer that an unverified token names, if this place accepts any and it is one. Only to choose whose keys to try.
pub(super) fn issuer_of<'a>(token: &str, place: Place<'a>) -> Option<Issuer<'a>> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    if place.project.issuers.is_empty() || !place.accepted.contains(&Credential::ExternalToken) {
        return None;
    }
    let named: Named = Unverified::parse(token).ok()?.claims().ok()?;
    let (iss, settings) = place.project.issuers.get_key_value(&named.iss)?;
    Some(Issuer { iss, settings })
}

/// Judges a token by signature, type, times and audience.
pub(super) fn verify(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    place: Place<'_>,
    issuer: Issuer<'_>,
    token: &str,
    now: UnixMillis,
) -> Result<Caller, Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::token(fault));
    let key = memory.token_key(place.project_slug, token, gate.active.trust());
    let verified = if let Some(known) = memory.verified(&key) {
        known
    } else {
        let fresh = verify_signature(facts, memory, issuer, token)?;
        memory.remember(key, fresh.clone());
        fresh
    };
    let claims = verified.claims;
    claims.check_times(now).map_err(refuse)?;
    let is_for_us = claims
        .aud
        .as_ref()
        .is_some_and(|aud| issuer.settings.audiences.iter().any(|audience| aud.includes(audience)));
    if !is_for_us {
        return Err(refuse(TokenFault::WrongAudience));
    }
    Ok(Caller { kind: verified.kind, claims })
}

fn verify_signature(
    facts: &Facts<'_>,
    memory: &mut Memory,
    issuer: Issuer<'_>,
    token: &str,
) -> Result<VerifiedToken, Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::token(fault));
    let token = Unverified::parse(token).map_err(refuse)?;
    let unknown = || refuse(TokenFault::UnknownKey);
    let kid = token.key_id().ok_or_else(unknown)?;
    let key = issuer.settings.keys.iter().find(|key| key.kid == kid).ok_or_else(|| {
        // The origin may have fetched the issuer's new keys since.
        if facts.looked_up.refreshed { unknown() } else { Verdict::NeedsKey }
    })?;
    if token.token_type().is_some_and(|typ| !TYPES.contains(&typ.as_str())) {
        return Err(refuse(TokenFault::WrongType));
    }
    let verification = VerificationKey::from_jwk(key.alg, &key.jwk).ok_or_else(unknown)?;
    check_signature(facts, memory, &token, &verification)?;
    let claims: ExternalClaims = token.claims().map_err(refuse)?;
    if claims.iss != issuer.iss {
        return Err(refuse(TokenFault::WrongIssuer));
    }
    let scope = scopes(&claims, issuer.settings).ok_or_else(|| refuse(TokenFault::MissingClaim))?;
    Ok(VerifiedToken {
        kid: Some(kid.into()),
        kind: Credential::ExternalToken,
        claims: Arc::new(claims_of(claims, scope)),
    })
}

/// The scopes of the configured claim, a text or a list, as far as the project lets this issuer give them.
fn scopes(claims: &ExternalClaims, settings: &ExternalIssuer) -> Option<Scopes> {
    let given = match claims.others.get(&settings.scope_claim) {
        None | Some(Value::Null) => Scopes::default(),
        Some(Value::String(text)) => Scopes::parse(text)?,
        Some(Value::Array(list)) => {
            let names: Option<alloc::vec::Vec<&str>> = list.iter().map(Value::as_str).collect();
            Scopes::parse(&names?.join(" "))?
        }
        Some(_) => return None,
    };
    Some(given.intersection(&settings.scopes))
}

/// The claims as the rest of the rules know them. Subject and id name their issuer, so that nobody elsewhere can be taken for
/// somebody here.
fn claims_of(claims: ExternalClaims, scope: Scopes) -> Claims {
    let ExternalClaims { iss, sub, aud, exp, nbf, iat, jti, client_id, azp, cnf, .. } = claims;
    Claims {
        sub: Some(format!("external:{iss}#{sub}")),
        client_id: client_id.or(azp).map(|client| format!("external:{iss}#{client}")),
        jti: jti.map(|jti| Revocable::foreign_token(&iss, &jti)).unwrap_or_default(),
        iss: Some(iss),
        aud: Some(aud),
        exp,
        nbf,
        iat,
        cnf,
        scope,
        ..Claims::default()
    }
}

//! Tokens of this gateway: access tokens and service tokens. It may not let a token choose its key.

use alloc::{format, sync::Arc};

use super::{super::memory::VerifiedToken, Caller, Facts, Gate, Memory, Refusal, Verdict, check_signature};
use crate::{
    jwt::{TokenFault, TokenType, Unverified, VerificationKey},
    policy::Credential,
    time::UnixMillis,
};

/// The trust under which these are remembered: no project's slug is empty.
const DOMAIN: &str = "";

/// Judges a token by signature, type, times and issuer.
pub(super) fn verify(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    token: &str,
    now: UnixMillis,
) -> Result<Caller, Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::token(fault));
    let key = memory.token_key(DOMAIN, token, gate.active.trust());
    let known = memory.verified(&key).filter(|known| match &known.kid {
        // A key may have ended since.
        Some(kid) => gate.active.key(kid, now).is_some(),
        None => gate.service_secret.is_some(),
    });
    let verified = if let Some(known) = known {
        known
    } else {
        let fresh = verify_signature(gate, facts, memory, token, now)?;
        memory.remember(key, fresh.clone());
        fresh
    };
    let claims = verified.claims;
    claims.check_times(now).map_err(refuse)?;
    let issuer_matches = match &claims.iss {
        Some(iss) => *iss == gate.active.policy.issuer,
        // Only the seed's HS256 tokens may leave it out.
        None => verified.kid.is_none(),
    };
    if !issuer_matches {
        return Err(refuse(TokenFault::WrongIssuer));
    }
    Ok(Caller { kind: verified.kind, claims })
}

fn verify_signature(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    token: &str,
    now: UnixMillis,
) -> Result<VerifiedToken, Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::token(fault));
    let token = Unverified::parse(token).map_err(refuse)?;
    let (verification, signs): (&VerificationKey, &[TokenType]) = match token.key_id() {
        Some(kid) => match gate.active.key(kid, now) {
            Some((key, verification)) => (verification, &key.signs),
            None if facts.looked_up.refreshed => return Err(refuse(TokenFault::UnknownKey)),
            None => return Err(Verdict::NeedsKey),
        },
        None => match gate.service_secret {
            Some(secret) => (secret, &[TokenType::Service]),
            None => return Err(refuse(TokenFault::UnknownKey)),
        },
    };
    let token_type = match (token.token_type().as_deref(), token.key_id()) {
        // The seed's service tokens say `JWT`, or nothing.
        (None | Some("jwt"), None) => Some(TokenType::Service),
        (Some(typ), _) => TokenType::from_typ(typ),
        (None, Some(_)) => None,
    };
    let kind = match token_type.filter(|token_type| signs.contains(token_type)) {
        Some(TokenType::Access) => Credential::AccessToken,
        Some(TokenType::Service) => Credential::ServiceToken,
        Some(TokenType::UpstreamAssertion) | None => return Err(refuse(TokenFault::WrongType)),
    };
    check_signature(facts, memory, &token, verification)?;
    let mut claims = token.token_claims().map_err(refuse)?;
    if kind == Credential::ServiceToken && claims.sub.is_none() {
        claims.sub = claims.service.as_ref().map(|service| format!("service:{service}"));
    }
    Ok(VerifiedToken { kid: token.key_id().map(Into::into), kind, claims: Arc::new(claims) })
}

//! Reading and judging the credential of a project request. It may not let two credentials through, nor a token choose its key.

use alloc::{string::ToString as _, sync::Arc};

use super::{
    Facts, Gate, Memory, Refusal, SignatureQuestion, Verdict, confirmation::refuse_revoked,
    memory::VerifiedToken,
};
use crate::{
    jwt::{Claims, SignatureCheck, TokenFault, TokenType, Unverified, VerificationKey},
    policy::Revocable,
    problem::ProblemType,
    time::UnixMillis,
};

/// A token whose signature, times and issuer are good, and which is not revoked.
pub(super) struct Bearer {
    pub(super) token_type: TokenType,
    pub(super) claims: Arc<Claims>,
}

/// The bearer token of `Authorization` (RFC 6750 §2.1; the scheme is case-insensitive, RFC 9110 §11.1). Query parameters are ignored.
pub(super) fn bearer_token<'a>(facts: &Facts<'a>) -> Result<Option<&'a str>, Refusal> {
    let Some(authorization) = facts.authorization else { return Ok(None) };
    // Several Authorization headers arrive joined by ", ".
    if authorization.contains(',') {
        return Err(Refusal::problem(
            ProblemType::SeveralCredentials,
            "Send exactly one Authorization header with one credential.",
        ));
    }
    let malformed = || Refusal::token(TokenFault::Malformed);
    let (scheme, token) = authorization.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::credential_missing());
    }
    let token = token.trim_matches(' ');
    if token.is_empty() { Err(malformed()) } else { Ok(Some(token)) }
}

/// Judges a token by everything that does not depend on the route; `Err(Verdict)` when it is refused or a look-up is needed.
pub(super) fn verify(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    token: &str,
    now: UnixMillis,
) -> Result<Bearer, Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::token(fault));
    let key = Memory::token_key(token, gate.active.version);
    let known = memory.verified(&key).filter(|known| match &known.kid {
        // A key may have ended since.
        Some(kid) => gate.active.key(kid, now).is_some(),
        None => gate.service_secret.is_some(),
    });
    let verified = if let Some(known) = known {
        known
    } else {
        let fresh = verify_signature(gate, facts, token, now)?;
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
    refuse_revoked(gate, facts, memory, &Revocable::of(&claims))?;
    Ok(Bearer { token_type: verified.token_type, claims })
}

fn verify_signature(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
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
    let token_type = token_type
        .filter(|token_type| signs.contains(token_type))
        .ok_or_else(|| refuse(TokenFault::WrongType))?;
    let valid = match token.check_signature(verification).map_err(refuse)? {
        SignatureCheck::Valid => true,
        SignatureCheck::Invalid => false,
        SignatureCheck::AskPlatform => {
            let VerificationKey::Platform(algorithm, key) = verification else {
                return Err(refuse(TokenFault::BadSignature));
            };
            let question = SignatureQuestion {
                algorithm: *algorithm,
                key: key.clone(),
                message: token.signing_input().to_string(),
                signature: token.signature().to_vec(),
            };
            facts.looked_up.platform_says(&question).ok_or(Verdict::NeedsSignature(question))?
        }
    };
    if !valid {
        return Err(refuse(TokenFault::BadSignature));
    }
    let claims = token.token_claims().map_err(refuse)?;
    Ok(VerifiedToken { kid: token.key_id().map(Into::into), token_type, claims: Arc::new(claims) })
}

//! The bearer token of a request: taken from its one place, and judged by signature, type, times and issuer. It may not know what the
//! token is for.

use axum::http::{HeaderMap, header};
use shared::{
    decide::Refusal,
    jwt::{Claims, SignatureCheck, TokenFault, TokenType, Unverified},
    policy::ActivePolicy,
    problem::ProblemType,
    time::UnixMillis,
};

/// The token of the one `Authorization` header (RFC 6750 §2.1).
pub(crate) fn token_of(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next().ok_or_else(Refusal::credential_missing)?, values.next()) else {
        return Err(several());
    };
    let value = value.to_str().map_err(|_| Refusal::token(TokenFault::Malformed))?;
    if value.contains(',') {
        return Err(several());
    }
    let (scheme, token) = value.split_once(' ').ok_or_else(Refusal::credential_missing)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Refusal::credential_missing());
    }
    Ok(token)
}

fn several() -> Refusal {
    Refusal::problem(
        ProblemType::SeveralCredentials,
        "Send exactly one Authorization header with one credential.",
    )
}

/// Judges a token of this gateway's own keys. Shared secrets are not believed here: what they sign names no workspace.
pub(crate) fn verify(
    active: &ActivePolicy,
    token: &str,
    now: UnixMillis,
) -> Result<(TokenType, Claims), TokenFault> {
    let token = Unverified::parse(token)?;
    let (key, verification) =
        token.key_id().and_then(|kid| active.key(kid, now)).ok_or(TokenFault::UnknownKey)?;
    let token_type = token
        .token_type()
        .and_then(|typ| TokenType::from_typ(&typ))
        .filter(|token_type| key.signs.contains(token_type))
        .ok_or(TokenFault::WrongType)?;
    // Only Ed25519 is signed with here; what the platform would have to verify is nobody's.
    if token.check_signature(verification)? != SignatureCheck::Valid {
        return Err(TokenFault::BadSignature);
    }
    let claims = token.token_claims()?;
    claims.check_times(now)?;
    if claims.iss.as_deref() != Some(active.policy.issuer.as_str()) {
        return Err(TokenFault::WrongIssuer);
    }
    Ok((token_type, claims))
}

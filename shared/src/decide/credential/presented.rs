//! Which credential a request presents. It may not guess: two of them, or one in the wrong place, are refused.

use sha2::{Digest as _, Sha256};

use super::super::{Facts, Refusal};
use crate::{
    api_key::{self, ApiKey},
    jwt::TokenFault,
    policy::Credential,
    problem::ProblemType,
};

/// Lengths an opaque token may have, in bytes: shorter ones can be guessed.
const OPAQUE_BYTES: core::ops::RangeInclusive<usize> = 20..=512;

/// How a JWT was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    DPoP,
}

/// What was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    Nothing,
    Jwt {
        token: &'a str,
        scheme: Scheme,
    },
    /// By its hash: the rest is of no use here.
    ApiKey([u8; 32]),
    Opaque([u8; 32]),
}

/// Reads `Authorization` and `X-API-Key`. The latter is a credential only where one of its kinds is accepted: elsewhere it is the
/// upstream's affair. Query parameters are ignored.
pub(super) fn read<'a>(facts: &Facts<'a>, accepted: &[Credential]) -> Result<Presented<'a>, Refusal> {
    let takes_keys = takes_keys(accepted);
    match (facts.authorization, facts.api_key.filter(|_| takes_keys)) {
        (Some(_), Some(_)) => Err(Refusal::problem(
            ProblemType::SeveralCredentials,
            "Send one credential: either Authorization or X-API-Key.",
        )),
        (None, None) => Ok(Presented::Nothing),
        (None, Some(key)) => read_key(key, accepted),
        (Some(authorization), None) => read_authorization(authorization, accepted),
    }
}

/// Whether a kind that `X-API-Key` can carry is accepted.
pub(in crate::decide) fn takes_keys(accepted: &[Credential]) -> bool {
    accepted.iter().any(|kind| matches!(kind, Credential::ApiKey | Credential::OpaqueToken))
}

/// `Authorization` (the scheme is case-insensitive, RFC 9110 §11.1).
fn read_authorization<'a>(authorization: &'a str, accepted: &[Credential]) -> Result<Presented<'a>, Refusal> {
    // Several Authorization headers arrive joined by ", ".
    if authorization.contains(',') {
        return Err(Refusal::problem(
            ProblemType::SeveralCredentials,
            "Send exactly one Authorization header with one credential.",
        ));
    }
    let malformed = || Refusal::token(TokenFault::Malformed);
    let (scheme, token) = authorization.split_once(' ').ok_or_else(malformed)?;
    let token = token.trim_matches(' ');
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        _ if scheme.eq_ignore_ascii_case("dpop") => Scheme::DPoP,
        _ => return Err(Refusal::credential_missing()),
    };
    if token.is_empty() {
        return Err(malformed());
    }
    if scheme == Scheme::Bearer {
        if token.starts_with(api_key::PREFIX) {
            return read_key(token, accepted);
        }
        let is_opaque = !token.contains('.') && accepted.contains(&Credential::OpaqueToken);
        if is_opaque {
            return read_key(token, accepted);
        }
    }
    Ok(Presented::Jwt { token, scheme })
}

/// An API key, judged by its checksum, or another opaque token by its characters (`token68`, RFC 9110 §11.2).
fn read_key<'a>(text: &str, accepted: &[Credential]) -> Result<Presented<'a>, Refusal> {
    if text.starts_with(api_key::PREFIX) {
        return ApiKey::parse(text)
            .map(|key| Presented::ApiKey(key.sha256()))
            .ok_or_else(Refusal::key_malformed);
    }
    let is_token68 = text
        .trim_end_matches('=')
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'));
    if accepted.contains(&Credential::OpaqueToken) && is_token68 && OPAQUE_BYTES.contains(&text.len()) {
        return Ok(Presented::Opaque(Sha256::digest(text.as_bytes()).into()));
    }
    Err(Refusal::key_malformed())
}

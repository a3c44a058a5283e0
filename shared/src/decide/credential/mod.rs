//! Who sends a project request: one credential, of a kind that is accepted here, proved as its kind asks. It may not let two
//! credentials through, nor a credential choose how it is judged.

mod binding;
mod external;
mod known;
mod own;
mod presented;

use alloc::sync::Arc;

use super::{Facts, Gate, Memory, Refusal, SignatureQuestion, Verdict, confirmation::refuse_revoked};
use crate::{
    jwt::{Claims, SignatureCheck, TokenFault, Unverified, VerificationKey},
    path::CanonicalPath,
    policy::{Credential, Project, Revocable},
    problem::ProblemType,
    time::UnixMillis,
};
use presented::{Presented, Scheme};

pub(super) use presented::takes_keys;

/// The caller: claims that hold now, of a credential that is not revoked. Whether the route is open to it is another question.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) kind: Credential,
    pub(super) claims: Arc<Claims>,
}

/// Where a credential was presented.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) project_slug: &'a str,
    pub(super) project: &'a Project,
    /// The kinds that are accepted there.
    pub(super) accepted: &'a [Credential],
    pub(super) path: &'a CanonicalPath,
}

/// Finds out who the caller is; `Err` is a refusal, or a question that must be answered first.
pub(super) fn identify(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    place: Place<'_>,
    now: UnixMillis,
) -> Result<Caller, Verdict> {
    let presented = presented::read(facts, place.accepted).map_err(Verdict::Refuse)?;
    let caller = match &presented {
        Presented::Nothing => match binding::certificate(facts) {
            Some(thumbprint) if place.accepted.contains(&Credential::ClientCertificate) => {
                binding::caller_of_certificate(place, &thumbprint, now).map_err(Verdict::Refuse)?
            }
            _ => return Err(Verdict::Refuse(Refusal::credential_missing())),
        },
        Presented::Jwt { token, .. } => match external::issuer_of(token, place) {
            Some(issuer) => external::verify(gate, facts, memory, place, issuer, token, now)?,
            None => own::verify(gate, facts, memory, token, now)?,
        },
        Presented::ApiKey(sha256) => {
            known::resolve(gate, facts, memory, place, Credential::ApiKey, *sha256, now)?
        }
        Presented::Opaque(sha256) => {
            known::resolve(gate, facts, memory, place, Credential::OpaqueToken, *sha256, now)?
        }
    };
    if !place.accepted.contains(&caller.kind) {
        return Err(Verdict::Refuse(Refusal::problem(
            ProblemType::CredentialNotAccepted,
            "This service does not accept this kind of credential.",
        )));
    }
    refuse_revoked(gate, facts, memory, &Revocable::of(&caller.claims))?;
    binding::check(gate, facts, memory, place, &presented, &caller, now)?;
    Ok(caller)
}

/// Whether `key` made the token's signature; asks the platform where only that can tell.
fn check_signature(
    facts: &Facts<'_>,
    memory: &mut Memory,
    token: &Unverified<'_>,
    key: &VerificationKey,
) -> Result<(), Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::token(fault));
    let valid = match token.check_signature_with(key, memory.prepared_keys()).map_err(refuse)? {
        SignatureCheck::Valid => true,
        SignatureCheck::Invalid => false,
        SignatureCheck::AskPlatform => platform_says(facts, token, key)?,
    };
    if valid { Ok(()) } else { Err(refuse(TokenFault::BadSignature)) }
}

/// The platform's word on a signature, or the question.
fn platform_says(facts: &Facts<'_>, token: &Unverified<'_>, key: &VerificationKey) -> Result<bool, Verdict> {
    let VerificationKey::Platform(algorithm, jwk) = key else { return Ok(false) };
    let question = SignatureQuestion {
        algorithm: *algorithm,
        key: jwk.clone(),
        message: token.signing_input().into(),
        signature: token.signature().to_vec(),
    };
    facts.looked_up.platform_says(&question).ok_or(Verdict::NeedsSignature(question))
}

impl Presented<'_> {
    /// The scheme of a JWT, if that is what was presented.
    fn scheme(&self) -> Option<Scheme> {
        match self {
            Self::Jwt { scheme, .. } => Some(*scheme),
            _ => None,
        }
    }
}

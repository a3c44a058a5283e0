//! What a credential is bound to: a key that signs each request (RFC 9449), a client certificate (RFC 8705), and certificates that are
//! credentials themselves. It may not let a bound token pass as a bearer token.

use alloc::{format, string::String, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    super::Certificate, Caller, Facts, Gate, Memory, Place, Presented, Refusal, Scheme, Verdict,
    platform_says,
};
use crate::{
    base64url,
    dpop::{Proof, ProofFault, ProvedRequest},
    jwt::{Claims, SignatureCheck},
    policy::Credential,
    problem::ProblemType,
    time::UnixMillis,
};

/// The thumbprint of the client certificate, as tokens and policies have it.
pub(super) fn certificate(facts: &Facts<'_>) -> Option<String> {
    facts.certificate.map(|certificate| match certificate {
        Certificate::Der(der) => base64url::encode(&Sha256::digest(der)),
        Certificate::Thumbprint(thumbprint) => base64url::encode(&thumbprint),
    })
}

/// The service that a certificate stands for.
pub(super) fn caller_of_certificate(
    place: Place<'_>,
    thumbprint: &str,
    now: UnixMillis,
) -> Result<Caller, Refusal> {
    let Place { project, project_slug, .. } = place;
    let identity = project.certificates.get(thumbprint).ok_or_else(|| {
        Refusal::invalid_token(ProblemType::TokenUnknownKey, "The project knows no such client certificate.")
    })?;
    if identity.not_after.is_some_and(|second| now.seconds() >= second) {
        return Err(Refusal::invalid_token(
            ProblemType::TokenExpired,
            "The project does not believe this client certificate any more.",
        ));
    }
    let claims = Claims {
        sub: Some(format!("service:{}", identity.service)),
        exp: identity.not_after.unwrap_or(u64::MAX),
        // Unique in its project only.
        jti: format!("{project_slug}/{}", identity.id),
        scope: identity.scopes.clone(),
        workspace_id: Some(project.workspace_id.clone()),
        service: Some(identity.service.clone()),
        ..Claims::default()
    };
    Ok(Caller { kind: Credential::ClientCertificate, claims: Arc::new(claims) })
}

/// Whether the caller proved to hold what the credential is bound to.
pub(super) fn check(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    place: Place<'_>,
    presented: &Presented<'_>,
    caller: &Caller,
    now: UnixMillis,
) -> Result<(), Verdict> {
    let bound = caller.claims.cnf.as_ref();
    if let Some(expected) = bound.and_then(|bound| bound.x5t_s256.as_ref())
        && certificate(facts).as_ref() != Some(expected)
    {
        return Err(Verdict::Refuse(Refusal::invalid_token(
            ProblemType::TokenBinding,
            "The token is bound to a client certificate that this request does not bring.",
        )));
    }
    let thumbprint = bound.and_then(|bound| bound.jkt.as_deref());
    match (presented.scheme(), thumbprint) {
        (Some(Scheme::DPoP), Some(thumbprint)) => {
            let Presented::Jwt { token, .. } = presented else { return Ok(()) };
            let request = ProvedRequest {
                method: facts.method,
                issuer: &gate.active.policy.issuer,
                path: place.path,
                access_token: token,
                thumbprint,
            };
            check_proof(facts, memory, &request, now)
        }
        (Some(Scheme::DPoP), None) => Err(Verdict::Refuse(Refusal::proof(ProofFault::OtherKey))),
        // RFC 9449 §7.2: never accepted as a bearer token.
        (_, Some(_)) => Err(Verdict::Refuse(Refusal::proof_missing())),
        (_, None) => Ok(()),
    }
}

fn check_proof(
    facts: &Facts<'_>,
    memory: &mut Memory,
    request: &ProvedRequest<'_>,
    now: UnixMillis,
) -> Result<(), Verdict> {
    let refuse = |fault| Verdict::Refuse(Refusal::proof(fault));
    let header = facts.dpop.ok_or_else(|| Verdict::Refuse(Refusal::proof_missing()))?;
    let proof = Proof::parse(header).map_err(refuse)?;
    proof.check(request, now).map_err(refuse)?;
    let valid = match proof.check_signature() {
        SignatureCheck::Valid => true,
        SignatureCheck::Invalid => false,
        SignatureCheck::AskPlatform => platform_says(facts, proof.token(), proof.key())?,
    };
    if !valid {
        return Err(refuse(ProofFault::BadSignature));
    }
    // Last: what was refused above is not used up. A request that is judged again, after a look-up, is the same use.
    if memory.proof_is_new(proof.replay_key(), facts.request_id, now) {
        Ok(())
    } else {
        Err(refuse(ProofFault::Replayed))
    }
}

//! API keys and opaque tokens: known to the origin by their hash, asked for once and remembered. It may not believe an answer that is
//! unsigned, about another credential, or from before the project's credentials changed.

use alloc::sync::Arc;

use super::{
    super::{Answer, CredentialQuestion},
    Caller, Facts, Gate, Memory, Place, Refusal, Verdict,
};
use crate::{
    base64url,
    credential::{CredentialKind, CredentialStatement, Resolved},
    jwt::Claims,
    policy::Credential,
    problem::ProblemType,
    time::UnixMillis,
};

/// How long an answer is remembered, in milliseconds, while the project's credentials do not change.
const REMEMBERED_MILLIS: u64 = 300_000;
/// How long it is remembered that there is no such credential, in milliseconds: no project says when it came to have one.
const UNKNOWN_MILLIS: u64 = 5_000;
/// How far the origin's clock may be ahead of ours, in milliseconds.
const CLOCK_SKEW_MILLIS: u64 = 5_000;

/// Finds out whose credential this is.
pub(super) fn resolve(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    place: Place<'_>,
    kind: Credential,
    sha256: [u8; 32],
    now: UnixMillis,
) -> Result<Caller, Verdict> {
    if !place.accepted.contains(&kind) {
        return Err(Verdict::Refuse(Refusal::problem(
            ProblemType::CredentialNotAccepted,
            "This service does not accept this kind of credential.",
        )));
    }
    if let Some(known) = memory.credential(&sha256).filter(|known| is_current(gate, known, now)) {
        return caller(&known, facts, place, kind, now).map_err(Verdict::Refuse);
    }
    let name = base64url::encode(&sha256);
    match facts.looked_up.credential {
        None => {
            // Each look-up is a request to the origin: no address may ask for more of them than it may try passwords.
            super::super::charge_look_up(gate, facts, memory, now).map_err(Verdict::Refuse)?;
            Err(Verdict::NeedsCredential(CredentialQuestion { sha256: name }))
        }
        Some(Answer::Unavailable) => Err(Verdict::Refuse(Refusal::look_up_unavailable())),
        Some(Answer::Statement(text)) => {
            let statement = CredentialStatement::verify(text, gate.origin_key, &gate.active.policy.issuer);
            let statement = statement
                .ok()
                .filter(|statement| statement.is_about(&name) && is_young(statement.made_at, now))
                .map(Arc::new)
                .ok_or_else(|| Verdict::Refuse(Refusal::look_up_unavailable()))?;
            memory.remember_credential(sha256, Arc::clone(&statement));
            caller(&statement, facts, place, kind, now).map_err(Verdict::Refuse)
        }
    }
}

fn is_young(made_at: UnixMillis, now: UnixMillis) -> bool {
    now.since(made_at) < REMEMBERED_MILLIS && made_at.since(now) < CLOCK_SKEW_MILLIS
}

/// Whether a remembered statement still stands.
fn is_current(gate: &Gate<'_>, known: &CredentialStatement, now: UnixMillis) -> bool {
    let age = now.since(known.made_at);
    match &known.credential {
        None => age < UNKNOWN_MILLIS,
        Some(resolved) => {
            let epoch =
                gate.active.policy.projects.get(&resolved.project).map(|project| project.credential_epoch);
            // The origin may be ahead of the policy in force here; what it said then holds.
            is_young(known.made_at, now) && epoch.is_some_and(|epoch| resolved.epoch >= epoch)
        }
    }
}

fn caller(
    statement: &CredentialStatement,
    facts: &Facts<'_>,
    place: Place<'_>,
    kind: Credential,
    now: UnixMillis,
) -> Result<Caller, Refusal> {
    let refused = |kind, detail| Err(Refusal::invalid_token(kind, detail));
    let Some(resolved) = &statement.credential else {
        return refused(
            ProblemType::TokenRevoked,
            "No such key is in force: it was never issued, or was revoked.",
        );
    };
    let found = match resolved.kind {
        CredentialKind::ApiKey => Credential::ApiKey,
        CredentialKind::OpaqueToken => Credential::OpaqueToken,
    };
    if found != kind {
        return refused(ProblemType::TokenMalformed, "The key is of another kind than its form says.");
    }
    if resolved.has_expired(now) {
        return refused(ProblemType::TokenExpired, "The key has expired. Get a new one.");
    }
    if resolved.project != place.project_slug {
        return Err(Refusal::problem(ProblemType::WrongProject, "The key is for another project."));
    }
    if !resolved.may_come_from(facts.address) {
        return Err(Refusal::problem(
            ProblemType::CredentialNotAccepted,
            "The key may not be used from this address.",
        ));
    }
    Ok(Caller { kind, claims: Arc::new(claims_of(resolved)) })
}

fn claims_of(resolved: &Resolved) -> Claims {
    Claims {
        sub: Some(resolved.subject.clone()),
        exp: resolved.expires_at.unwrap_or(u64::MAX),
        iat: resolved.issued_at,
        jti: resolved.id.clone(),
        client_id: resolved.client_id.clone(),
        scope: resolved.scopes.clone(),
        workspace_id: Some(resolved.workspace_id.clone()),
        project: Some(resolved.project.clone()),
        ..Claims::default()
    }
}

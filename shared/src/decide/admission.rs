//! Whether a caller may use a route: project, workspace, audience, client and scopes. It may not find out who the caller is.

use super::{Gate, Refusal, credential::Caller, project::Target};
use crate::{
    jwt::{Claims, TokenFault},
    policy::Credential,
    problem::ProblemType,
    scope::Scopes,
};

/// Whether the caller may use the route.
pub(super) fn admit(gate: &Gate<'_>, target: &Target<'_>, caller: &Caller) -> Result<(), Refusal> {
    let Caller { kind, claims } = caller;
    match kind {
        Credential::AccessToken => admit_access_token(gate, target, claims)?,
        Credential::ServiceToken => {
            let (Some(project), Some(_)) = (&claims.project, &claims.service) else {
                return Err(Refusal::token(TokenFault::MissingClaim));
            };
            if project != target.project_slug {
                return Err(Refusal::problem(
                    ProblemType::WrongProject,
                    "The service token is for another project.",
                ));
            }
        }
        // Their issuer, certificate or key was found in this very project.
        Credential::ExternalToken
        | Credential::ApiKey
        | Credential::OpaqueToken
        | Credential::ClientCertificate => {}
    }
    if claims.workspace_id.as_ref().is_some_and(|workspace| *workspace != target.project.workspace_id) {
        return Err(Refusal::problem(ProblemType::WrongProject, "The credential is for another workspace."));
    }
    // The seed's service tokens carry no scopes: project and service are their whole authority.
    let is_unscoped_service = *kind == Credential::ServiceToken && claims.scope.is_empty();
    if is_unscoped_service {
        return Ok(());
    }
    let of_route = target.matched.route.map(|route| &route.scopes).filter(|scopes| !scopes.is_empty());
    refuse_missing(&claims.scope, &target.service.scopes)?;
    of_route.map_or(Ok(()), |scopes| refuse_missing(&claims.scope, scopes))
}

fn refuse_missing(given: &Scopes, required: &Scopes) -> Result<(), Refusal> {
    if given.contains_all(required) {
        Ok(())
    } else {
        Err(Refusal::insufficient_scope(required, &given.missing_from(required)))
    }
}

/// RFC 9068 §4: audience, and a client that is still enabled.
fn admit_access_token(gate: &Gate<'_>, target: &Target<'_>, claims: &Claims) -> Result<(), Refusal> {
    let (Some(aud), Some(client_id), Some(_)) = (&claims.aud, &claims.client_id, &claims.sub) else {
        return Err(Refusal::token(TokenFault::MissingClaim));
    };
    // `{issuer}/{project}` or `{issuer}/{project}/{service}`, taken apart and not put together for every request.
    let is_meant = |audience: &str| {
        let rest = audience.strip_prefix(gate.active.policy.issuer.as_str());
        let rest = rest.and_then(|rest| rest.strip_prefix('/'));
        let rest = rest.and_then(|rest| rest.strip_prefix(target.project_slug));
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('/') == Some(target.service_slug))
    };
    if !aud.any(is_meant) {
        return Err(Refusal::token(TokenFault::WrongAudience));
    }
    if !gate.active.policy.clients.contains_key(client_id) {
        return Err(Refusal::invalid_token(
            ProblemType::TokenRevoked,
            "The client of this token has been disabled.",
        ));
    }
    Ok(())
}

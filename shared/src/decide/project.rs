//! Requests to `/{project}/{service}/*`. It may not let a request through that names a project other than its token's.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    AnswerEdits, Facts, Gate, Memory, Refusal, ToUpstream, Verdict,
    credential::{self, Bearer},
};
use crate::{
    authorization_request::audience_of,
    header,
    jwt::{Claims, TokenFault, TokenType},
    path::CanonicalPath,
    policy::{Credential, Project, Service},
    problem::ProblemType,
    scope::Scopes,
    time::UnixMillis,
};

/// The cookies of our own pages, which are no upstream's business.
const OWN_COOKIE_PREFIX: &str = "__Host-gateward_";

pub(super) fn decide(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    path: &CanonicalPath,
    query: &str,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    let policy = &gate.active.policy;
    let not_found = |detail: &str| Refusal::problem(ProblemType::NotFound, detail);
    let (Some(project_slug), Some(service_slug)) = (path.segment(0), path.segment(1)) else {
        return Err(not_found("A path has the form /{project}/{service}/…"));
    };
    let project = policy.projects.get(project_slug).ok_or_else(|| not_found("No project of this name."))?;
    let service = project
        .services
        .get(service_slug)
        .ok_or_else(|| not_found("The project has no service of this name."))?;

    // A public route ignores credentials: a bad one opens nothing and closes nothing.
    let is_public = service.public.iter().any(|route| route.covers(facts.method, &path.matched_after(2)));
    let route = Route { project_slug, project, service_slug, service };
    let mut identity = alloc::vec![
        ("x-gateway-project", project_slug.to_string()),
        ("x-gateway-service", service_slug.to_string()),
        ("x-gateway-request-id", facts.request_id.to_string()),
        ("x-forwarded-for", facts.address.to_string()),
    ];
    if !is_public {
        let token = credential::bearer_token(facts)?.ok_or_else(Refusal::credential_missing)?;
        match credential::verify(gate, facts, memory, token, now) {
            Ok(bearer) => {
                route.admit(&policy.issuer, &bearer, gate)?;
                identity.extend(identity_of(&route, &bearer.claims)?);
            }
            Err(verdict) => return Ok(verdict),
        }
    }

    let turn = memory.next_turn(service.upstreams.len());
    let upstream =
        service.upstreams.get(turn).map(|upstream| upstream.url.clone()).ok_or_else(|| {
            Refusal::problem(ProblemType::UpstreamUnavailable, "The service has no upstream.")
        })?;
    let mut target = path.forwarded_after(2);
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    let mut delete: Vec<String> =
        header::reserved(facts.header_names.split('\n')).into_iter().map(Into::into).collect();
    match facts.cookie.map(without_own_cookies) {
        Some(Some(kept)) if Some(kept.as_str()) != facts.cookie => identity.push(("cookie", kept)),
        Some(None) => delete.push("cookie".into()),
        _ => {}
    }
    Ok(Verdict::Upstream(ToUpstream {
        base: upstream,
        target,
        delete,
        set: identity,
        answer: AnswerEdits::default(),
        timeout_millis: None,
        max_body_bytes: None,
        report: false,
        is_upgrade: false,
    }))
}

struct Route<'a> {
    project_slug: &'a str,
    project: &'a Project,
    service_slug: &'a str,
    service: &'a Service,
}

impl Route<'_> {
    /// Whether a verified credential may use this route.
    fn admit(&self, issuer: &str, bearer: &Bearer, gate: &Gate<'_>) -> Result<(), Refusal> {
        let claims = &bearer.claims;
        let kind = match bearer.token_type {
            TokenType::Access => Credential::AccessToken,
            TokenType::Service => Credential::ServiceToken,
            TokenType::UpstreamAssertion => return Err(Refusal::token(TokenFault::WrongType)),
        };
        if !self.service.credentials.contains(&kind) {
            return Err(Refusal::problem(
                ProblemType::CredentialNotAccepted,
                "This service does not accept this kind of token.",
            ));
        }
        match bearer.token_type {
            TokenType::Access | TokenType::UpstreamAssertion => {
                self.admit_access_token(issuer, claims, gate)?;
            }
            TokenType::Service => {
                let (Some(project), Some(_)) = (&claims.project, &claims.service) else {
                    return Err(Refusal::token(TokenFault::MissingClaim));
                };
                if project != self.project_slug {
                    return Err(Refusal::problem(
                        ProblemType::WrongProject,
                        "The service token is for another project.",
                    ));
                }
            }
        }
        if claims.workspace_id.as_ref().is_some_and(|workspace| *workspace != self.project.workspace_id) {
            return Err(Refusal::problem(ProblemType::WrongProject, "The token is for another workspace."));
        }
        // The seed's service tokens carry no scopes: project and service are their whole authority.
        let is_unscoped_service = bearer.token_type == TokenType::Service && claims.scope.is_empty();
        let missing: Scopes = claims.scope.missing_from(&self.service.scopes);
        if missing.is_empty() || is_unscoped_service {
            Ok(())
        } else {
            Err(Refusal::insufficient_scope(&self.service.scopes, &missing))
        }
    }

    /// RFC 9068 §4: audience, and a client that is still enabled.
    fn admit_access_token(&self, issuer: &str, claims: &Claims, gate: &Gate<'_>) -> Result<(), Refusal> {
        let (Some(aud), Some(client_id), Some(_)) = (&claims.aud, &claims.client_id, &claims.sub) else {
            return Err(Refusal::token(TokenFault::MissingClaim));
        };
        let project = audience_of(issuer, self.project_slug);
        let service = format!("{project}/{}", self.service_slug);
        if !aud.includes(&project) && !aud.includes(&service) {
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
}

/// The identity headers. A claim that cannot stand in a header is refused: it is never cut or escaped into another meaning.
fn identity_of(route: &Route<'_>, claims: &Claims) -> Result<Vec<(&'static str, String)>, Refusal> {
    let subject =
        claims.sub.clone().or_else(|| claims.service.as_ref().map(|service| format!("service:{service}")));
    let mut identity = alloc::vec![
        ("x-gateway-token-id", claims.jti.clone()),
        ("x-gateway-scopes", claims.scope.to_string()),
        ("x-gateway-workspace", route.project.workspace_id.clone()),
    ];
    identity.extend(subject.map(|subject| ("x-gateway-subject", subject)));
    identity.extend(claims.client_id.clone().map(|client_id| ("x-gateway-client", client_id)));
    if identity.iter().all(|(_, value)| header::is_field_value(value)) {
        Ok(identity)
    } else {
        Err(Refusal::token(TokenFault::MissingClaim))
    }
}

/// The `Cookie` header without the gateway's own; `None` when nothing is left.
fn without_own_cookies(cookie: &str) -> Option<String> {
    if !cookie.contains(OWN_COOKIE_PREFIX) {
        return Some(cookie.into());
    }
    let kept: Vec<&str> = cookie
        .split(';')
        .map(str::trim)
        .filter(|pair| !pair.starts_with(OWN_COOKIE_PREFIX))
        .collect();
    (!kept.is_empty()).then(|| kept.join("; "))
}

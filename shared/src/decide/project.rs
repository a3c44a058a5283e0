//! Requests to `/{project}/{service}/*`. It may not let a request through that names a project other than its credential's.

use alloc::{
    format,
    string::{String, ToString as _},
    vec::Vec,
};

use super::{
    AnswerEdits, Facts, Gate, Memory, Refusal, ToUpstream, Verdict, admission, cookies,
    cors::{self, Grant},
    credential::{self, Caller, Place},
    limits::{self, Charged, Counted, Level},
};
use crate::{
    header,
    jwt::TokenFault,
    path::CanonicalPath,
    policy::{Credential, Matched, Project, RouteTable, Service},
    problem::ProblemType,
    time::UnixMillis,
    trace_context::{self, TraceContext},
    upstream_assertion::{self, UpstreamAssertion},
};

/// The cookies of our own pages, which are no upstream's business.
const OWN_COOKIE_PREFIX: &str = "__Host-gateward_";
/// Methods that may be sent again when an upstream did not answer (RFC 9110 §9.2.1: safe).
const REPEATABLE: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// What a request is about, once its path is known to lead somewhere.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) project_slug: &'a str,
    pub(super) project: &'a Project,
    pub(super) service_slug: &'a str,
    pub(super) service: &'a Service,
    pub(super) table: &'a RouteTable,
    pub(super) matched: Matched<'a>,
    pub(super) path: &'a CanonicalPath,
}

impl<'a> Target<'a> {
    /// The kinds of credential that are accepted here.
    pub(super) fn accepted(&self) -> &'a [Credential] {
        let of_route = self.matched.route.and_then(|route| route.credentials.as_ref());
        of_route.unwrap_or(&self.service.credentials)
    }

    /// The largest body here, in bytes.
    fn max_body_bytes(&self) -> Option<u64> {
        self.matched.route.and_then(|route| route.max_body_bytes).or(self.service.max_body_bytes)
    }
}

pub(super) fn decide(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    path: &CanonicalPath,
    query: &str,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    let below = path.matched_after(2);
    let target = find(gate, facts, path, &below)?;
    let cors = target.project.cors.as_ref();
    if let Some(answer) = cors::project_preflight(cors, facts) {
        return answer;
    }
    let grant = cors::of_project(cors, facts);
    let verdict = admit(gate, facts, memory, &target, now).and_then(|admitted| match admitted {
        Admitted::Ask(verdict) => Ok(verdict),
        Admitted::Yes(caller, reports) => {
            let mut answer = AnswerEdits::default();
            limits::announce(&reports, &mut answer);
            forward(gate, facts, memory, &target, caller.as_ref(), &below, query, answer, now)
        }
    });
    with_cors(verdict, grant)
}

/// A page must be able to read why it was refused.
fn with_cors(verdict: Result<Verdict, Refusal>, grant: Grant) -> Result<Verdict, Refusal> {
    match verdict {
        Ok(Verdict::Upstream(mut upstream)) => {
            grant.apply(&mut upstream.answer);
            Ok(Verdict::Upstream(upstream))
        }
        Ok(Verdict::Refuse(refusal)) | Err(refusal) => Err(refusal.with_headers(grant.headers())),
        other => other,
    }
}

fn find<'a>(
    gate: &Gate<'a>,
    facts: &Facts<'_>,
    path: &'a CanonicalPath,
    below: &str,
) -> Result<Target<'a>, Refusal> {
    let not_found = |detail: &str| Refusal::problem(ProblemType::NotFound, detail);
    let (Some(project_slug), Some(service_slug)) = (path.segment(0), path.segment(1)) else {
        return Err(not_found("A path has the form /{project}/{service}/…"));
    };
    let projects = &gate.active.policy.projects;
    let project = projects.get(project_slug).ok_or_else(|| not_found("No project of this name."))?;
    let service = project
        .services
        .get(service_slug)
        .ok_or_else(|| not_found("The project has no service of this name."))?;
    let table = gate
        .active
        .routes(project_slug, service_slug)
        .ok_or_else(|| not_found("The project has no service of this name."))?;
    let matched = table.rules(service, facts.method, below);
    Ok(Target { project_slug, project, service_slug, service, table, matched, path })
}

/// What came of judging a request before its upstream is chosen.
enum Admitted {
    /// It may pass, for this caller, within these limits.
    Yes(Option<Caller>, Vec<super::QuotaReport>),
    /// Something must be looked up first.
    Ask(Verdict),
}

fn admit(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    target: &Target<'_>,
    now: UnixMillis,
) -> Result<Admitted, Refusal> {
    let Target { service, matched, .. } = *target;
    let route = matched.route;
    let hard_seconds = route.and_then(|route| route.hard_seconds).or(service.hard_seconds);
    if hard_seconds.is_some_and(|seconds| now.since(gate.policy_made_at) >= seconds.saturating_mul(1000)) {
        return Err(Refusal::policy_too_old());
    }
    if !service.methods.is_empty() && !service.methods.iter().any(|method| method == facts.method) {
        return Err(Refusal::method_not_allowed(service.methods.join(", ")));
    }
    if is_upgrade(facts)
        && !cors::may_upgrade(target.project.cors.as_ref(), &gate.active.policy.issuer, facts)
    {
        return Err(Refusal::origin_not_allowed());
    }
    let max_body_bytes = target.max_body_bytes();
    let announced = facts.content_length.and_then(|length| length.trim().parse::<u64>().ok());
    if let (Some(limit), Some(announced)) = (max_body_bytes, announced)
        && announced > limit
    {
        return Err(Refusal::body_too_large(limit));
    }
    // A public route ignores credentials: a bad one opens nothing and closes nothing.
    let caller = if matched.is_public {
        None
    } else {
        let place = Place {
            project_slug: target.project_slug,
            project: target.project,
            accepted: target.accepted(),
            path: target.path,
        };
        match credential::identify(gate, facts, memory, place, now) {
            Ok(caller) => {
                admission::admit(gate, target, &caller)?;
                Some(caller)
            }
            Err(verdict) => return Ok(Admitted::Ask(verdict)),
        }
    };
    // Sent to another upstream because one failed: the same request, counted already.
    if !facts.looked_up.failed_upstreams.is_empty() {
        return Ok(Admitted::Yes(caller, Vec::new()));
    }
    let claims = caller.as_ref().map(|caller| &caller.claims);
    let counted = Counted {
        client: claims.and_then(|claims| claims.client_id.as_deref()),
        subject: claims.and_then(|claims| claims.sub.as_deref()),
        key: claims.map(|claims| claims.jti.as_str()).filter(|id| !id.is_empty()),
    };
    let of_route = route.map_or(&[][..], |route| &route.limits);
    if target.project.limits.is_empty() && service.limits.is_empty() && of_route.is_empty() {
        return Ok(Admitted::Yes(caller, Vec::new()));
    }
    let project_slug = target.project_slug;
    let place = || format!("{project_slug}/{}", target.service_slug);
    let levels = [
        Level { name: "project", scope: project_slug.to_string(), limits: &target.project.limits },
        Level { name: "service", scope: place(), limits: &service.limits },
        Level {
            name: "route",
            scope: route.map_or_else(String::new, |route| format!("{}{}", place(), route.path)),
            limits: of_route,
        },
    ];
    match limits::charge(gate, facts, memory, &levels, counted, now)? {
        Charged::Within(reports) => Ok(Admitted::Yes(caller, reports)),
        Charged::Ask(charges) => Ok(Admitted::Ask(Verdict::NeedsCharge(charges))),
    }
}

fn is_upgrade(facts: &Facts<'_>) -> bool {
    facts.method == "GET"
        && facts.upgrade.is_some_and(|upgrade| upgrade.trim().eq_ignore_ascii_case("websocket"))
}

#[expect(clippy::too_many_arguments, reason = "everything that was found out about one request")]
fn forward(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    memory: &mut Memory,
    target: &Target<'_>,
    caller: Option<&Caller>,
    below: &str,
    query: &str,
    answer: AnswerEdits,
    now: UnixMillis,
) -> Result<Verdict, Refusal> {
    let Target { service, .. } = *target;
    let failed = facts.looked_up.failed_upstreams;
    let may_repeat = REPEATABLE.contains(&facts.method) && !facts.has_body() && !is_upgrade(facts);
    let chosen = if failed.is_empty() || may_repeat {
        memory.choose_upstream(&service.upstreams, gate.region, failed, now)
    } else {
        None
    };
    let chosen = chosen.ok_or_else(|| Refusal::upstream(facts.looked_up.upstream_timed_out))?;
    let mut upstream_target = rewritten(target, below);
    if !query.is_empty() {
        upstream_target.push('?');
        upstream_target.push_str(query);
    }
    let (mut delete, mut set) = headers(facts, target, caller)?;
    if facts.upgrade.is_some() && !is_upgrade(facts) {
        // `h2c` and its kin would let a caller speak to the upstream past the gateway.
        delete.push("upgrade".into());
    }
    if service.assertion {
        set.push((
            upstream_assertion::HEADER,
            assertion(gate, facts, target, caller, &chosen.upstream.url, &upstream_target, now)?,
        ));
    }
    let route = target.matched.route;
    Ok(Verdict::Upstream(ToUpstream {
        base: chosen.upstream.url.clone(),
        target: upstream_target,
        delete,
        set,
        answer,
        timeout_millis: route.and_then(|route| route.timeout_millis).or(service.timeout_millis),
        // An announced length was judged, and the platform holds the caller to it.
        max_body_bytes: target
            .max_body_bytes()
            .filter(|_| facts.content_length.is_none() && facts.has_body()),
        report: chosen.is_probe,
        is_upgrade: is_upgrade(facts),
        may_set_cookies: cookies::may_be_kept(facts, caller),
    }))
}

/// The path to forward: the canonical one, or what the most specific rewriting makes of it.
fn rewritten(target: &Target<'_>, below: &str) -> String {
    let Some(rewrite) = target.table.rewrite(target.service, below) else {
        return target.path.forwarded_after(2);
    };
    let prefixes = rewrite.from.strip_suffix("/*").zip(rewrite.to.strip_suffix("/*"));
    prefixes.map_or_else(
        || rewrite.to.clone(),
        |(from, to)| {
            let segments = from.bytes().filter(|byte| *byte == b'/').count();
            format!("{to}{}", target.path.forwarded_after(segments.saturating_add(2)))
        },
    )
}

type HeaderEdits = (Vec<String>, Vec<(&'static str, String)>);

/// What of the caller's headers goes, and what is set: every reserved name first goes, in every spelling.
fn headers(facts: &Facts<'_>, target: &Target<'_>, caller: Option<&Caller>) -> Result<HeaderEdits, Refusal> {
    // Room for all there can be: five of the request, five of the caller, cookie and assertion.
    let mut set = Vec::with_capacity(12);
    set.extend([
        ("x-gateway-project", target.project_slug.to_string()),
        ("x-gateway-service", target.service_slug.to_string()),
        ("x-gateway-request-id", facts.request_id.to_string()),
        ("x-forwarded-for", facts.address.to_string()),
        (
            trace_context::HEADER,
            TraceContext::continue_or_begin(facts.traceparent, facts.request_id).traceparent(),
        ),
    ]);
    if let Some(caller) = caller {
        identity(target, caller, &mut set)?;
    }
    let reserved = facts.header_names.split('\n').filter(|name| header::is_reserved(name));
    let mut delete: Vec<String> = reserved.map(Into::into).collect();
    if facts.api_key.is_some() && credential::takes_keys(target.accepted()) {
        delete.push("x-api-key".into());
    }
    match facts.cookie.map(without_own_cookies) {
        Some(Some(kept)) if Some(kept.as_str()) != facts.cookie => set.push(("cookie", kept)),
        Some(None) => delete.push("cookie".into()),
        _ => {}
    }
    Ok((delete, set))
}

/// The identity headers. A claim that cannot stand in a header is refused: it is never cut or escaped into another meaning.
fn identity(
    target: &Target<'_>,
    caller: &Caller,
    set: &mut Vec<(&'static str, String)>,
) -> Result<(), Refusal> {
    let claims = &caller.claims;
    let scope = claims.scope.to_string();
    let identity = [
        ("x-gateway-scopes", Some(scope.as_str())),
        ("x-gateway-workspace", Some(&target.project.workspace_id)),
        ("x-gateway-token-id", Some(claims.jti.as_str()).filter(|id| !id.is_empty())),
        ("x-gateway-subject", claims.sub.as_deref()),
        ("x-gateway-client", claims.client_id.as_deref()),
    ];
    for (name, value) in identity {
        let Some(value) = value else { continue };
        if !header::is_field_value(value) {
            return Err(Refusal::token(TokenFault::MissingClaim));
        }
        set.push((name, value.to_string()));
    }
    Ok(())
}

/// What the upstream can check by itself: who calls, and exactly what.
fn assertion(
    gate: &Gate<'_>,
    facts: &Facts<'_>,
    target: &Target<'_>,
    caller: Option<&Caller>,
    base: &str,
    upstream_target: &str,
    now: UnixMillis,
) -> Result<String, Refusal> {
    let claims = caller.map(|caller| &caller.claims);
    let assertion = UpstreamAssertion {
        iss: gate.active.policy.issuer.clone(),
        aud: base.into(),
        iat: 0,
        exp: 0,
        jti: facts.request_id.into(),
        htm: facts.method.into(),
        htu: upstream_assertion::received_target(base, upstream_target),
        project: target.project_slug.into(),
        service: target.service_slug.into(),
        sub: claims.and_then(|claims| claims.sub.as_deref()).map(Into::into),
        scope: claims.map(|claims| claims.scope.clone()).unwrap_or_default(),
        workspace_id: claims.map(|_| target.project.workspace_id.clone()),
        client_id: claims.and_then(|claims| claims.client_id.clone()),
        token_id: claims.map(|claims| claims.jti.clone()).filter(|id| !id.is_empty()),
    };
    gate.edge_key.and_then(|key| assertion.made_at(now).sign(key)).ok_or_else(|| {
        Refusal::problem(ProblemType::Internal, "The edge could not sign the assertion for the upstream.")
    })
}

/// The `Cookie` header without the gateway's own; `None` when nothing is left.
fn without_own_cookies(cookie: &str) -> Option<String> {
    if !cookie.contains(OWN_COOKIE_PREFIX) {
        return Some(cookie.into());
    }
    // Several lines arrive joined by commas, which a value can hold as well: what follows one is ours by its name alone.
    let mut kept = String::new();
    let mut separator = "";
    for piece in cookie.split_inclusive([';', ',']) {
        let pair = piece.trim_end_matches([';', ',']);
        if pair.trim().starts_with(OWN_COOKIE_PREFIX) {
            separator = "; ";
            continue;
        }
        match separator {
            "; " => {
                if !kept.is_empty() {
                    kept.push_str(separator);
                }
                kept.push_str(pair.trim());
            }
            before => {
                kept.push_str(before);
                kept.push_str(pair);
            }
        }
        separator = if piece.ends_with(',') { "," } else { ";" };
    }
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.into())
}

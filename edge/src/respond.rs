//! Responses of the edge's own, with their metric and their line in the access log. It may not decide what is answered.

use shared::{
    decide::{Document, Refusal, Rendered, ToUpstream, Verdict},
    header, metadata,
    policy::Tier,
    time::UnixMillis,
};
use wasm_bindgen::prelude::*;
use web_sys::{Headers, Response, ResponseInit};

use crate::{
    access_log::{Line, endpoint_name},
    clock,
    configuration::Configuration,
    head::Head,
    isolate::{self, InForce},
    metrics::{PolicyState, State},
    plan,
};

/// What every answer to one request is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Responder<'a> {
    pub(crate) configuration: &'a Configuration,
    pub(crate) head: &'a Head<'a>,
    pub(crate) began: UnixMillis,
}

impl Responder<'_> {
    /// The plan of a forwarding, counted; whoever acts on it writes its line of the log.
    fn plan(&self, upstream: &ToUpstream, in_force: &InForce) -> String {
        let line = self.line(Some("project"), "to_upstream");
        let line = line.map_or_else(String::new, |line| line.forwarded(upstream, in_force));
        plan::write(upstream, &line)
    }

    /// Counts a decision and returns the line about it, if there is a log. `endpoint` saves finding it again.
    fn line(&self, endpoint: Option<&'static str>, outcome: &'static str) -> Option<Line<'_>> {
        let endpoint = endpoint.unwrap_or_else(|| endpoint_name(self.head.target));
        isolate::with_counters(|counters| counters.decision(endpoint, outcome));
        self.configuration.access_log.then(|| Line::new(self.head, self.began, endpoint, outcome))
    }

    /// A refusal, counted and logged.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Result<Response, JsValue> {
        let answer = refusal.render(&self.configuration.issuer, self.head.request_id);
        // What others count, they have said already.
        if refusal.quota.as_ref().is_some_and(|report| report.tier == Tier::Isolate) {
            isolate::with_counters(|counters| counters.limit("isolate", "refused"));
        }
        Ok(self.record(refusal.kind(), rendered(&answer, self.head.method)?))
    }

    /// Counts and logs an answer, and passes it on.
    pub(crate) fn record(&self, outcome: &'static str, response: Response) -> Response {
        if let Some(line) = self.line(None, outcome) {
            worker_sys::console_log!("{}", line.answered(response.status(), clock::now()));
        }
        response
    }
}

/// The answer to a verdict that needs no I/O; `None` for the others.
pub(crate) fn answer_at_once(
    responder: &Responder<'_>,
    verdict: &Verdict,
    in_force: Option<&InForce>,
) -> Result<Option<JsValue>, JsValue> {
    let Responder { configuration, head, .. } = responder;
    let issuer = &configuration.issuer;
    let response = match verdict {
        Verdict::Upstream(upstream) => {
            return Ok(in_force.map(|in_force| responder.plan(upstream, in_force).into()));
        }
        Verdict::Refuse(refusal) => return responder.refuse(refusal).map(|answer| Some(answer.into())),
        Verdict::Redirect(redirect) => {
            let mut headers = own_headers(issuer, head.request_id);
            headers.push(("location", redirect.location(issuer)));
            headers.push(("cache-control", "no-store".into()));
            headers.push(("referrer-policy", "no-referrer".into()));
            rendered(&Rendered { status: 303, headers, body: String::new() }, head.method)?
        }
        Verdict::Answer(document) => {
            let answer = render_document(*document, configuration, head.request_id, in_force);
            rendered(&answer, head.method)?
        }
        Verdict::Preflight(answer) => {
            let mut headers = own_headers(issuer, head.request_id);
            headers.extend(answer.iter().cloned());
            rendered(&Rendered { status: 204, headers, body: String::new() }, head.method)?
        }
        Verdict::Origin(_)
        | Verdict::NeedsForm(_)
        | Verdict::NeedsKey
        | Verdict::NeedsSignature(_)
        | Verdict::NeedsCredential(_)
        | Verdict::NeedsConfirmation(_)
        | Verdict::NeedsCharge(_) => return Ok(None),
    };
    Ok(Some(responder.record(verdict.outcome(), response).into()))
}

fn own_headers(issuer: &str, request_id: &str) -> Vec<(&'static str, String)> {
    let mut headers = vec![("x-request-id", request_id.to_owned())];
    headers.extend(header::security(issuer).into_iter().map(|(name, value)| (name, value.to_owned())));
    headers
}

fn render_document(
    document: Document,
    configuration: &Configuration,
    request_id: &str,
    in_force: Option<&InForce>,
) -> Rendered {
    let now = clock::now();
    let policy = in_force.map(|in_force| &in_force.policy.policy);
    let (content_type, cache_control, body) = match document {
        Document::Ping => ("application/json", "no-store", r#"{"status":"ok"}"#.to_owned()),
        Document::Metrics => {
            let state = State {
                policy: in_force.map(|in_force| PolicyState {
                    version: in_force.policy.version,
                    made_at: in_force.made_at,
                    freshness: in_force.policy.policy.freshness,
                }),
                bindings: configuration.optional.clone(),
                ejected_upstreams: isolate::with_memory(|memory| memory.ejected_upstreams()),
            };
            let body = isolate::with_counters(|counters| counters.render(&state, now));
            ("text/plain; version=0.0.4; charset=utf-8", "no-store", body)
        }
        Document::ServerMetadata => (
            "application/json",
            metadata::CACHE_CONTROL,
            policy.map(metadata::authorization_server).unwrap_or_default(),
        ),
        Document::JwkSet => (
            "application/jwk-set+json",
            metadata::CACHE_CONTROL,
            policy.map(|policy| metadata::jwk_set(policy, now)).unwrap_or_default(),
        ),
    };
    let mut headers = own_headers(&configuration.issuer, request_id);
    headers.push(("content-type", content_type.into()));
    headers.push(("cache-control", cache_control.into()));
    if matches!(document, Document::ServerMetadata | Document::JwkSet) {
        // Public documents: a page of any origin may configure itself by them.
        headers.push(("access-control-allow-origin", "*".into()));
    }
    Rendered { status: 200, headers, body }
}

/// A response as the platform has it; without a body for HEAD.
pub(crate) fn rendered(rendered: &Rendered, method: &str) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in &rendered.headers {
        headers.append(name, value)?;
    }
    let init = ResponseInit::new();
    init.set_status(rendered.status);
    init.set_headers(&headers);
    let body = Some(rendered.body.as_str()).filter(|body| method != "HEAD" && !body.is_empty());
    Response::new_with_opt_str_and_init(body, &init)
}

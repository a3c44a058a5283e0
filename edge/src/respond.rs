//! Responses of the edge's own, with their metric and their line in the access log. It may not decide what is answered.

use shared::{
    decide::{Document, Refusal, Rendered, ToUpstream, Verdict},
    header, metadata,
    policy::Tier,
    time::UnixMillis,
};

use crate::{
    access_log::{Line, endpoint_name},
    answer, clock,
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
    fn plan(&self, upstream: &ToUpstream, in_force: &InForce) -> Option<String> {
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
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Option<String> {
        let answer = refusal.render(&self.configuration.issuer, self.head.request_id);
        // What others count, they have said already.
        if refusal.quota.as_ref().is_some_and(|report| report.tier == Tier::Isolate) {
            isolate::with_counters(|counters| counters.limit("isolate", "refused"));
        }
        self.say(refusal.kind(), &answer)
    }

    /// An answer, counted and logged.
    fn say(&self, outcome: &'static str, answer: &Rendered) -> Option<String> {
        self.record(outcome, answer.status);
        answer::write(answer, self.head.method)
    }

    /// Counts and logs an answer.
    pub(crate) fn record(&self, outcome: &'static str, status: u16) {
        if let Some(line) = self.line(None, outcome) {
            worker_sys::console_log!("{}", line.answered(status, clock::now()));
        }
    }
}

/// The answer to a verdict that needs no I/O; `None` for the others, and where there is no text for it.
pub(crate) fn answer_at_once(
    responder: &Responder<'_>,
    verdict: &Verdict,
    in_force: Option<&InForce>,
) -> Option<String> {
    let Responder { configuration, head, .. } = responder;
    let issuer = &configuration.issuer;
    let answer = match verdict {
        Verdict::Upstream(upstream) => return responder.plan(upstream, in_force?),
        Verdict::Refuse(refusal) => return responder.refuse(refusal),
        Verdict::Redirect(redirect) => {
            let mut headers = own_headers(issuer, head.request_id);
            headers.push(("location", redirect.location(issuer)));
            headers.push(("cache-control", "no-store".into()));
            headers.push(("referrer-policy", "no-referrer".into()));
            Rendered { status: 303, headers, body: String::new() }
        }
        Verdict::Answer(document) => render_document(*document, configuration, head.request_id, in_force),
        Verdict::Preflight(answer) => {
            let mut headers = own_headers(issuer, head.request_id);
            headers.extend(answer.iter().cloned());
            Rendered { status: 204, headers, body: String::new() }
        }
        Verdict::Origin(_)
        | Verdict::NeedsForm(_)
        | Verdict::NeedsKey
        | Verdict::NeedsSignature(_)
        | Verdict::NeedsCredential(_)
        | Verdict::NeedsConfirmation(_)
        | Verdict::NeedsCharge(_) => return None,
    };
    responder.say(verdict.outcome(), &answer)
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

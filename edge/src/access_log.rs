//! The access log: one line of JSON a request. It may not hold a token, a code, a cookie or a query.

use serde::Serialize;
use shared::{
    decide::{Endpoint, ToUpstream, endpoint_of},
    path::CanonicalPath,
    time::UnixMillis,
    trace_context::TraceContext,
};

use crate::{head::Head, isolate::InForce};

/// A line, without its status and duration.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    at: UnixMillis,
    request_id: &'a str,
    trace_id: String,
    method: &'a str,
    endpoint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    outcome: &'static str,
    /// Which of the service's upstreams, counted from 0: a URL could name what is nobody's business.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// The name of the endpoint that a target names, in logs and metrics.
pub(crate) fn endpoint_name(target: &str) -> &'static str {
    endpoint_of(target).map_or("unreadable", Endpoint::name)
}

impl<'a> Line<'a> {
    /// A line about `head`, which came in `at`.
    pub(crate) fn new(
        head: &Head<'a>,
        at: UnixMillis,
        endpoint: &'static str,
        outcome: &'static str,
    ) -> Self {
        let path = (endpoint == Endpoint::Project.name())
            .then(|| CanonicalPath::parse(head.target.split('?').next().unwrap_or_default()).ok())
            .flatten();
        let segment = |index| path.as_ref().and_then(|path| path.segment(index)).map(ToOwned::to_owned);
        Self {
            at,
            request_id: head.request_id,
            trace_id: TraceContext::continue_or_begin(head.header("traceparent"), head.request_id).trace_id,
            method: head.method,
            endpoint,
            project: segment(0),
            service: segment(1),
            outcome,
            upstream: None,
            status: None,
            duration_ms: None,
        }
    }

    /// The line of a request that was answered here.
    pub(crate) fn answered(self, status: u16, now: UnixMillis) -> String {
        let duration_ms = Some(now.since(self.at));
        Self { status: Some(status), duration_ms, ..self }.to_json()
    }

    /// The line of a request that goes on to an upstream; whoever has its answer adds status and duration.
    pub(crate) fn forwarded(self, upstream: &ToUpstream, in_force: &InForce) -> String {
        let project = self.project.as_deref().and_then(|slug| in_force.policy.policy.projects.get(slug));
        let service =
            project.zip(self.service.as_deref()).and_then(|(project, slug)| project.services.get(slug));
        let index =
            service.and_then(|service| service.upstreams.iter().position(|one| one.url == upstream.base));
        Self { upstream: index, ..self }.to_json()
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_happened_and_no_secret() {
        let head = Head::parse(
            "GET\nhttp://a/notes/api/secret-path?code=secret-code\n0f8fad5b-d9cb-469f-a165-70867728950e\n\n\nhost\na\ntraceparent\n00-secret-1-01\nauthorization\nBearer secret-token\ncookie\nsecret-cookie",
        );
        let endpoint = endpoint_name(head.target);
        let line = Line::new(&head, UnixMillis(5), endpoint, "token-expired").answered(401, UnixMillis(9));
        assert_eq!(
            line,
            r#"{"at":5,"request_id":"0f8fad5b-d9cb-469f-a165-70867728950e","trace_id":"0f8fad5bd9cb469fa16570867728950e","method":"GET","endpoint":"project","project":"notes","service":"api","outcome":"token-expired","status":401,"duration_ms":4}"#
        );
        assert_eq!(endpoint_name("/a/../b"), "unreadable");
        assert_eq!(endpoint_name("/oauth/token"), "token");
    }
}

//! The access log: one line of JSON a request. It may not hold a token, a code, a cookie or a query.

use serde::Serialize;
use shared::{
    decide::{Endpoint, ToUpstream, endpoint_of},
    path::CanonicalPath,
    time::UnixMillis,
};

use crate::{head::Head, isolate::InForce};

/// A line, without its status and duration.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    at: UnixMillis,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
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
            trace_id: head.header("traceparent").and_then(trace_id),
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
        // The upstream goes on with the trace that it is told of, which may be a new one.
        let told = upstream.set.iter().find(|(name, _)| *name == "traceparent");
        let trace_id = told.and_then(|(_, traceparent)| trace_id(traceparent)).or(self.trace_id);
        Line { upstream: index, trace_id, ..self }.to_json()
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2.2.3).
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let is_lower_hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = id.len() == 32 && id.bytes().all(is_lower_hexadecimal) && id.bytes().any(|byte| byte != b'0');
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_happened_and_no_secret() {
        let head = Head::parse(
            "GET\nhttp://a/notes/api/secret-path?code=secret-code\nid-1\n\n\nhost\na\nauthorization\nBearer secret-token\ncookie\nsecret-cookie",
        );
        let endpoint = endpoint_name(head.target);
        let line = Line::new(&head, UnixMillis(5), endpoint, "token-expired").answered(401, UnixMillis(9));
        assert_eq!(
            line,
            r#"{"at":5,"request_id":"id-1","method":"GET","endpoint":"project","project":"notes","service":"api","outcome":"token-expired","status":401,"duration_ms":4}"#
        );
        assert_eq!(endpoint_name("/a/../b"), "unreadable");
        assert_eq!(endpoint_name("/oauth/token"), "token");
    }

    #[test]
    fn a_trace_id_is_hexadecimal_or_nothing() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for traceparent in [
            "",
            "00",
            "00-secret-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(traceparent), None, "{traceparent}");
        }
        assert_eq!(trace_id(&format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase())), None);
    }
}

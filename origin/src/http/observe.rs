//! One line in the access log and one count for each request. It may not write a query, a header, a body or a path that nobody
//! mounted: any of them can hold a secret.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};

use shared::trace_context::{self, TraceContext};

use super::{
    Origin,
    edge_assertion::{CallerSlot, is_open},
    refused,
};

/// What every answer says unless its handler said otherwise.
const DEFAULTS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// Counts, times and logs a request, and finishes its answer.
pub(super) async fn observe(
    State(origin): State<Origin>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = origin.clock.instant();
    let endpoint = matched.as_ref().map_or("none", |path| endpoint_of(path.as_str())).to_owned();
    let method = request.method().clone();
    let counted = !is_open(&method, request.uri().path());
    let caller = CallerSlot::default();
    let traceparent = request.headers().get(trace_context::HEADER).and_then(|value| value.to_str().ok());
    let traceparent = traceparent.map(ToOwned::to_owned);
    request.extensions_mut().insert(Arc::clone(&caller));

    let response = next.run(request).await;

    let request_id = match caller.get() {
        Some(caller) => caller.request_id.clone(),
        None => origin.randomness.uuid(&origin.clock).to_string(),
    };
    let mut response = refused::dress(response, origin.issuer(), &request_id);
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().entry("x-request-id").or_insert(value);
    }
    if counted {
        let took = began.elapsed();
        let status = response.status().as_u16();
        origin.metrics.request(&endpoint, status, took);
        tracing::info!(
            target: "gateward::access",
            request_id,
            trace_id = TraceContext::continue_or_begin(traceparent.as_deref(), &request_id).trace_id,
            method = method.as_str(),
            endpoint,
            status,
            millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            edge = caller.get().map(|caller| caller.edge_id.as_str()),
            "answered"
        );
    }
    response
}

/// The name a mounted path is counted under: `/internal/policy` → `policy`, `/oauth/token` → `token`, `/sign-in/code` → `sign-in/code`.
/// What edges do for their policy's sake is counted together.
fn endpoint_of(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    let name = path.strip_prefix("internal/").or_else(|| path.strip_prefix("oauth/")).unwrap_or(path);
    match name {
        "" => "home",
        "policy/acknowledgement" => "policy",
        name => name,
    }
}

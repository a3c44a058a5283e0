//! Requests to the origin: each with the edge's assertion, a bounded body, a time limit, and of the caller's headers only what
//! [`header::TO_ORIGIN`] names. It may not follow a redirect, nor judge an answer. A body that is too large to be held passes piece
//! by piece, where [`shared::assertion::streamed_bytes`] says so.

use js_sys::Uint8Array;
use shared::{
    assertion::{self, EdgeAssertion, ForwardedRequest},
    header,
    trace_context::{self, TraceContext},
};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortSignal, Headers, ReadableStream, Request, RequestInit, RequestRedirect, Response, ResponseInit, Url,
    WorkerGlobalScope,
};

use crate::{clock, configuration::Configuration, head::Head, isolate};

/// How long the origin may take to answer a caller's request, in milliseconds: signing in may wait for a mail server.
const ANSWER_MILLIS: u32 = 10_000;

/// How long it may take over one whose body is streamed, answer included: as long as the origin itself gives it.
const STREAM_MILLIS: u32 = 15 * 60 * 1_000;

/// What is sent along.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// The whole of it; empty when there is none.
    Whole(Vec<u8>),
    /// What comes from the caller, as it comes.
    Streamed(Option<ReadableStream>),
}

/// A request of the edge to the origin.
#[derive(Clone, Debug)]
pub(crate) struct ToSend<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) body: Body,
    pub(crate) request_id: &'a str,
    pub(crate) address: &'a str,
    /// The version of the policy in force; 0 when there is none yet.
    pub(crate) policy_version: u64,
    pub(crate) time_limit_millis: u32,
}

/// Sends a request with its assertion; `headers` are sent along.
pub(crate) async fn send(
    configuration: &Configuration,
    to_send: ToSend<'_>,
    headers: &Headers,
) -> Result<Response, JsValue> {
    let ToSend { method, target, body, request_id, address, policy_version, time_limit_millis } = to_send;
    let init = RequestInit::new();
    init.set_method(method);
    init.set_redirect(RequestRedirect::Manual);
    init.set_signal(Some(&AbortSignal::timeout_with_u32(time_limit_millis)));
    match &body {
        Body::Whole(bytes) if bytes.is_empty() => {}
        Body::Whole(bytes) => init.set_body(&Uint8Array::from(bytes.as_slice())),
        Body::Streamed(stream) => init.set_body(&JsValue::from(stream.clone())),
    }
    init.set_headers(headers);
    // A URL's own rules may spell the query differently (`'` becomes `%27`): what is asserted is what is sent.
    let url = Url::new(&format!("{}{target}", configuration.origin_url))?;
    let target = format!("{}{}", url.pathname(), url.search());
    let request = Request::new_with_str_and_init(&url.href(), &init)?;
    let hashed: &[u8] = match &body {
        Body::Whole(bytes) => bytes,
        // Such an assertion says that there is no hash.
        Body::Streamed(_) => &[],
    };
    let assertion = EdgeAssertion::new(
        configuration.edge_key.kid(),
        &configuration.issuer,
        request_id,
        address,
        policy_version,
        &ForwardedRequest { method, target: &target, body: hashed },
        clock::now(),
    )
    .of_isolate(&isolate::name(request_id));
    let assertion = assertion.sign(&configuration.edge_key).ok_or("the assertion cannot be signed")?;
    request.headers().set(assertion::HEADER, &assertion)?;
    // The platform has its copy: an origin that is slow must not make this memory wait for it.
    drop(body);
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    JsFuture::from(scope.fetch_with_request(&request)).await?.dyn_into()
}

/// Forwards a caller's request and makes the origin's answer the edge's.
pub(crate) async fn forward(
    configuration: &Configuration,
    head: &Head<'_>,
    target: &str,
    body: Body,
    address: &str,
    policy_version: u64,
) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    for name in header::TO_ORIGIN {
        if let Some(value) = head.header(name) {
            headers.set(name, value)?;
        }
    }
    let trace = TraceContext::continue_or_begin(head.header(trace_context::HEADER), head.request_id);
    headers.set(trace_context::HEADER, &trace.traceparent())?;
    let time_limit_millis = match body {
        Body::Whole(_) => ANSWER_MILLIS,
        Body::Streamed(_) => STREAM_MILLIS,
    };
    let to_send = ToSend {
        method: head.method,
        target,
        body,
        request_id: head.request_id,
        address,
        policy_version,
        time_limit_millis,
    };
    let answer = send(configuration, to_send, &headers).await?;
    // Copied with every Set-Cookie of its own; a response of `fetch` cannot be changed.
    let headers = Headers::new_with_headers(&answer.headers())?;
    let cache_control = headers.get("cache-control")?;
    let sets_cookie = headers.has("set-cookie")?;
    for (name, value) in
        header::of_origin_response(&configuration.issuer, cache_control.as_deref(), sets_cookie)
    {
        headers.set(name, value)?;
    }
    headers.set("x-request-id", head.request_id)?;
    let init = ResponseInit::new();
    init.set_status(answer.status());
    init.set_headers(&headers);
    Response::new_with_opt_readable_stream_and_init(answer.body().as_ref(), &init)
}

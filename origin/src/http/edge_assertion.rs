//! The origin takes requests from its edges only. Nothing but `GET /ping` and `GET /metrics` is answered without an assertion
//! ([`shared::assertion`]) for exactly this method, target and body. It may not be switched off.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{Method, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use shared::{
    assertion::{AssertionFault, EdgeAssertion, ForwardedRequest, HEADER, streamed_bytes},
    decide::Refusal,
    problem::ProblemType,
    time::UnixMillis,
};
use uuid::Uuid;

use super::{MAX_BODY_BYTES, Origin, Refused};

/// Who forwarded a request, and for whom: an extractor. Only a verified assertion makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeCaller {
    /// The edge's id.
    pub edge_id: String,
    /// The caller's address as the edge saw it.
    pub address: String,
    /// The id the request is logged under, at the edge and here.
    pub request_id: String,
    /// The version of the policy that the edge decided by.
    pub policy_version: u64,
    /// Which isolate of the edge asks, by the name it chose; empty where the edge does not say.
    pub isolate: String,
}

impl EdgeCaller {
    /// The caller's address, where the edge knew one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }

    /// The request's id for the metadata of events; nil when the edge's id is no UUID.
    pub fn correlation_id(&self) -> Uuid {
        Uuid::parse_str(&self.request_id).unwrap_or_default()
    }
}

/// Where the access log finds the caller once it is known.
pub(super) type CallerSlot = Arc<OnceLock<EdgeCaller>>;

impl<S: Sync> FromRequestParts<S> for EdgeCaller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Refused::from(assertion_refused("It is missing.")))
    }
}

/// Lets a request through when its assertion holds.
pub(super) async fn require(State(origin): State<Origin>, request: Request, next: Next) -> Response {
    if is_open(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    match verify(&origin, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// What is answered to anybody who reaches the private address.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    method == Method::GET && matches!(path, "/ping" | "/metrics")
}

async fn verify(origin: &Origin, request: Request) -> Result<Request, Refused> {
    let (mut parts, body) = request.into_parts();
    let mut assertions = parts.headers.get_all(HEADER).iter();
    let (Some(assertion), None) = (assertions.next(), assertions.next()) else {
        return Err(Refused::from(assertion_refused("Exactly one assertion is needed.")));
    };
    let assertion = assertion.to_str().map_err(|_| Refused::from(assertion_refused("It is no token.")))?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // The one body that its endpoint reads piece by piece, and bounds by itself.
    let is_streamed = streamed_bytes(parts.method.as_str(), target).is_some();
    let (bytes, body) = if is_streamed {
        (Bytes::new(), body)
    } else {
        let bytes = to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
            // Or it ended early: then nobody is there to read this.
            Refused::from(Refusal::body_too_large(MAX_BODY_BYTES))
        })?;
        (bytes.clone(), Body::from(bytes))
    };
    let forwarded = ForwardedRequest { method: parts.method.as_str(), target, body: &bytes };
    let now = UnixMillis(origin.clock.unix_millis());
    let made = EdgeAssertion::verify(assertion, &origin.edges, origin.issuer(), &forwarded, now)
        .map_err(|fault| Refused::from(assertion_refused(describe(fault))))?;
    let caller = EdgeCaller {
        edge_id: made.iss,
        address: made.address,
        request_id: made.jti,
        policy_version: made.policy_version,
        isolate: made.isolate,
    };
    if let Some(slot) = parts.extensions.get::<CallerSlot>() {
        // The slot is this request's own and still empty.
        let _ = slot.set(caller.clone());
    }
    parts.extensions.insert(caller);
    // A handler must not see it, let alone pass it on.
    parts.headers.remove(HEADER);
    Ok(Request::from_parts(parts, body))
}

fn assertion_refused(why: &str) -> Refusal {
    Refusal::problem(
        ProblemType::AssertionRefused,
        format!("The request must carry an edge's assertion for exactly its method, target and body. {why}"),
    )
}

fn describe(fault: AssertionFault) -> &'static str {
    match fault {
        AssertionFault::Token(_) => "This one is no valid statement of an edge that is known here.",
        AssertionFault::UnknownEdge => "This one names no edge that is configured in EDGE_PUBLIC_KEYS.",
        AssertionFault::WrongAudience => "This one is for another issuer: compare ISSUER of both doors.",
        AssertionFault::OutOfTime => {
            "This one is too old or from the future: compare the clocks of both doors."
        }
        AssertionFault::OtherRequest => "This one is for another method, target or body.",
    }
}

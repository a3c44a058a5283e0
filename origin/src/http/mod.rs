//! The HTTP server of `gateward serve`: what every request goes through before a capability's own handler sees it, and how every
//! answer leaves. It may not know what an endpoint does: capabilities mount their routes in [`routes`].
//!
//! From the outside in: the access log and the count; the panic guard; the time limit; the edge's assertion; the endpoint.

mod edge_assertion;
mod metrics;
mod observe;
mod refused;
mod server;
mod service_name;
mod state;
#[cfg(test)]
pub(crate) mod test_origin;
#[cfg(test)]
mod tests;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderMap, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use shared::{decide::Refusal, problem::ProblemType};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::edge_assertion::EdgeCaller;
pub use self::metrics::Metrics;
pub(crate) use self::metrics::openmetrics;
pub use self::refused::Refused;
pub use self::server::{ServeError, serve};
pub use self::service_name::ServiceName;
pub use self::state::{Origin, Parts};
use crate::{account, consent, credentials, oauth, pages, policy, projects, sessions, sign_in, sync};

/// The largest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Everything the origin answers.
pub fn router(origin: Origin) -> Router {
    assemble(routes(), origin)
}

/// What each capability mounts. A new one adds its routes here.
fn routes() -> Router<Origin> {
    Router::new()
        .route("/ping", get(|| async { "pong\n" }))
        .route("/metrics", get(metrics::scrape))
        .merge(policy::routes())
        .merge(credentials::routes())
        .merge(oauth::routes())
        .merge(projects::routes())
        .merge(sync::routes())
        .merge(people())
}

/// What people see.
fn people() -> Router<Origin> {
    Router::new()
        .merge(sign_in::routes())
        .merge(sessions::routes())
        .merge(consent::routes())
        .merge(account::routes())
        .merge(pages::routes())
        .layer(middleware::from_fn(pages::name_faults))
}

fn assemble(routes: Router<Origin>, origin: Origin) -> Router {
    routes
        .fallback(nothing)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(origin.clone(), edge_assertion::require))
        .layer(middleware::from_fn(server::limit_time))
        .layer(CatchPanicLayer::custom(refused::of_panic))
        .layer(middleware::from_fn_with_state(origin.clone(), observe::observe))
        .with_state(origin)
}

/// A program is told by a problem, a person by a page.
async fn nothing(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.split(',').any(|range| range.trim().starts_with("text/html")) {
        return pages::PageFault::NotFound.into_response();
    }
    let detail = "The origin has no page or endpoint at this path.";
    Refused::from(Refusal::problem(ProblemType::NotFound, detail)).into_response()
}

async fn method_not_allowed() -> Refused {
    Refused::from(Refusal::problem(
        ProblemType::MethodNotAllowed,
        "The endpoint does not take this method; the Allow header names those it takes.",
    ))
}

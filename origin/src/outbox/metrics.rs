//! What the forwarders of a process count, in the `OpenMetrics` text format, on a private address of their own. The one label is the
//! destination's name, which only an operator chooses. How much is queued the origin's metrics say.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::{Router, routing::get};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::settlement::Settled;
use crate::http::openmetrics;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Destination {
    destination: String,
}

/// Counters of every destination.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    delivered: Family<Destination, Counter>,
    refused: Family<Destination, Counter>,
    set_aside: Family<Destination, Counter>,
    outages: Family<Destination, Counter>,
}

/// Counters of one destination.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    delivered: Counter,
    refused: Counter,
    set_aside: Counter,
    outages: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gateward_forwarder");
        let mut family = |name, help| {
            let family: Family<Destination, Counter> = Family::default();
            registry.register(name, help, family.clone());
            family
        };
        Self {
            delivered: family("delivered", "Events delivered"),
            refused: family("refused", "Times a destination refused an event"),
            set_aside: family("set_aside", "Events set aside with their aggregates"),
            outages: family("outages", "Times a destination was away, or wanted nothing any more"),
            registry,
        }
    }
}

impl Metrics {
    pub(super) fn of(&self, destination: &str) -> Counters {
        let labels = Destination { destination: destination.to_owned() };
        let of = |family: &Family<Destination, Counter>| family.get_or_create(&labels).clone();
        Counters {
            delivered: of(&self.delivered),
            refused: of(&self.refused),
            set_aside: of(&self.set_aside),
            outages: of(&self.outages),
        }
    }
}

impl Counters {
    pub(super) fn settled(&self, settled: &Settled) {
        self.delivered.inc_by(settled.delivered);
        self.refused.inc_by(settled.refused);
        self.set_aside.inc_by(settled.parked);
    }

    pub(super) fn stopped(&self) {
        self.outages.inc();
    }
}

/// Serves `GET /metrics` until it is dropped. Fails at once where the address cannot be had.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
) -> Result<impl Future<Output = std::io::Result<()>>, std::io::Error> {
    let listener = TcpListener::bind(address).await?;
    let router = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    Ok(async move { axum::serve(listener, router).await })
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> Response {
    openmetrics(&metrics.registry)
}

//! Counters in the `OpenMetrics` text format. It may not have a label that a caller chooses: endpoints are those that are mounted.

use std::{sync::atomic::AtomicU64, time::Duration};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::Origin;
use crate::{external_issuers, outbox, policy};

/// How long a scrape waits for what stands in the database: a scrape without it says more than none.
const DATABASE_LIMIT: Duration = Duration::from_secs(2);

/// Upper bounds of the histogram of durations, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Endpoint {
    endpoint: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answer {
    endpoint: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Destination {
    destination: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// What the origin counts of itself.
pub struct Metrics {
    registry: Registry,
    requests: Family<Endpoint, Counter>,
    answers: Family<Answer, Counter>,
    durations: Family<Endpoint, Histogram, fn() -> Histogram>,
    sync_refused: Family<Reason, Counter>,
    policy_version: Gauge,
    propagation: PropagationGauges,
    issuers: IssuerGauges,
    outbox_known: Gauge,
    outbox_queued: Family<Destination, Gauge>,
    outbox_failed: Family<Destination, Gauge>,
    outbox_oldest: Family<Destination, Gauge<f64, AtomicU64>>,
}

/// How far the newest policy has come.
#[derive(Default)]
struct PropagationGauges {
    known: Gauge,
    isolates: Gauge,
    behind: Gauge,
    oldest_version: Gauge,
    seconds: Gauge,
}

impl PropagationGauges {
    fn register(&self, registry: &mut Registry) {
        let mut register = |name, help, gauge: &Gauge| {
            registry.register(format!("policy_propagation_{name}"), help, gauge.clone());
        };
        register("known", "1 when the reports of the edges could be read for this scrape", &self.known);
        register("isolates", "Isolates of edges that were heard of in the last ten minutes", &self.isolates);
        register("behind", "Isolates that may still decide by an older policy", &self.behind);
        register("oldest_version", "Oldest version that one of them decides by", &self.oldest_version);
        register("seconds", "Time since the newest version, while one is behind; else 0", &self.seconds);
    }

    /// Reads the reports. What cannot be read is said to be unknown.
    async fn read(&self, origin: &Origin) {
        let read = tokio::time::timeout(DATABASE_LIMIT, policy::propagation(&origin.database)).await;
        let Ok(Ok(propagation)) = read else {
            self.known.set(0);
            return;
        };
        let behind: Vec<_> = propagation.behind(origin.policy.freshness().hard_seconds).collect();
        let oldest = behind.iter().map(|one| one.policy_version).min();
        let since = (origin.clock.now() - propagation.changed_at).whole_seconds();
        self.known.set(1);
        self.isolates.set(i64::try_from(propagation.isolates.len()).unwrap_or(i64::MAX));
        self.behind.set(i64::try_from(behind.len()).unwrap_or(i64::MAX));
        self.oldest_version.set(oldest.unwrap_or(propagation.policy_version));
        self.seconds.set(if behind.is_empty() { 0 } else { since.max(0) });
    }
}

/// How far the keys of external issuers are up to date.
#[derive(Default)]
struct IssuerGauges {
    known: Gauge,
    trusted: Gauge,
    failing: Gauge,
    oldest_seconds: Gauge,
}

impl IssuerGauges {
    fn register(&self, registry: &mut Registry) {
        let mut register = |name, help, gauge: &Gauge| {
            registry.register(format!("external_issuers_{name}"), help, gauge.clone());
        };
        register("known", "1 when the external issuers could be read for this scrape", &self.known);
        register("trusted", "External issuers that enabled projects trust", &self.trusted);
        register("failing", "Those whose keys could not be fetched the last time", &self.failing);
        register(
            "oldest_seconds",
            "Time since keys were fetched whole, where that is longest",
            &self.oldest_seconds,
        );
    }

    /// Reads them. What cannot be read is said to be unknown.
    async fn read(&self, origin: &Origin) {
        let read = tokio::time::timeout(DATABASE_LIMIT, external_issuers::statistics(&origin.database)).await;
        let Ok(Ok(statistics)) = read else {
            self.known.set(0);
            return;
        };
        self.known.set(1);
        self.trusted.set(statistics.trusted);
        self.failing.set(statistics.failing);
        self.oldest_seconds.set(statistics.oldest_seconds);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gateward_origin");
        let requests = Family::default();
        let answers = Family::default();
        let durations =
            Family::<Endpoint, Histogram, fn() -> Histogram>::new_with_constructor(|| Histogram::new(BOUNDS));
        let policy_version = Gauge::default();
        registry.register("requests", "Requests taken, refused ones too", requests.clone());
        registry.register("answers", "Answers by status", answers.clone());
        registry.register("request_duration_seconds", "Time from request to answer", durations.clone());
        registry.register(
            "policy_version",
            "Version of the policy last compiled here",
            policy_version.clone(),
        );
        let sync_refused = Family::default();
        registry.register(
            "sync_refused",
            "Webhooks, and rows of a backfill, that were refused",
            sync_refused.clone(),
        );
        let propagation = PropagationGauges::default();
        propagation.register(&mut registry);
        let issuers = IssuerGauges::default();
        issuers.register(&mut registry);
        let outbox_known = Gauge::default();
        let (outbox_queued, outbox_failed) = (Family::default(), Family::default());
        let outbox_oldest = Family::default();
        registry.register(
            "outbox_known",
            "1 when the outbox could be read for this scrape",
            outbox_known.clone(),
        );
        registry.register("outbox_queued", "Rows waiting to be delivered", outbox_queued.clone());
        registry.register("outbox_failed", "Rows set aside", outbox_failed.clone());
        registry.register("outbox_oldest_seconds", "Age of the oldest row waiting", outbox_oldest.clone());
        Self {
            registry,
            requests,
            answers,
            durations,
            sync_refused,
            policy_version,
            propagation,
            issuers,
            outbox_known,
            outbox_queued,
            outbox_failed,
            outbox_oldest,
        }
    }
}

impl Metrics {
    /// Counts one request and its answer.
    pub(super) fn request(&self, endpoint: &str, status: u16, took: Duration) {
        let labels = Endpoint { endpoint: endpoint.to_owned() };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        self.answers.get_or_create(&Answer { endpoint: labels.endpoint, status }).inc();
    }

    /// Counts a webhook, or a row of a backfill, that was refused. `reason` is one of a bounded set.
    pub fn sync_refused(&self, reason: &'static str) {
        self.sync_refused.get_or_create(&Reason { reason }).inc();
    }

    /// Reads the outbox. What cannot be read is said to be unknown, not zero.
    async fn read_outbox(&self, origin: &Origin) {
        let read = tokio::time::timeout(DATABASE_LIMIT, outbox::statistics(&origin.database)).await;
        let Ok(Ok(statistics)) = read else {
            self.outbox_known.set(0);
            self.outbox_queued.clear();
            self.outbox_failed.clear();
            self.outbox_oldest.clear();
            return;
        };
        self.outbox_known.set(1);
        for row in statistics {
            let labels = Destination { destination: row.destination };
            self.outbox_queued.get_or_create(&labels).set(row.queued);
            self.outbox_failed.get_or_create(&labels).set(row.failed);
            self.outbox_oldest.get_or_create(&labels).set(row.oldest_seconds);
        }
    }
}

/// `GET /metrics`, on the private address.
pub(super) async fn scrape(State(origin): State<Origin>) -> Response {
    let metrics = &origin.metrics;
    if let Some(version) = origin.policy.version() {
        metrics.policy_version.set(i64::try_from(version).unwrap_or(i64::MAX));
    }
    metrics.read_outbox(&origin).await;
    metrics.propagation.read(&origin).await;
    metrics.issuers.read(&origin).await;
    openmetrics(&metrics.registry)
}

/// A registry in the text format.
pub(crate) fn openmetrics(registry: &Registry) -> Response {
    let mut body = String::new();
    match text::encode(&mut body, registry) {
        Ok(()) => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, media_type)], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

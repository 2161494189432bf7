//! Numbers for Prometheus. Labels have few values: routes, statuses, reasons; never names or texts
//! that callers choose.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What a request asked for and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) route: &'static str,
    pub(crate) status: u16,
}

/// What a request asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRoute {
    pub(crate) route: &'static str,
}

/// All numbers.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Family<Outcome, Counter>,
    pub(crate) seconds: Family<OfRoute, Histogram>,
    pub(crate) connections: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) queue_seconds: Histogram,
    pub(crate) queue_tokens: Gauge,
    pub(crate) batch_tokens: Histogram,
    pub(crate) tokens: Counter,
    pub(crate) rejected: Family<OfRoute, Counter>,
    pub(crate) truncated: Counter,
    pub(crate) cancelled_rows: Counter,
    pub(crate) reloads: Counter<u64, AtomicU64>,
}

/// From half a millisecond to half a minute.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 17))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("albert"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(latencies),
            connections: Counter::default(),
            in_flight: Gauge::default(),
            queue_seconds: latencies(),
            queue_tokens: Gauge::default(),
            batch_tokens: Histogram::new(exponential_buckets(8.0, 2.0, 12)),
            tokens: Counter::default(),
            rejected: Family::default(),
            truncated: Counter::default(),
            cancelled_rows: Counter::default(),
            reloads: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "requests",
            "Requests by route and status",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request",
            "From the headers' arrival to the answer",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "connections",
            "Connections that were accepted",
            metrics.connections.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests that are being answered",
            metrics.in_flight.clone(),
        );
        registry.register_with_unit(
            "queue",
            "How long a row waited to be computed",
            Unit::Seconds,
            metrics.queue_seconds.clone(),
        );
        registry.register(
            "queue_tokens",
            "Tokens that wait to be computed",
            metrics.queue_tokens.clone(),
        );
        registry.register(
            "batch_tokens",
            "Tokens of a batch",
            metrics.batch_tokens.clone(),
        );
        registry.register("tokens", "Tokens computed", metrics.tokens.clone());
        registry.register(
            "rejected",
            "Requests refused because there was too much to do",
            metrics.rejected.clone(),
        );
        registry.register(
            "truncated_rows",
            "Texts of which only a part was read",
            metrics.truncated.clone(),
        );
        registry.register(
            "cancelled_rows",
            "Rows whose request was gone before they were computed",
            metrics.cancelled_rows.clone(),
        );
        registry.register(
            "reloads",
            "Times that the models were loaded anew",
            metrics.reloads.clone(),
        );
        metrics
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

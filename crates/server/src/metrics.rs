//! Numbers for Prometheus. Labels have few values: routes and statuses; never names or texts
//! that callers choose.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

/// What a request asked for and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) route: String,
    pub(crate) status: u16,
}

/// What a request asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfRoute {
    pub(crate) route: String,
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
    pub(crate) given_up_rows: Counter,
    pub(crate) reloads: Counter,
}

/// From half a millisecond to half a minute.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 17))
}

/// A metric that the registry tells from now on.
fn told<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// The same of seconds, which the name then ends with.
fn told_in_seconds<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("albert");
        let all = &mut registry;
        let tokens_of = Histogram::new(exponential_buckets(8.0, 2.0, 12));
        let seconds_of = Family::new_with_constructor(latencies as fn() -> Histogram);
        Self {
            requests: told(
                all,
                "requests",
                "Requests by route and status",
                Family::default(),
            ),
            seconds: told_in_seconds(
                all,
                "request",
                "From the headers' arrival to the answer",
                seconds_of,
            ),
            connections: told(
                all,
                "connections",
                "Connections that were accepted",
                Counter::default(),
            ),
            in_flight: told(
                all,
                "requests_in_flight",
                "Requests that are being answered",
                Gauge::default(),
            ),
            queue_seconds: told_in_seconds(
                all,
                "queue",
                "How long a row waited to be computed",
                latencies(),
            ),
            queue_tokens: told(
                all,
                "queue_tokens",
                "Tokens that wait to be computed",
                Gauge::default(),
            ),
            batch_tokens: told(all, "batch_tokens", "Tokens of a batch", tokens_of),
            tokens: told(all, "tokens", "Tokens computed", Counter::default()),
            rejected: told(
                all,
                "rejected",
                "Requests refused because there was too much to do, or a key asked too often",
                Family::default(),
            ),
            truncated: told(
                all,
                "truncated_rows",
                "Texts of which only a part was read",
                Counter::default(),
            ),
            cancelled_rows: told(
                all,
                "cancelled_rows",
                "Rows whose request was gone before they were computed",
                Counter::default(),
            ),
            given_up_rows: told(
                all,
                "given_up_rows",
                "Rows that waited too long while too much was asked for",
                Counter::default(),
            ),
            reloads: told(
                all,
                "reloads",
                "Times that the models were loaded anew",
                Counter::default(),
            ),
            registry,
        }
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

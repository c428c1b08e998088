//! What an agent counts, as a gateway does: every exchange that is received has exactly one outcome. The series are
//! described in `docs/metrics.md`.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::admin::series::{Table, label};

label! {
    /// What became of an exchange with a client.
    pub(super) enum Outcome = "outcome" {
        /// The client went away before its request was there.
        Abandoned = "abandoned",
        /// The client was told that the server's answer cannot be had, by an HTTP error.
        Declined = "declined",
        /// It broke off by a fault of the agent.
        Failed = "failed",
        /// The client got the response that was opened before.
        Repeated = "repeated",
        /// The client got what was opened of a response that came for it.
        Answered = "answered",
    }
}

/// Everything that an agent counts, from its start to its end.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    pub(super) outcomes: Table<(Outcome,), Counter>,
    pub(super) in_flight: Gauge,
    pub(super) received: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("syncseal_agent"),
            outcomes: Table::default(),
            in_flight: Gauge::default(),
            received: Counter::default(),
        };
        let all = &mut metrics.registry;
        all.register("build", "What runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        // In this order, so that no scrape shows an outcome of an exchange that it does not show as received.
        all.register(
            "exchanges",
            "Exchanges with clients that ended, by what became of them",
            metrics.outcomes.clone(),
        );
        all.register("exchanges_in_flight", "Exchanges with clients in progress", metrics.in_flight.clone());
        all.register("exchanges_received", "Exchanges with clients that began", metrics.received.clone());
        metrics
    }

    /// All of it, as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        #[expect(clippy::expect_used, reason = "a String takes all that is written to it")]
        text::encode(&mut text, &self.registry).expect("a String grows");
        text
    }
}

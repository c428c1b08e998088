//! What an agent counts, as a gateway does: every exchange that is received has exactly one outcome. The series are
//! described in `docs/metrics.md`.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::admin::series::{Series, Table, label};

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

label! {
    /// What kept a client from its server's answer.
    pub(super) enum Hindrance = "cause" {
        /// Its own request.
        Client = "client",
        /// The agent: it is busy, full, or fails.
        Agent = "agent",
        /// A refusal that is not sealed.
        Refused = "refused",
        /// The way to the gateway: no answer, or none that opens.
        Way = "way",
        /// The opened answer, which cannot be given on.
        Answer = "answer",
    }
}

/// Everything that an agent counts, from its start to its end.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    pub(super) outcomes: Table<(Outcome,), Counter>,
    pub(super) in_flight: Gauge,
    pub(super) received: Counter,
    pub(super) hindrances: Table<(Hindrance,), Counter>,
    pub(super) durations: Table<(Outcome,), Histogram>,
    pub(super) gateway: Histogram,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("syncseal_agent"),
            outcomes: Table::default(),
            in_flight: Gauge::default(),
            received: Counter::default(),
            hindrances: Table::default(),
            durations: Table::default(),
            gateway: Histogram::fresh(),
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
        all.register("declined", "Clients that did not get their server's answer", metrics.hindrances.clone());
        let seconds = || Unit::Seconds;
        let durations = metrics.durations.clone();
        all.register_with_unit("exchange_duration", "From a request's head to its answer", seconds(), durations);
        let gateway = metrics.gateway.clone();
        all.register_with_unit("gateway_duration", "What the gateway took for all that was sent", seconds(), gateway);
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

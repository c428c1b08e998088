//! What a gateway counts. Every exchange that is received has exactly one outcome: it is counted where its
//! [`Record`](super::record::Record) ends, and one that ends without saying how was abandoned.
//!
//! The series and what holds between them are described in `docs/metrics.md`.

mod labels;
mod standing;

use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::admin::series::{Named, Table};
use crate::policy::{GatewayPolicy, Objection};
use crate::seal::Reason;

pub use self::labels::{Limit, ReloadResult};

pub(super) use self::labels::{
    Direction, Group, InitResult, Kind, Outcome, Protection, Stage, StoreOperation, StoreResult, Transport,
    UpstreamResult,
};
pub(super) use self::standing::{Now, Standing};

/// What a route's server did.
pub(super) type UpstreamSeries = Table<(UpstreamResult,), Counter>;

/// Everything that a gateway counts, from its start to its end.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) outcomes: Table<(Outcome,), Counter>,
    pub(super) refusals: Table<(Reason,), Counter>,
    rule_refusals: Named<(Objection,), Counter>,
    would_be_refusals: Named<(Objection,), Counter>,
    pub(super) in_flight: Gauge,
    pub(super) received: Counter,
    pub(super) messages: Table<(Protection, Direction), Counter>,
    pub(super) inits: Table<(Transport, Group, InitResult), Counter>,
    pub(super) durations: Table<(Kind,), Histogram>,
    pub(super) stages: Table<(Stage,), Histogram>,
    upstream: Named<(UpstreamResult,), Counter>,
    store_operations: Table<(StoreOperation, StoreResult), Counter>,
    store_durations: Table<(StoreOperation,), Histogram>,
    limit_hits: Table<(Limit,), Counter>,
    reloads: Table<(ReloadResult,), Counter>,
    pub(super) standing: Standing,
}

impl Metrics {
    pub(super) fn new(provider: &'static str) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("syncseal"),
            outcomes: Table::default(),
            refusals: Table::default(),
            rule_refusals: Named::new("rule"),
            would_be_refusals: Named::new("rule"),
            in_flight: Gauge::default(),
            received: Counter::default(),
            messages: Table::default(),
            inits: Table::default(),
            durations: Table::default(),
            stages: Table::default(),
            upstream: Named::new("route"),
            store_operations: Table::default(),
            store_durations: Table::default(),
            limit_hits: Table::default(),
            reloads: Table::default(),
            standing: Standing::default(),
        };
        metrics.register(provider);
        metrics
    }

    fn register(&mut self, provider: &'static str) {
        let build = [("version", env!("CARGO_PKG_VERSION")), ("provider", provider)];
        self.count("build", "What runs", Info::new(build));
        // In this order, so that no scrape shows an outcome of an exchange that it does not show as received.
        self.count("exchanges", "Exchanges that ended, by what became of them", self.outcomes.clone());
        self.count(
            "refusals",
            "Exchanges that were refused or shed, by the reason that was said",
            self.refusals.clone(),
        );
        self.count(
            "rule_refusals",
            "Exchanges that were refused after a rule was asked, by the rule that decided",
            self.rule_refusals.clone(),
        );
        self.count(
            "would_be_refusals",
            "Exchanges that were forwarded under a rule that observes, by what would have been said",
            self.would_be_refusals.clone(),
        );
        self.count("exchanges_in_flight", "Exchanges in progress", self.in_flight.clone());
        self.count("exchanges_received", "Exchanges that began", self.received.clone());
        self.count(
            "messages",
            "SyncML messages: from clients (c2s) those that opened or came in plaintext, to them (s2c) those that were sealed \
             or given in plaintext",
            self.messages.clone(),
        );
        self.count("handshakes", "Init requests that ended, by what they asked for", self.inits.clone());
        self.time("exchange_duration", "From a request's head to its answer", self.durations.clone());
        self.time("stage_duration", "What the parts of an exchange took", self.stages.clone());
        self.count("upstream_requests", "Messages for a route's server, by what came of them", self.upstream.clone());
        self.count("store_operations", "Steps of the session store", self.store_operations.clone());
        self.time("store_operation_duration", "What steps of the session store took", self.store_durations.clone());
        self.count("limit_hits", "How often a bound was hit", self.limit_hits.clone());
        self.count("reloads", "Reloads of the policy, by what became of them", self.reloads.clone());
        self.standing.register(&mut self.registry);
    }

    fn count(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.registry.register(name, help, metric);
    }

    fn time(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.registry.register_with_unit(name, help, Unit::Seconds, metric);
    }

    /// Counts a bound that was hit.
    pub fn hit(&self, limit: Limit) {
        self.limit_hits.at((limit,)).inc();
    }

    /// Counts a reload.
    pub fn reloaded(&self, result: ReloadResult) {
        self.reloads.at((result,)).inc();
    }

    /// Counts a step of the session store.
    pub(super) fn stored(&self, operation: StoreOperation, result: StoreResult, took: Duration) {
        self.store_operations.at((operation, result)).inc();
        self.store_durations.at((operation,)).observe(took.as_secs_f64());
    }

    /// Notes what a part of an exchange took.
    pub(super) fn took(&self, stage: Stage, time: Duration) {
        self.stages.at((stage,)).observe(time.as_secs_f64());
    }

    /// What the server of the route with this path does.
    pub(super) fn upstream(&self, route: &str) -> UpstreamSeries {
        self.upstream.table(route)
    }

    /// From now on this policy is in force: the series of its rules and routes are there, and no others.
    pub(super) fn follow(&self, policy: &GatewayPolicy) {
        for named in [&self.rule_refusals, &self.would_be_refusals] {
            named.retain(|name| policy.rules.iter().any(|rule| rule.name == name));
            for rule in policy.rules.iter() {
                named.table(&rule.name);
            }
        }
        self.upstream.retain(|path| policy.routes.iter().any(|route| route.path == path));
    }

    /// Counts a refusal after a rule was asked.
    pub(super) fn refused_by(&self, rule: &str, objection: Objection) {
        self.rule_refusals.with(rule, |table| table.at((objection,)).inc());
    }

    /// Counts what a rule that observes would have refused.
    pub(super) fn would_be_refused_by(&self, rule: &str, objection: Objection) {
        self.would_be_refusals.with(rule, |table| table.at((objection,)).inc());
    }

    /// All of it, as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        #[expect(clippy::expect_used, reason = "a String takes all that is written to it")]
        text::encode(&mut text, &self.registry).expect("a String grows");
        text
    }
}

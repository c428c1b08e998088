//! What a gateway counts. Every exchange that is received has exactly one outcome: it is counted where its
//! [`Record`](super::record::Record) ends, and one that ends without saying how was abandoned.
//!
//! The series and what holds between them are described in `docs/metrics.md`.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::ladder::Objection;
use crate::admin::series::{Label, Named, Table, label};
use crate::policy::Rules;
use crate::seal::Reason;

label! {
    /// What became of an exchange.
    pub(super) enum Outcome = "outcome" {
        /// The client went away before its request was there.
        Abandoned = "abandoned",
        /// It was no request of this protocol or of SyncML.
        Declined = "declined",
        /// It asked for what is supported.
        Discovery = "discovery",
        /// It broke off by a fault of the gateway.
        Failed = "failed",
        /// It was opened and forwarded, and the server's answer sealed.
        Forwarded = "forwarded",
        /// It began a sealed session.
        Handshake = "handshake",
        /// It was forwarded as it came, under a rule that observes.
        Observed = "observed",
        /// Plaintext was forwarded, as policy permits.
        Plaintext = "plaintext",
        /// It was refused.
        Refused = "refused",
        /// It was a retransmission, and got the stored answer.
        Repeated = "repeated",
        /// All places were taken, and nobody looked at it.
        Shed = "shed",
    }
}

label! {
    /// A bound that was hit.
    pub enum Limit = "limit" {
        /// `limits.body_timeout`
        BodyTimeout = "body_timeout",
        /// `limits.in_flight`
        InFlight = "in_flight",
        /// `limits.message`
        Message = "message",
        /// `limits.unwrap_queue`
        UnwrapQueue = "unwrap_queue",
    }
}

label! {
    /// What became of a reload.
    pub enum ReloadResult = "result" {
        /// The policy is in force.
        Applied = "applied",
        /// The policy cannot be used; the one before stays.
        Faulty = "faulty",
        /// It would lock out too many devices; the one before stays.
        Guarded = "guarded",
    }
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }
}

impl Label for Objection {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &Self::ALL;

    fn value(self) -> &'static str {
        self.name()
    }
}

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
    limit_hits: Table<(Limit,), Counter>,
    reloads: Table<(ReloadResult,), Counter>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("syncseal"),
            outcomes: Table::default(),
            refusals: Table::default(),
            rule_refusals: Named::new("rule"),
            would_be_refusals: Named::new("rule"),
            in_flight: Gauge::default(),
            received: Counter::default(),
            limit_hits: Table::default(),
            reloads: Table::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let all = &mut self.registry;
        all.register("build", "What runs", Info::new([("version", env!("CARGO_PKG_VERSION")), ("role", "gateway")]));
        // In this order, so that no scrape shows an outcome of an exchange that it does not show as received.
        all.register("exchanges", "Exchanges that ended, by what became of them", self.outcomes.clone());
        all.register("refusals", "Exchanges that were refused, by the reason that was said", self.refusals.clone());
        all.register(
            "rule_refusals",
            "Exchanges that were refused after a rule was asked, by the rule that decided",
            self.rule_refusals.clone(),
        );
        all.register(
            "would_be_refusals",
            "Exchanges that were forwarded under a rule that observes, by what would have been said",
            self.would_be_refusals.clone(),
        );
        all.register("exchanges_in_flight", "Exchanges in progress", self.in_flight.clone());
        all.register("exchanges_received", "Exchanges that began", self.received.clone());
        all.register("limit_hits", "How often a bound of the policy was hit", self.limit_hits.clone());
        all.register("reloads", "Reloads of the policy, by what became of them", self.reloads.clone());
    }

    /// From now on these rules decide: their series are there, and no others.
    pub(super) fn decide(&self, rules: &Rules) {
        for named in [&self.rule_refusals, &self.would_be_refusals] {
            named.retain(|name| rules.iter().any(|rule| rule.name == name));
            for rule in rules.iter() {
                named.table(&rule.name);
            }
        }
    }

    /// Counts a refusal after a rule was asked.
    pub(super) fn refused_by(&self, rule: &str, objection: Objection) {
        self.rule_refusals.table(rule).at((objection,)).inc();
    }

    /// Counts what a rule that observes would have refused.
    pub(super) fn would_be_refused_by(&self, rule: &str, objection: Objection) {
        self.would_be_refusals.table(rule).at((objection,)).inc();
    }

    /// Counts a bound that was hit.
    pub fn hit(&self, limit: Limit) {
        self.limit_hits.at((limit,)).inc();
    }

    /// Counts a reload.
    pub fn reloaded(&self, result: ReloadResult) {
        self.reloads.at((result,)).inc();
    }

    /// All of it, as OpenMetrics text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        #[expect(clippy::expect_used, reason = "a String takes all that is written to it")]
        text::encode(&mut text, &self.registry).expect("a String grows");
        text
    }
}

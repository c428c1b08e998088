//! The one line of log that an exchange gets: who, what became of it and why, sizes and times. Never contents,
//! credentials or keys. With it the exchange is counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::devices::Speech;
use super::metrics::{
    Direction, Group, InitResult, Kind, Limit, Metrics, Outcome, Protection, Stage, Transport, UpstreamResult,
    UpstreamSeries,
};
use crate::policy::{self, Declined, Objection};
use crate::seal::{Layer, Number, Reason, Sid};
use crate::session::Device;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It was no request of this protocol or of SyncML.
    Declined,
    /// It asked for what is supported.
    Discovery,
    /// It was opened and forwarded, and the server's answer given.
    Forwarded,
    /// It began a sealed session.
    Handshake,
    /// It was forwarded as it came, under a rule that observes.
    Observed,
    /// Plaintext was forwarded, as policy permits.
    Plaintext,
    /// It was refused.
    Refused,
    /// It was a retransmission, and got the stored answer.
    Repeated,
    /// It was refused unseen, for all places were taken.
    Shed,
}

impl Decision {
    const fn name(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Discovery => "discovery",
            Self::Forwarded => "forwarded",
            Self::Handshake => "handshake",
            Self::Observed => "observed",
            Self::Plaintext => "plaintext",
            Self::Refused | Self::Shed => "refused",
            Self::Repeated => "repeated",
        }
    }

    const fn outcome(self) -> Outcome {
        match self {
            Self::Declined => Outcome::Declined,
            Self::Discovery => Outcome::Discovery,
            Self::Forwarded => Outcome::Forwarded,
            Self::Handshake => Outcome::Handshake,
            Self::Observed => Outcome::Observed,
            Self::Plaintext => Outcome::Plaintext,
            Self::Refused => Outcome::Refused,
            Self::Repeated => Outcome::Repeated,
            Self::Shed => Outcome::Shed,
        }
    }
}

/// What is gathered for an exchange's line. Dropped without one, the exchange was abandoned, or broke off.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Arc<Metrics>,
    written: bool,
    kind: Kind,
    /// Of an init request: what it asks for.
    init: Option<(Transport, Group)>,
    /// The answer is sealed.
    sealed: bool,
    /// What the route's server does.
    pub(super) server: Option<UpstreamSeries>,
    peer: Option<SocketAddr>,
    started: Instant,
    pub(super) route: Option<String>,
    pub(super) decision: Decision,
    pub(super) reason: Option<Objection>,
    /// The rule that decided about plaintext.
    pub(super) rule: Option<String>,
    /// Why it would have been refused, if the rule did not observe.
    pub(super) would_refuse: Option<Objection>,
    /// What exactly, where the reason alone does not help an operator.
    pub(super) cause: Option<String>,
    pub(super) sid: Option<Sid>,
    /// Of an init request: the RSA key that the session key is wrapped for, or that it is wrapped under a secret. Whose secret,
    /// as which device, is not for logs.
    pub(super) recipient: Option<String>,
    pub(super) number: Option<Number>,
    pub(super) device: Option<Device>,
    /// The device's own name, which is not for logs, and how its message came, for the register.
    pub(super) sighted: Option<(Vec<u8>, Speech)>,
    /// The sealed session was told its end.
    pub(super) end: bool,
    /// Bytes of the request's body.
    pub(super) received: usize,
    /// Bytes of the message in it.
    pub(super) message: Option<usize>,
    /// How long the server took.
    pub(super) upstream: Option<Duration>,
    /// The server's HTTP status.
    pub(super) upstream_status: Option<u16>,
}

impl Record {
    pub(super) fn new(peer: Option<SocketAddr>, metrics: Arc<Metrics>) -> Self {
        metrics.received.inc();
        metrics.in_flight.inc();
        Self {
            metrics,
            written: false,
            kind: Kind::Other,
            init: None,
            sealed: false,
            server: None,
            peer,
            started: Instant::now(),
            route: None,
            decision: Decision::Declined,
            reason: None,
            rule: None,
            would_refuse: None,
            cause: None,
            sid: None,
            recipient: None,
            number: None,
            device: None,
            sighted: None,
            end: false,
            received: 0,
            message: None,
            upstream: None,
            upstream_status: None,
        }
    }

    /// Notes a refusal.
    pub(super) fn refused(&mut self, reason: Reason) {
        self.decision = Decision::Refused;
        self.reason = Some(Objection::Refused(reason));
    }

    /// Notes what is not of the protocol.
    pub(super) fn declined(&mut self, declined: Declined) {
        self.decision = Decision::Declined;
        self.reason = Some(Objection::Declined(declined));
    }

    /// Who is at the other end.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }

    /// Notes that it is refused unseen.
    pub(super) fn shed(&mut self) {
        self.decision = Decision::Shed;
        self.reason = Some(Objection::Refused(Reason::Overloaded));
    }

    /// Notes which rule decided, if one was asked.
    pub(super) fn decided(&mut self, decision: Option<policy::Decision<'_>>) {
        self.rule = decision.map(|decision| decision.rule().name.clone());
    }

    /// Notes why it would have been refused. That it is not sealed counts only if nothing else is wrong with it: the rest
    /// stays wrong when it is sealed.
    pub(super) fn would_refuse(&mut self, objection: Objection) {
        if matches!(self.would_refuse, None | Some(Objection::Refused(Reason::EncryptionRequired))) {
            self.would_refuse = Some(objection);
        }
    }

    /// Notes that it is an init request, and what it asks for.
    pub(super) fn init(&mut self, transport: Transport, group: Group) {
        self.kind = Kind::Init;
        self.init = Some((transport, group));
    }

    /// Notes that it is a numbered request.
    pub(super) fn numbered(&mut self) {
        self.kind = Kind::Numbered;
    }

    /// Notes that it is a SyncML message without a seal.
    pub(super) fn plaintext(&mut self) {
        self.kind = Kind::Plaintext;
        self.metrics.messages.at((Protection::Plaintext, Direction::C2s)).inc();
    }

    /// Notes that a message was opened.
    pub(super) fn opened(&mut self, layer: Layer) {
        self.metrics.messages.at((layer.into(), Direction::C2s)).inc();
    }

    /// Notes that the answer to a message was sealed.
    pub(super) fn sealed(&mut self, layer: Layer) {
        self.sealed = true;
        self.metrics.messages.at((layer.into(), Direction::S2c)).inc();
    }

    /// Notes what a part of it took.
    pub(super) fn took(&self, stage: Stage, time: Duration) {
        self.metrics.took(stage, time);
    }

    /// Notes that a bound was hit.
    pub(super) fn hit(&self, limit: Limit) {
        self.metrics.hit(limit);
    }

    /// Writes the line, with the answer's status and bytes.
    pub(super) fn write(mut self, status: u16, sent: usize) {
        self.written = true;
        info!(
            target: "syncseal::exchange",
            peer = self.peer.map(tracing::field::display),
            route = self.route.as_deref(),
            sid = self.sid.map(tracing::field::display),
            recipient = self.recipient.as_deref(),
            number = self.number.map(Number::value),
            device = self.device.map(tracing::field::display),
            decision = self.decision.name(),
            reason = self.reason.map(Objection::name),
            rule = self.rule.as_deref(),
            would_refuse = self.would_refuse.map(Objection::name),
            cause = self.cause.as_deref(),
            end = self.end.then_some(true),
            status,
            received = self.received,
            opened = self.message,
            sent,
            upstream_status = self.upstream_status,
            upstream_ms = self.upstream.map(millis),
            ms = millis(self.started.elapsed()),
            "exchange",
        );
    }
}

impl Drop for Record {
    /// Counts the exchange.
    fn drop(&mut self) {
        let outcome = match (self.written, self.decision.outcome()) {
            (true, Outcome::Refused) if self.sealed => Outcome::RefusedSealed,
            (true, outcome) => outcome,
            (false, _) if std::thread::panicking() => Outcome::Failed,
            (false, _) => Outcome::Abandoned,
        };
        let metrics = &*self.metrics;
        metrics.outcomes.at((outcome,)).inc();
        metrics.durations.at((self.kind,)).observe(self.started.elapsed().as_secs_f64());
        if let (Outcome::Refused | Outcome::RefusedSealed | Outcome::Shed, Some(Objection::Refused(reason))) =
            (outcome, self.reason)
        {
            metrics.refusals.at((reason,)).inc();
        }
        if let (Outcome::Plaintext | Outcome::Observed, Kind::Plaintext) = (outcome, self.kind) {
            metrics.messages.at((Protection::Plaintext, Direction::S2c)).inc();
        }
        if let Some((transport, group)) = self.init {
            metrics.inits.at((transport, group, self.init_result(outcome))).inc();
        }
        if let (Some(took), Some(server)) = (self.upstream, &self.server) {
            metrics.took(Stage::Upstream, took);
            let result = self.upstream_result(outcome);
            if result == UpstreamResult::Busy {
                metrics.hit(Limit::UpstreamConnections);
            }
            server.at((result,)).inc();
        }
        match (&self.rule, outcome, self.reason, self.would_refuse) {
            (Some(rule), Outcome::Refused | Outcome::Declined, Some(objection), _) => {
                self.metrics.refused_by(rule, objection);
            }
            (Some(rule), Outcome::Observed, _, Some(objection)) => self.metrics.would_be_refused_by(rule, objection),
            _ => {}
        }
        self.metrics.in_flight.dec();
    }
}

impl Record {
    fn init_result(&self, outcome: Outcome) -> InitResult {
        match (outcome, self.reason) {
            (Outcome::Handshake, _) => InitResult::Begun,
            (Outcome::Forwarded | Outcome::RefusedSealed, _) => InitResult::Early,
            (_, Some(Objection::Refused(Reason::CannotOpen))) => InitResult::CannotOpen,
            _ => InitResult::Refused,
        }
    }

    fn upstream_result(&self, outcome: Outcome) -> UpstreamResult {
        let is_passed = matches!(outcome, Outcome::Forwarded | Outcome::Observed | Outcome::Plaintext);
        match (self.upstream_status, self.reason) {
            (Some(500..), _) if is_passed => UpstreamResult::Passed5xx,
            (Some(400..), _) if is_passed => UpstreamResult::Passed4xx,
            (Some(300..), _) if is_passed => UpstreamResult::Passed3xx,
            (Some(_), _) if is_passed => UpstreamResult::Passed2xx,
            (_, Some(Objection::Refused(Reason::UpstreamTimeout))) => UpstreamResult::Timeout,
            (_, Some(Objection::Refused(Reason::UpstreamUnreachable))) => UpstreamResult::Unreachable,
            (_, Some(Objection::Refused(Reason::Overloaded))) => UpstreamResult::Busy,
            _ => UpstreamResult::Invalid,
        }
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

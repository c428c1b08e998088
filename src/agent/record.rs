//! The one line of log that an exchange gets: whose it was, what became of it and why, sizes and times. Never contents,
//! credentials or keys. With it the exchange is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::metrics::{Hindrance, Metrics, Outcome};
use super::refuse::Trouble;
use crate::seal::{Number, Reason, Sid};
use crate::session::Device;

/// How a client's request was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It went no further than here.
    Declined,
    /// It was sealed in the init request of a new sealed session.
    Early,
    /// It was sealed, perhaps in a new sealed session.
    Sealed,
    /// It was a resend, and the same seal went out again.
    Retransmitted,
    /// It was a resend, and got the response that was opened before.
    Repeated,
}

impl Decision {
    const fn name(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Early => "early",
            Self::Sealed => "sealed",
            Self::Retransmitted => "retransmitted",
            Self::Repeated => "repeated",
        }
    }
}

/// What is gathered for an exchange's line. Dropped without one, the exchange was abandoned, or broke off.
#[derive(Debug)]
pub(super) struct Record {
    metrics: Arc<Metrics>,
    written: bool,
    /// Why the client got an error in its server's place, if it did.
    hindrance: Option<Hindrance>,
    peer: Option<SocketAddr>,
    started: Instant,
    pub(super) decision: Decision,
    reason: Option<&'static str>,
    cause: Option<String>,
    pub(super) sid: Option<Sid>,
    pub(super) number: Option<Number>,
    pub(super) device: Option<Device>,
    /// What an unsealed refusal said before something else was tried.
    pub(super) refused_first: Option<&'static str>,
    /// The sealed session was told its end.
    pub(super) end: bool,
    /// Bytes of the client's message.
    pub(super) message: Option<usize>,
    /// Bytes of the seal that went to the gateway last.
    pub(super) sealed: Option<usize>,
    /// How long the gateway took, over all that was sent.
    pub(super) gateway: Duration,
}

impl Record {
    pub(super) fn new(peer: Option<SocketAddr>, metrics: Arc<Metrics>) -> Self {
        metrics.received.inc();
        metrics.in_flight.inc();
        Self {
            metrics,
            written: false,
            hindrance: None,
            peer,
            started: Instant::now(),
            decision: Decision::Declined,
            reason: None,
            cause: None,
            sid: None,
            number: None,
            device: None,
            refused_first: None,
            end: false,
            message: None,
            sealed: None,
            gateway: Duration::ZERO,
        }
    }

    /// Notes the refusal that the client gets in its server's place, if it does.
    pub(super) fn refused(&mut self, reason: Option<Reason>) {
        self.reason = reason.map(Reason::name);
    }

    /// Notes why the client does not get its server's answer.
    pub(super) fn trouble(&mut self, trouble: &Trouble) {
        self.hindrance = Some(trouble.hindrance());
        self.reason = Some(trouble.reason());
        self.cause = Some(trouble.to_string());
    }

    /// Writes the line, with the status and the bytes of what the client gets.
    pub(super) fn write(mut self, status: u16, sent: u64) {
        self.written = true;
        info!(
            target: "syncseal::exchange",
            peer = self.peer.map(tracing::field::display),
            sid = self.sid.map(tracing::field::display),
            number = self.number.map(Number::value),
            device = self.device.map(tracing::field::display),
            decision = self.decision.name(),
            reason = self.reason,
            cause = self.cause.as_deref(),
            refused_first = self.refused_first,
            end = self.end.then_some(true),
            status,
            opened = self.message,
            sealed = self.sealed,
            sent,
            gateway_ms = self.sealed.map(|_| millis(self.gateway)),
            ms = millis(self.started.elapsed()),
            "exchange",
        );
    }
}

impl Drop for Record {
    /// Counts the exchange.
    fn drop(&mut self) {
        let outcome = match (self.written, self.decision) {
            (false, _) if std::thread::panicking() => Outcome::Failed,
            (false, _) => Outcome::Abandoned,
            (true, _) if self.hindrance.is_some() => Outcome::Declined,
            (true, Decision::Declined) => Outcome::Declined,
            (true, Decision::Repeated) => Outcome::Repeated,
            (true, Decision::Early | Decision::Sealed | Decision::Retransmitted) => Outcome::Answered,
        };
        self.metrics.outcomes.at((outcome,)).inc();
        self.metrics.durations.at((outcome,)).observe(self.started.elapsed().as_secs_f64());
        if let (Outcome::Declined, Some(hindrance)) = (outcome, self.hindrance) {
            self.metrics.hindrances.at((hindrance,)).inc();
        }
        if self.sealed.is_some() {
            self.metrics.gateway.observe(self.gateway.as_secs_f64());
        }
        self.metrics.in_flight.dec();
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

//! What is so at the moment of a scrape: how full the store is, when keys end, which policy is in force.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::session::{Counts, UnixTime};

/// What is looked up for a scrape. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Standing(Arc<Mutex<Now>>);

/// What is so.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Now {
    /// How full the store is; `None` if it is out of reach.
    pub(in crate::gateway) counts: Option<Counts>,
    /// The RSA keys that have an end, by key id.
    pub(in crate::gateway) key_ends: Vec<(String, UnixTime)>,
    /// The certificates that listeners show, by file.
    pub(in crate::gateway) certificate_ends: Vec<(String, UnixTime)>,
    /// Secrets that are valid, and that have expired.
    pub(in crate::gateway) secrets: (usize, usize),
    /// When the next secret expires.
    pub(in crate::gateway) next_secret_end: Option<UnixTime>,
    /// Which policy is in force, counted from the 1 of the start.
    pub(in crate::gateway) generation: u64,
    /// Since when.
    pub(in crate::gateway) loaded: UnixTime,
    /// Since when the gateway runs.
    pub(in crate::gateway) started: UnixTime,
}

impl Standing {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// Takes note of what is so.
    pub(in crate::gateway) fn set(&self, now: Now) {
        *self.lock() = now;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.lock().clone();
        let mut show = |name: &str, help: &str, unit: Option<&Unit>, gauges: &Gauges<'_>| {
            gauges.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
        };
        show("store_up", "Whether the session store answers.", None, &Gauges::one(now.counts.is_some().into()))?;
        if let Some(counts) = now.counts {
            let Counts { sessions, pending, stored_responses, early_messages, sync_sessions } = counts;
            let by_state = [("pending", size(pending)), ("established", size(sessions.saturating_sub(pending)))];
            show(
                "sessions",
                "Sealed sessions, by whether a second request came.",
                None,
                &Gauges::by("state", &by_state),
            )?;
            let help = "SyncML sessions that were begun or belong to someone.";
            show("sync_sessions", help, None, &Gauges::one(size(sync_sessions)))?;
            let help = "Early messages that are remembered.";
            show("early_messages_remembered", help, None, &Gauges::one(size(early_messages)))?;
            let help = "Answers that are kept for retransmissions.";
            show("stored_responses", help, Some(&Unit::Bytes), &Gauges::one(size(stored_responses)))?;
        }
        let (valid, expired) = now.secrets;
        let secrets = [("valid", size(valid)), ("expired", size(expired))];
        show("secrets", "Secrets that are shared with terminals.", None, &Gauges::by("state", &secrets))?;
        let seconds = Some(&Unit::Seconds);
        if !now.key_ends.is_empty() {
            let ends: Vec<_> = now.key_ends.iter().map(|(kid, end)| (kid.as_str(), time(*end))).collect();
            let help = "Until when an RSA key is accepted, since 1970; keys without an end have none.";
            show("key_expiry_timestamp", help, seconds, &Gauges::by("kid", &ends))?;
        }
        if !now.certificate_ends.is_empty() {
            let ends: Vec<_> = now.certificate_ends.iter().map(|(file, end)| (file.as_str(), time(*end))).collect();
            let help = "Until when a listener's certificate is valid, or one that it comes with, since 1970.";
            show("certificate_expiry_timestamp", help, seconds, &Gauges::by("file", &ends))?;
        }
        if let Some(end) = now.next_secret_end {
            let help = "When the next secret expires, since 1970.";
            show("secret_expiry_timestamp", help, seconds, &Gauges::one(time(end)))?;
        }
        let help = "Which policy is in force, counted from the start.";
        show("policy_generation", help, None, &Gauges::one(i64::try_from(now.generation).unwrap_or(i64::MAX)))?;
        let help = "Since when the policy is in force, since 1970.";
        show("policy_loaded_timestamp", help, seconds, &Gauges::one(time(now.loaded)))?;
        let help = "Since when the gateway runs, since 1970.";
        show("start_timestamp", help, seconds, &Gauges::one(time(now.started)))
    }
}

fn size(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn time(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// Gauges of one name, told apart by one label, or one without.
struct Gauges<'a> {
    label: &'static str,
    values: Vec<(Option<&'a str>, i64)>,
}

impl<'a> Gauges<'a> {
    fn one(value: i64) -> Self {
        Self { label: "", values: vec![(None, value)] }
    }

    fn by(label: &'static str, values: &[(&'a str, i64)]) -> Self {
        Self { label, values: values.iter().map(|(name, value)| (Some(*name), *value)).collect() }
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (name, value) in &self.values {
            let labels: Vec<_> = name.iter().map(|name| (self.label, *name)).collect();
            ConstGauge::new(*value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

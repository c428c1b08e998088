//! What a policy makes of a gateway: everything that a reload replaces as a whole. An exchange keeps what it began with.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::forward::{Upstream, UpstreamSetupError};
use super::keyring::Keyring;
use super::metrics::Metrics;
use super::rates::InitRates;
use super::service::Lane;
use crate::crypto::CryptoProvider;
use crate::policy::{GatewayPolicy, Guard, Needs, Rules};
use crate::session::UnixTime;

/// What a policy says, ready for exchanges.
pub(super) struct Current {
    pub(super) provider: &'static dyn CryptoProvider,
    pub(super) keyring: Keyring,
    /// The longest path first.
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) rules: Rules,
    pub(super) guard: Guard,
    pub(super) early: bool,
    pub(super) message_limit: usize,
    pub(super) body_timeout: Duration,
    pub(super) ready_needs: Needs,
    /// All of it, for operators.
    pub(super) view: Value,
    /// Until when listeners' certificates are valid, by file.
    pub(super) certificate_ends: Vec<(String, UnixTime)>,
    /// Since when it is in force.
    pub(super) loaded: UnixTime,
    /// How often init requests are taken.
    pub(super) init_rates: Arc<InitRates>,
}

/// A server to which no connections can be set up.
#[derive(Debug, thiserror::Error)]
#[error("the upstream {upstream} cannot be used: {source}")]
pub struct UnusableUpstream {
    /// The server.
    pub upstream: String,
    /// What is wrong.
    pub source: UpstreamSetupError,
}

impl Current {
    /// What `policy` says. Connections to servers about which nothing changes are those of `before`.
    pub(super) fn new(
        policy: &GatewayPolicy,
        before: Option<&Self>,
        metrics: &Metrics,
        loaded: UnixTime,
    ) -> Result<Self, UnusableUpstream> {
        // What has been taken stays taken.
        let init_rates = before.map(|before| &before.init_rates).filter(|rates| rates.are_of(policy)).cloned();
        let mut lanes = Vec::with_capacity(policy.routes.len());
        for route in &policy.routes {
            let before = before.and_then(|before| before.lane(&route.path)).map(|lane| &lane.upstream);
            let upstream = Upstream::new(route, policy, before)
                .map_err(|source| UnusableUpstream { upstream: route.upstream.to_string(), source })?;
            lanes.push(Arc::new(Lane::new(route, policy, upstream, metrics.upstream(&route.path))));
        }
        Ok(Self {
            provider: policy.provider,
            keyring: Keyring::new(policy),
            lanes,
            rules: policy.rules.clone(),
            guard: policy.rollout.guard,
            early: policy.early,
            message_limit: policy.message_limit,
            body_timeout: policy.limits.body_timeout,
            ready_needs: policy.admin.ready_needs_upstreams,
            view: policy.view(),
            certificate_ends: certificate_ends(policy),
            loaded,
            init_rates: init_rates.unwrap_or_else(|| Arc::new(InitRates::new(policy))),
        })
    }

    /// The lane of a request to the gateway, by its path: the longest that fits.
    pub(super) fn lane(&self, path: &str) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|lane| crate::policy::has_prefix(path, &lane.route.path))
    }
}

fn certificate_ends(policy: &GatewayPolicy) -> Vec<(String, UnixTime)> {
    let mut ends: Vec<_> = policy
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref())
        .map(|tls| {
            let end = u64::try_from(tls.tls.identity().not_after().as_second()).unwrap_or_default();
            (tls.certificate.display().to_string(), UnixTime(end))
        })
        .collect();
    ends.sort();
    ends.dedup();
    ends
}

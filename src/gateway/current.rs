//! What a policy makes of a gateway: everything that a reload replaces as a whole. An exchange keeps what it began with.

use std::sync::Arc;
use std::time::Duration;

use super::forward::{Upstream, UpstreamSetupError};
use super::keyring::Keyring;
use super::service::Lane;
use crate::crypto::CryptoProvider;
use crate::policy::{GatewayPolicy, Rules};

/// What a policy says, ready for exchanges.
pub(super) struct Current {
    pub(super) provider: &'static dyn CryptoProvider,
    pub(super) keyring: Keyring,
    /// The longest path first.
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) rules: Rules,
    pub(super) early: bool,
    pub(super) message_limit: usize,
    pub(super) body_timeout: Duration,
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
    pub(super) fn new(policy: &GatewayPolicy, before: Option<&Self>) -> Result<Self, UnusableUpstream> {
        let mut lanes = Vec::with_capacity(policy.routes.len());
        for route in &policy.routes {
            let before = before.and_then(|before| before.lane(&route.path)).map(|lane| &lane.upstream);
            let upstream = Upstream::new(route, policy, before)
                .map_err(|source| UnusableUpstream { upstream: route.upstream.to_string(), source })?;
            lanes.push(Arc::new(Lane::new(route, policy, upstream)));
        }
        Ok(Self {
            provider: policy.provider,
            keyring: Keyring::new(policy),
            lanes,
            rules: policy.rules.clone(),
            early: policy.early,
            message_limit: policy.message_limit,
            body_timeout: policy.limits.body_timeout,
        })
    }

    /// The lane of a request to the gateway, by its path: the longest that fits.
    pub(super) fn lane(&self, path: &str) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|lane| crate::policy::has_prefix(path, &lane.route.path))
    }
}

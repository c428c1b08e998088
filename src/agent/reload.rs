//! What a policy makes of an agent, and another in its place: the whole is built and checked first, and on any fault
//! nothing changes. An exchange keeps what it began with.

use super::link::{GatewaySetupError, Link};
use crate::policy::{Admin, AgentPolicy, Limits, LogFormat};
use crate::seal::{Extras, Layer};
use crate::session::UnixTime;
use crate::session::terminal::TerminalLimits;

/// What a policy says, ready for exchanges.
pub(super) struct Current {
    pub(super) policy: AgentPolicy,
    pub(super) extras: Extras,
    pub(super) link: Link,
    /// Since when it is in force.
    pub(super) loaded: UnixTime,
}

/// A gateway to which no connections can be set up. Whether it is there is not looked at.
#[derive(Debug, thiserror::Error)]
#[error("the gateway {gateway} cannot be used: {source}")]
pub struct UnusableGateway {
    /// Its URL.
    pub gateway: String,
    /// What is wrong.
    pub source: GatewaySetupError,
}

impl Current {
    /// What `policy` says.
    pub(super) fn new(policy: AgentPolicy, loaded: UnixTime) -> Result<Self, UnusableGateway> {
        let link =
            Link::new(&policy).map_err(|source| UnusableGateway { gateway: policy.gateway.to_string(), source })?;
        let extras = Extras {
            media_types: policy.extra_types.iter().map(|(name, _)| name.clone()).collect(),
            request_fields: policy.extra_headers.clone(),
            response_fields: policy.extra_headers.clone(),
        };
        Ok(Self { policy, extras, link, loaded })
    }
}

/// What holds from the start to the end of the process: sockets, what is shared by everything in flight, and the layer,
/// which sealed sessions are made for.
#[derive(Debug)]
pub(super) struct Fixed {
    layer: Layer,
    sessions: TerminalLimits,
    limits: Limits,
    admin: Admin,
    log_format: LogFormat,
}

impl Fixed {
    pub(super) fn of(policy: &AgentPolicy) -> Self {
        Self {
            layer: policy.layer,
            sessions: policy.sessions.clone(),
            limits: policy.limits.clone(),
            admin: policy.admin.clone(),
            log_format: policy.log.format,
        }
    }

    /// Keeps in `policy` what exchanges need of it, and tells the keys of which it says something else.
    pub(super) fn keep(&self, policy: &mut AgentPolicy) -> Vec<&'static str> {
        let all = [
            ("agent.layer", self.layer == policy.layer),
            ("sessions.idle", self.sessions.idle == policy.sessions.idle),
            ("sessions.total", self.sessions.sync_sessions == policy.sessions.sync_sessions),
            ("admin.listen", self.admin.listen == policy.admin.listen),
            ("admin.hosts", self.admin.hosts == policy.admin.hosts),
            ("log.format", self.log_format == policy.log.format),
        ];
        policy.layer = self.layer;
        let differ = all.into_iter().filter(|(_, same)| !same).map(|(key, _)| key);
        differ.chain(self.limits.fixed_differences(&policy.limits)).collect()
    }
}

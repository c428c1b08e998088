//! Another policy for a gateway that runs: the whole of what the policy makes is built and checked first, and then takes
//! the place of what was there. On any fault nothing changes.
//!
//! What a policy says of sockets, of the store and of bounds that are shared by everything in flight holds from the start
//! to the end of the process: a change to it is told in [`Applied::kept`].

use super::current::UnusableUpstream;
use crate::policy::{GatewayPolicy, Limits, LogFormat, Rollout, Store};
use crate::session;

/// What came of a reload that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which policy this is, counted from the 1 that the gateway started with.
    pub generation: u64,
    /// The keys that were changed and stay as they were until the gateway is started again.
    pub kept: Vec<&'static str>,
}

/// Why a reload was not applied: everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The connections to a server cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UnusableUpstream),
}

/// What holds from the start to the end of the process.
#[derive(Debug)]
pub(super) struct Fixed {
    sessions: session::Limits,
    store: Store,
    limits: Limits,
    unwrap_queue: usize,
    log_format: LogFormat,
    rollout: Rollout,
}

impl Fixed {
    pub(super) fn of(policy: &GatewayPolicy) -> Self {
        Self {
            sessions: policy.sessions.clone(),
            store: policy.store.clone(),
            limits: policy.limits.clone(),
            unwrap_queue: policy.unwrap_queue,
            log_format: policy.log.format,
            rollout: policy.rollout.clone(),
        }
    }

    /// The keys of which `policy` says something else.
    pub(super) fn differs(&self, policy: &GatewayPolicy) -> Vec<&'static str> {
        let (ours, theirs) = (&self.sessions, &policy.sessions);
        let sessions = [
            ("sessions.idle", ours.idle == theirs.idle),
            ("sessions.age", ours.age == theirs.age),
            ("sessions.requests", ours.requests == theirs.requests),
            ("sessions.total", ours.sessions == theirs.sessions),
            ("sessions.per_source", ours.sessions_per_source == theirs.sessions_per_source),
            ("sessions.per_key", ours.sessions_per_rsa_key == theirs.sessions_per_rsa_key),
            ("sessions.stored_responses", ours.stored_responses == theirs.stored_responses),
            ("sessions.owner_idle", ours.owner_idle == theirs.owner_idle),
            ("sessions.store", self.store == policy.store),
            ("early.window", ours.early_window == theirs.early_window),
            ("early.remembered", ours.early_messages == theirs.early_messages),
        ];
        let (ours, theirs) = (&self.limits, &policy.limits);
        let limits = [
            ("limits.handshake_timeout", ours.handshake_timeout == theirs.handshake_timeout),
            ("limits.handshakes", ours.handshakes == theirs.handshakes),
            ("limits.header_read_timeout", ours.header_read_timeout == theirs.header_read_timeout),
            ("limits.idle_timeout", ours.idle_timeout == theirs.idle_timeout),
            ("limits.connections", ours.connections == theirs.connections),
            ("limits.in_flight", ours.in_flight == theirs.in_flight),
            ("limits.drain", ours.drain == theirs.drain),
            ("limits.unwrap_queue", self.unwrap_queue == policy.unwrap_queue),
        ];
        let (ours, theirs) = (&self.rollout, &policy.rollout);
        let others = [
            ("log.format", self.log_format == policy.log.format),
            ("rollout.state", ours.state == theirs.state),
            ("rollout.devices", ours.devices == theirs.devices),
        ];
        let all = others.into_iter().chain(sessions).chain(limits);
        all.filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

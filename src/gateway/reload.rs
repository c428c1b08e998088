//! Another policy for a gateway that runs: the whole of what the policy makes is built and checked first, and then takes
//! the place of what was there. On any fault nothing changes.
//!
//! What a policy says of sockets, of the store and of bounds that are shared by everything in flight holds from the start
//! to the end of the process: a change to it is told in [`Applied::kept`].

use std::fmt;

use super::current::UnusableUpstream;
use super::devices::Breaks;
use super::{Gateway, Metrics};
use crate::policy::{Admin, Applied, GatewayPolicy, Guard, Limits, LogFormat, Rollout, Store};
use crate::seal::SessionKeys;
use crate::session::{self, SessionStore};

/// Why a reload was not applied: everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The connections to a server cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UnusableUpstream),
    /// It would cut off more devices than may be.
    #[error(transparent)]
    LocksOut(LockOut),
}

/// The devices that a reload would cut off: they spoke plaintext last, and the new rules refuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// The guard that it does not pass.
    pub guard: Guard,
    /// Devices that were seen.
    pub seen: usize,
    /// Those that would be cut off, by route and name.
    pub devices: Vec<(String, String)>,
}

impl fmt::Display for LockOut {
    /// Without names, which are of people's devices.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guard: Guard { percent, within }, seen, devices } = self;
        let (cut_off, days) = (devices.len(), within.as_secs() / (24 * 3600));
        write!(
            f,
            "[[rule]]: of the {seen} devices that were seen in the last {days} days, {cut_off} spoke plaintext last and would \
             be refused; allowed: {percent} % (rollout.guard_percent). `syncseal reload` names them, and with --force applies it"
        )
    }
}

impl std::error::Error for LockOut {}

/// Whether no more devices are cut off than `guard` lets be.
pub(super) fn check(guard: Guard, breaks: Breaks) -> Result<(), LockOut> {
    let Breaks { seen, broken: devices } = breaks;
    let may_be = devices.len().saturating_mul(100) <= seen.saturating_mul(guard.percent);
    if may_be { Ok(()) } else { Err(LockOut { guard, seen, devices }) }
}

/// A gateway that can go on under another policy, whatever its store is.
pub trait Reload: Send + Sync {
    /// As [`Gateway::reload`].
    ///
    /// # Errors
    /// [`ReloadError`]; then everything is as it was.
    fn reload(&self, policy: &GatewayPolicy, force: bool) -> Result<Applied, ReloadError>;

    /// What it counts.
    fn metrics(&self) -> &Metrics;
}

impl<S: SessionStore<Keys = SessionKeys>> Reload for Gateway<S> {
    fn reload(&self, policy: &GatewayPolicy, force: bool) -> Result<Applied, ReloadError> {
        Self::reload(self, policy, force)
    }

    fn metrics(&self) -> &Metrics {
        Self::metrics(self)
    }
}

/// What holds from the start to the end of the process.
#[derive(Debug)]
pub(super) struct Fixed {
    sessions: session::Limits,
    store: Store,
    limits: Limits,
    in_flight_per_source: usize,
    unwrap_queue: usize,
    admin: Admin,
    log_format: LogFormat,
    rollout: Rollout,
}

impl Fixed {
    pub(super) fn of(policy: &GatewayPolicy) -> Self {
        Self {
            sessions: policy.sessions.clone(),
            store: policy.store.clone(),
            limits: policy.limits.clone(),
            in_flight_per_source: policy.in_flight_per_source,
            unwrap_queue: policy.unwrap_queue,
            admin: policy.admin.clone(),
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
        let (ours, theirs) = (&self.rollout, &policy.rollout);
        let others = [
            ("admin.listen", self.admin.listen == policy.admin.listen),
            ("admin.hosts", self.admin.hosts == policy.admin.hosts),
            ("limits.in_flight_per_source", self.in_flight_per_source == policy.in_flight_per_source),
            ("limits.unwrap_queue", self.unwrap_queue == policy.unwrap_queue),
            ("log.format", self.log_format == policy.log.format),
            ("rollout.state", ours.state == theirs.state),
            ("rollout.devices", ours.devices == theirs.devices),
        ];
        let differ = sessions.into_iter().chain(others).filter(|(_, same)| !same).map(|(key, _)| key);
        differ.chain(self.limits.fixed_differences(&policy.limits)).collect()
    }
}

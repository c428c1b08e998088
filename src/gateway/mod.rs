//! The gateway: terminals on one side, a legacy SyncML server on the other that knows nothing of it.
//!
//! A request takes this way through the files: [`mod@self`] (the stack in request order) → `shed` → `service` (which route, what
//! kind of body) → `exchange` (PROTOCOL section 8.1 from top to bottom) → `message` or `document` (a
//! seal of either layer), or `plaintext` →
//! `forward` (to the server and back) → `refuse` (how a refusal is said). [`ladder`] is what the policy alone says of a
//! request, and `observe` forwards what is let through to be looked at. `record` writes the one line of log that an
//! exchange gets, `discovery` tells what is supported, `keyring` holds the keys and secrets.
//!
//! `current` is what a policy makes of all this, and `reload` puts another in its place. [`devices`] is the register of those
//! that were seen, which `upkeep` writes to its file.
//!
//! Sealing and opening are left to [`crate::seal`], numbers, lifetimes and whose a SyncML session is to
//! [`crate::session`], sockets and HTTP to [`crate::net`].

mod current;
pub mod devices;
mod discovery;
mod document;
mod exchange;
mod forward;
mod keyring;
pub mod ladder;
mod message;
mod metrics;
mod observe;
mod overview;
mod plaintext;
mod rates;
mod record;
mod refuse;
mod reload;
mod service;
mod shed;
mod stored;
mod unwrapping;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tower::ServiceBuilder;
use tracing::info;

use crate::admin::{Access, ReloadSender, Window};
use crate::crypto::{RandomFailed, SecureRandom, SystemRandom};
use crate::intake::{BindError, Intake, WindowError, bind_window};
use crate::net::drain::Drain;
use crate::net::server::{Drained, Hit, Listener, Server};
use crate::policy::{Applied, GatewayPolicy, Limits, Store};
use crate::seal::SessionKeys;
use crate::session::redis::{RedisStore, StartError};
use crate::session::{DeviceKey, MemoryStore, SessionStore, TimeSource, UnixTime, WallClock};

pub use self::current::UnusableUpstream;
pub use self::forward::UpstreamSetupError;
pub use self::metrics::{Limit, Metrics, ReloadResult};
pub use self::reload::{LockOut, Reload, ReloadError};

use self::current::Current;
use self::devices::{Devices, Snapshot, StateError};
use self::overview::Overview;
use self::reload::Fixed;
use self::shed::ShedLayer;
use self::stored::Stored;
use self::unwrapping::Unwrapping;
use self::upkeep::Upkeep;

/// Why a gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address for operators cannot be bound.
    #[error(transparent)]
    Admin(#[from] WindowError),
    /// The connections to a server cannot be set up.
    #[error(transparent)]
    Upstream(#[from] UnusableUpstream),
    /// The state cannot be kept.
    #[error("the state {}: {source}", file.display())]
    State {
        /// Its file.
        file: PathBuf,
        /// What is wrong.
        source: StateError,
    },
    /// The session store cannot be used.
    #[error(transparent)]
    Store(#[from] StartError),
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] RandomFailed),
}

/// What a gateway takes from the world around it.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub time: Arc<dyn TimeSource>,
    /// Randomness.
    pub random: Arc<dyn SecureRandom>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { time: Arc::new(WallClock), random: Arc::new(SystemRandom) }
    }
}

/// A gateway, ready to serve. Clones share everything.
pub struct Gateway<S> {
    shared: Arc<Shared<S>>,
    shed: ShedLayer,
}

impl<S> Clone for Gateway<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), shed: self.shed.clone() }
    }
}

/// What all exchanges share from the start of the gateway to its end, and the policy of the day.
struct Shared<S> {
    surroundings: Surroundings,
    metrics: Arc<Metrics>,
    store: Stored<S>,
    server: Server,
    unwrapping: Unwrapping,
    device_key: DeviceKey,
    devices: Devices,
    intake: Intake,
    fixed: Fixed,
    generation: AtomicU64,
    current: ArcSwap<Current>,
}

impl Gateway<MemoryStore<SessionKeys>> {
    /// A gateway that keeps its sessions in this process.
    ///
    /// # Errors
    /// [`RunError::Upstream`] and [`RunError::Random`].
    pub fn in_memory(policy: &GatewayPolicy, surroundings: Surroundings) -> Result<Self, RunError> {
        let store = MemoryStore::new(policy.sessions.clone(), surroundings.time.now());
        Self::new(policy, surroundings, store)
    }
}

impl<S: SessionStore<Keys = SessionKeys>> Gateway<S> {
    /// A gateway over a store of sessions.
    ///
    /// # Errors
    /// [`RunError::Upstream`] and [`RunError::Random`].
    pub fn new(policy: &GatewayPolicy, surroundings: Surroundings, store: S) -> Result<Self, RunError> {
        let metrics = Arc::new(Metrics::new(policy.provider.name()));
        let current = Current::new(policy, None, &metrics, surroundings.time.now())?;
        metrics.follow(policy);
        Ok(Self {
            shed: ShedLayer::new(policy, Arc::clone(&metrics)),
            shared: Arc::new(Shared {
                store: Stored::new(store, Arc::clone(&metrics)),
                server: server(&policy.limits, Arc::clone(&metrics)),
                metrics,
                unwrapping: Unwrapping::new(policy.unwrap_queue),
                device_key: DeviceKey::new(&*surroundings.random)?,
                devices: upkeep::remembered(&policy.rollout)?,
                surroundings,
                intake: Intake::new(&policy.listeners),
                fixed: Fixed::of(policy),
                generation: AtomicU64::new(1),
                current: ArcSwap::from_pointee(current),
            }),
        })
    }

    /// The store of sessions.
    pub fn store(&self) -> &S {
        self.shared.store.inner()
    }

    /// The devices that it has seen.
    pub fn devices(&self) -> &Devices {
        &self.shared.devices
    }

    /// What it knows of devices, and what its rules say of them.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.devices.snapshot(&self.shared.current.load().rules, self.shared.surroundings.time.now())
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Goes on under another policy. Exchanges that have begun end under the one that they began with, sealed sessions go
    /// on; those under a secret that is no longer there, or that another of its name replaced, end. What only another
    /// start can change is in [`Applied::kept`]. With `force` it may also cut off devices, which the guard of the policy in
    /// force does not let it do otherwise.
    ///
    /// # Errors
    /// [`ReloadError`]; then everything is as it was.
    pub fn reload(&self, policy: &GatewayPolicy, force: bool) -> Result<Applied, ReloadError> {
        let Shared { intake, fixed, generation, current, metrics, devices, surroundings, .. } = &*self.shared;
        let before = current.load();
        let now = surroundings.time.now();
        let next = Current::new(policy, Some(&before), metrics, now)?;
        if !force {
            let since = UnixTime(now.0.saturating_sub(before.guard.within.as_secs()));
            let breaks = devices.would_cut_off(&before.rules, &policy.rules, since, now);
            reload::check(before.guard, breaks).map_err(ReloadError::LocksOut)?;
        }
        current.store(Arc::new(next));
        intake.replace_tls(&policy.listeners);
        metrics.follow(policy);
        let generation = generation.fetch_add(1, Ordering::Relaxed) + 1;
        let mut kept = fixed.differs(policy);
        if !intake.is_same_sockets(&policy.listeners) {
            kept.insert(0, "gateway.listen or listener");
        }
        Ok(Applied { generation, kept })
    }

    /// Serves until it is drained.
    pub async fn serve(self, listener: Listener, drain: Drain) -> Drained {
        // All listeners together have the places that there are.
        let server = self.shared.server.clone();
        // In the order in which a request meets them.
        let stack = ServiceBuilder::new()
            // Says no at once when all places are taken.
            .layer(self.shed.clone())
            // Finds the route and what kind of body it is, and answers.
            .service(self);
        server.serve(listener, stack, drain).await
    }
}

/// What serves connections as the policy says, and counts those that come to a limit.
fn server(limits: &Limits, metrics: Arc<Metrics>) -> Server {
    Server::new(limits.of_server()).observed(move |hit| {
        metrics.hit(match hit {
            Hit::Connections => Limit::Connections,
            Hit::HandshakeTimeout => Limit::HandshakeTimeout,
            Hit::Head => Limit::Header,
            Hit::HeadTimeout => Limit::HeaderReadTimeout,
            Hit::IdleTimeout => Limit::IdleTimeout,
            Hit::SourceConnections => Limit::ConnectionsPerSource,
        });
    })
}

/// Binds what `policy` names and serves until it is drained. Wishes for a reload that come in through the window for
/// operators go to `reloads`; `started` is called once everything is bound.
///
/// # Errors
/// [`RunError`]; nothing is bound but after everything else is ready.
pub async fn run(
    policy: GatewayPolicy,
    reloads: Option<ReloadSender>,
    started: impl FnOnce(Arc<dyn Reload>),
    drain: Drain,
) -> Result<Drained, RunError> {
    let surroundings = Surroundings::default();
    match &policy.store {
        Store::Memory => serve(Gateway::in_memory(&policy, surroundings)?, policy, reloads, started, drain).await,
        Store::Redis(settings) => {
            let (settings, limits) = (settings.as_ref().clone(), policy.sessions.clone());
            let Surroundings { time, random } = &surroundings;
            let connect = RedisStore::connect(settings, limits, policy.provider, &**random, Arc::clone(time));
            let store = tokio::select! {
                store = connect => store?,
                () = drain.draining() => return Ok(Drained::Clean),
            };
            serve(Gateway::new(&policy, surroundings, store)?, policy, reloads, started, drain).await
        }
    }
}

async fn serve<S>(
    gateway: Gateway<S>,
    policy: GatewayPolicy,
    reloads: Option<ReloadSender>,
    started: impl FnOnce(Arc<dyn Reload>),
    drain: Drain,
) -> Result<Drained, RunError>
where
    S: SessionStore<Keys = SessionKeys> + 'static,
{
    let upkeep = Upkeep::begin(gateway.clone(), policy.rollout.state.clone()).await?;
    let listeners = gateway.shared.intake.bind(true).await?;
    let window = bind_window(&policy.admin).await?.map(|listener| {
        let access = Access { hosts: policy.admin.hosts.clone(), reloads };
        Window::open(listener, Overview::new(gateway.clone(), drain.clone()), access)
    });
    let servers = listeners.into_iter().map(|listener| {
        info!(addr = %listener.name(), tls = listener.is_secured(), routes = policy.routes.len(), provider = policy.provider.name(), "listening");
        tokio::spawn(gateway.clone().serve(listener, drain.clone()))
    });
    let servers: Vec<_> = servers.collect();
    // Secrets that a reload takes away are not to stay in memory.
    drop(policy);
    started(Arc::new(gateway));
    let mut all = Drained::Clean;
    for server in servers {
        // A server that panicked has dropped what it had in flight.
        if !matches!(server.await, Ok(Drained::Clean)) {
            all = Drained::Forced;
        }
    }
    if let Some(window) = window {
        window.close().await;
    }
    upkeep.end().await;
    Ok(all)
}

//! The agent: a terminal for SyncML clients that know nothing of the protocol (PROTOCOL section 9).
//!
//! Clients on this machine reach it in plaintext, the gateway hears only seals. Every client gets an answer: its
//! server's, opened, or an HTTP error that says what to do. Plaintext never leaves, whatever the gateway, or what
//! answers in its place, says.
//!
//! A request takes this way through the files: [`mod@self`] (the service) → `message` (is it SyncML, and what does its
//! header say) → `exchange` (section 9 from top to bottom) → `offer` (what an init request asks for) and `layer` (how
//! it and messages are sealed and opened) → `link` (to the
//! gateway and back) → `answer` (what the client gets of an opened response). `refuse` says why a client gets no answer
//! of its server's, `record` writes the one line of log that an exchange gets.
//!
//! `reload` is what a policy makes of all this, and how another takes its place.
//!
//! Sealing and opening are left to [`crate::seal`], which request is a resend and which number it has to
//! [`crate::session::terminal`], sockets and HTTP to [`crate::net`].

mod answer;
mod exchange;
mod layer;
mod link;
mod message;
mod metrics;
mod offer;
mod overview;
mod record;
mod refuse;
mod reload;

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::Semaphore;
use tower::Service;
use tracing::{error, info};

use crate::admin::{Access, Probes, ReloadSender, Window};
use crate::crypto::{RandomFailed, SecureRandom, SystemRandom};
use crate::intake::{BindError, Intake, WindowError, bind_window};
use crate::net::drain::Drain;
use crate::net::server::{Drained, Listener, Peer, Server};
use crate::policy::{AgentPolicy, Applied};
use crate::seal::resp_uri::{Origin, Scheme};
use crate::session::{DeviceKey, TimeSource, WallClock};

pub use self::link::GatewaySetupError;
pub use self::reload::UnusableGateway;

use self::exchange::{Exchange, SyncSessions};
use self::message::Message;
use self::metrics::Metrics;
use self::overview::Overview;
use self::record::Record;
use self::refuse::Trouble;
use self::reload::{Current, Fixed};

/// Why an agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address for operators cannot be bound.
    #[error(transparent)]
    Admin(#[from] WindowError),
    /// The connections to the gateway cannot be set up. Whether it is there is not looked at.
    #[error(transparent)]
    Gateway(#[from] UnusableGateway),
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] RandomFailed),
}

/// An agent, ready to serve. Clones share everything.
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

/// What all exchanges share from the start of the agent to its end, and the policy of the day.
struct Shared {
    metrics: Arc<Metrics>,
    time: Arc<dyn TimeSource>,
    random: Arc<dyn SecureRandom>,
    sync_sessions: SyncSessions,
    device_key: DeviceKey,
    /// For all listeners together.
    server: Server,
    /// Places for exchanges in progress.
    in_flight: Arc<Semaphore>,
    intake: Intake,
    fixed: Fixed,
    generation: AtomicU64,
    current: ArcSwap<Current>,
}

/// A listener, as its clients know it.
struct Place {
    /// What tells its SyncML sessions from those of other listeners.
    name: Arc<str>,
    /// What stands for the gateway in a RespURI, unless the policy says otherwise.
    public: Origin,
}

impl Agent {
    /// An agent under this policy. Connects to nothing yet.
    ///
    /// # Errors
    /// [`RunError::Gateway`] and [`RunError::Random`].
    pub fn new(
        policy: AgentPolicy,
        time: Arc<dyn TimeSource>,
        random: Arc<dyn SecureRandom>,
    ) -> Result<Self, RunError> {
        let sync_sessions = SyncSessions::new(policy.sessions.clone());
        let server = Server::new(policy.limits.of_server());
        Ok(Self {
            shared: Arc::new(Shared {
                server,
                metrics: Arc::new(Metrics::new()),
                sync_sessions,
                device_key: DeviceKey::new(&*random)?,
                in_flight: Arc::new(Semaphore::new(policy.limits.in_flight.min(Semaphore::MAX_PERMITS))),
                intake: Intake::new(&policy.listeners),
                fixed: Fixed::of(&policy),
                generation: AtomicU64::new(1),
                current: ArcSwap::from_pointee(Current::new(policy, time.now())?),
                time,
                random,
            }),
        })
    }

    /// Goes on under another policy. Exchanges that have begun end under the one that they began with, and sealed sessions
    /// go on. What only another start can change is in [`Applied::kept`].
    ///
    /// # Errors
    /// [`UnusableGateway`]; then everything is as it was.
    pub fn reload(&self, mut policy: AgentPolicy) -> Result<Applied, UnusableGateway> {
        let Shared { intake, fixed, generation, current, time, .. } = &*self.shared;
        let mut kept = fixed.keep(&mut policy);
        kept.extend((!intake.is_same_sockets(&policy.listeners)).then_some("agent.listen or listener"));
        let listeners = policy.listeners.clone();
        current.store(Arc::new(Current::new(policy, time.now())?));
        intake.replace_tls(&listeners);
        Ok(Applied { generation: generation.fetch_add(1, Ordering::Relaxed) + 1, kept })
    }

    /// Serves clients until it is drained.
    ///
    /// # Errors
    /// The system's, if the listener does not know its own address.
    pub async fn serve(&self, listener: Listener, drain: Drain) -> io::Result<Drained> {
        let public = own_origin(&listener)?;
        let place = Arc::new(Place { name: Arc::clone(listener.name()), public });
        Ok(self.shared.server.serve(listener, Clients { shared: Arc::clone(&self.shared), place }, drain).await)
    }
}

/// How clients of this machine reach a listener.
fn own_origin(listener: &Listener) -> io::Result<Origin> {
    let scheme = if listener.is_secured() { Scheme::Https } else { Scheme::Http };
    let origin = match listener.local_addr() {
        Ok(SocketAddr::V4(addr)) => Origin::new(scheme, &addr.ip().to_string(), Some(addr.port())),
        Ok(SocketAddr::V6(addr)) => Origin::new(scheme, &format!("[{}]", addr.ip()), Some(addr.port())),
        // A UNIX socket has no name in URLs; those who can use it put the host aside.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Origin::new(scheme, "localhost", None),
        Err(error) => return Err(error),
    };
    origin.map_err(io::Error::other)
}

/// The service for the clients of one listener.
#[derive(Clone)]
struct Clients {
    shared: Arc<Shared>,
    place: Arc<Place>,
}

impl<B> Service<Request<B>> for Clients
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let clients = self.clone();
        Box::pin(async move { Ok(clients.answer(request).await) })
    }
}

impl Clients {
    /// Answers a request, and writes its line.
    async fn answer<B>(self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { shared, place } = self;
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        let mut record = Record::new(peer, Arc::clone(&shared.metrics));
        // Held to the end of the exchange, whether or not its client waits for it.
        let Ok(permit) = Arc::clone(&shared.in_flight).try_acquire_owned() else {
            return finish(record, Err(Trouble::Busy));
        };
        let current = shared.current.load_full();
        let message = match Message::receive(request, &current.policy).await {
            Ok(message) => message,
            Err(trouble) => return finish(record, Err(trouble)),
        };
        record.message = Some(message.len());
        record.device = Some(shared.device_key.device(current.policy.provider, &message.source));
        // What has begun is brought to its end, so that a client that goes away finds the response when it comes again.
        let exchange = tokio::spawn(async move {
            let _permit = permit;
            let (shared, current, place) = (&*shared, &*current, &*place);
            let given = Exchange { shared, current, place, message: &message, record: &mut record }.run().await;
            finish(record, given)
        });
        exchange.await.unwrap_or_else(|panic| {
            error!(%panic, "an exchange broke off; this is a fault of the agent");
            Trouble::Internal.response()
        })
    }
}

/// Writes the line of a response.
fn finish(mut record: Record, given: Result<Response<Full<Bytes>>, Trouble>) -> Response<Full<Bytes>> {
    let response = given.unwrap_or_else(|trouble| {
        record.trouble(&trouble);
        trouble.response()
    });
    let sent = response.body().size_hint().exact().unwrap_or_default();
    record.write(response.status().as_u16(), sent);
    response
}

/// Binds what `policy` names and serves until it is drained. The gateway need not be there yet. Calls `started` once
/// everything is bound.
///
/// # Errors
/// [`RunError`]; nothing is bound but after everything else is ready.
pub async fn run(
    policy: AgentPolicy,
    reloads: Option<ReloadSender>,
    started: impl FnOnce(Agent),
    drain: Drain,
) -> Result<Drained, RunError> {
    let (public_plaintext, provider) = (policy.public_plaintext, policy.provider);
    let (gateway, window) = (policy.gateway.to_string(), policy.admin.clone());
    let agent = Agent::new(policy, Arc::new(WallClock), Arc::new(SystemRandom))?;
    let listeners = agent.shared.intake.bind(public_plaintext).await?;
    let window = bind_window(&window).await?.map(|listener| {
        let overview = Overview { agent: Arc::clone(&agent.shared), drain: drain.clone(), probes: Probes::default() };
        Window::open(listener, overview, Access { hosts: window.hosts.clone(), reloads })
    });
    let servers = listeners.into_iter().map(|listener| {
        info!(addr = %listener.name(), tls = listener.is_secured(), gateway, provider = provider.name(), "listening");
        let (agent, drain) = (agent.clone(), drain.clone());
        tokio::spawn(async move { agent.serve(listener, drain).await })
    });
    let servers: Vec<_> = servers.collect();
    started(agent);
    let mut all = Drained::Clean;
    for server in servers {
        // A server that panicked has dropped what it had in flight.
        if !matches!(server.await, Ok(Ok(Drained::Clean))) {
            all = Drained::Forced;
        }
    }
    if let Some(window) = window {
        window.close().await;
    }
    Ok(all)
}

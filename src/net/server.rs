//! The side that accepts: connections, and a request at a time for the service behind.
//!
//! HTTP/1.1, HTTP/1.0 and HTTP/2 with prior knowledge are told apart by their first bytes. An answer has a whole body,
//! so it carries its length and is never chunked. hyper answers `Expect: 100-continue` once the service reads the
//! body, and with 431 what is too long before the service sees it.
//!
//! A service's future is dropped when its HTTP/2 stream is reset or its connection breaks. What must be brought to an
//! end once begun runs on a task of its own.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tower::{Service, ServiceExt};
use tracing::{debug, info};

use super::drain::{Drain, Trigger};
use super::listener::{Entrance, Ready, Stream, Turned};
use super::source::{Share, Shares};
use super::tls::ClientNames;
use super::vigil::{GRACE, Verdict, Vigil, Watched, is_wanted_after};

pub use super::listener::{Listener, Peer};

/// The least header limit that hyper takes, in bytes.
const MIN_HEAD_BYTES: usize = 8192;

/// HTTP/2 streams of a connection that were reset before they came to anything.
const MAX_RESETS: usize = 20;

/// What one [`Server`] grants to all its connections together, and to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. For a further one, the connection is closed that has waited longest without a request; while
    /// there is none, it waits in the system's queue. At least one is granted.
    pub connections: usize,
    /// Connections of one [`Source`](super::source::Source) at a time; a further one is closed at once, unanswered.
    pub connections_per_source: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Bytes of a request's head: request line and fields. 8192 at least, whatever is given; more is answered 431.
    pub head_bytes: usize,
    /// From the accept until a balancer's header and the TLS handshake are complete.
    pub handshake_timeout: Duration,
    /// TLS handshakes at a time; further ones wait, within their time. At least one is granted.
    pub handshakes: usize,
    /// From then on, or from the first byte of a later request, until its head is complete.
    pub head_timeout: Duration,
    /// Between exchanges, until the connection is closed.
    pub idle_timeout: Duration,
    /// For exchanges in flight, once draining has begun.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_source: 1024,
            streams: 100,
            head_bytes: 64 * 1024,
            handshake_timeout: Duration::from_secs(10),
            handshakes: 256,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Which limit a connection came to, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// [`Limits::connections`]: all places are taken.
    Connections,
    /// [`Limits::connections_per_source`]: all of its source's are.
    SourceConnections,
    /// [`Limits::head_bytes`], or more fields than HTTP/1 may have here (100): answered 431.
    Head,
    /// [`Limits::handshake_timeout`]: closed before its first request.
    HandshakeTimeout,
    /// [`Limits::head_timeout`]: closed without a whole head.
    HeadTimeout,
    /// [`Limits::idle_timeout`]: closed between exchanges.
    IdleTimeout,
}

/// How a [`Server`] came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every exchange in flight was finished.
    Clean,
    /// Some were cut off: the time was over, or the end was asked for at once.
    Forced,
}

/// Who is at the other end of a connection that is ready for requests.
struct Visitor {
    peer: Peer,
    names: Option<ClientNames>,
}

/// Serves connections under common [`Limits`]. Clones share the number of connections, so that several listeners can
/// be served together.
#[derive(Clone)]
pub struct Server {
    limits: Limits,
    slots: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    shares: Shares,
    /// Asks the connection that has waited longest without a request for its slot.
    wanted: Arc<Notify>,
    http: Arc<auto::Builder<TokioExecutor>>,
    observer: Arc<dyn Fn(Hit) + Send + Sync>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Server {
    /// A server that grants `limits`.
    pub fn new(limits: Limits) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        let head_bytes = limits.head_bytes.max(MIN_HEAD_BYTES);
        http.http1()
            // The vigil keeps the time; see there.
            .header_read_timeout(None)
            .max_buf_size(head_bytes)
            // A client may close its sending half after the request and still wait for the answer.
            .half_close(true)
            // Clients on old phones compare field names byte by byte, as they are written in RFC 2616.
            .title_case_headers(true);
        http.http2()
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.streams)
            // Streams that are begun and reset at once, by the other side or for its faults, until it is told to go
            // away: work for us, and none for whoever sends them.
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS);
        let slots = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        let handshakes = limits.handshakes.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            slots: Arc::new(Semaphore::new(slots)),
            handshakes: Arc::new(Semaphore::new(handshakes)),
            shares: Shares::new(limits.connections_per_source),
            wanted: Arc::new(Notify::new()),
            http: Arc::new(http),
            observer: Arc::new(|_| ()),
        }
    }

    /// Tells `observer` whenever a connection comes to a limit.
    #[must_use]
    pub fn observed(self, observer: impl Fn(Hit) + Send + Sync + 'static) -> Self {
        Self { observer: Arc::new(observer), ..self }
    }

    /// Accepts from `listener` and hands every request to a clone of `service`, until `drain` says to end. Then it
    /// stops listening, closes idle connections, and gives exchanges in flight the time of
    /// [`Limits::drain_timeout`].
    pub async fn serve<S>(&self, listener: Listener, service: S, drain: Drain) -> Drained
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let connections = Trigger::new();
        loop {
            let (io, peer, share, slot) = tokio::select! {
                biased;
                () = drain.draining() => break,
                next = self.next(&listener) => next,
            };
            let (server, service, drain) = (self.clone(), service.clone(), connections.subscribe());
            let entrance = listener.entrance();
            tokio::spawn(async move {
                // Off the loop: who is slow here keeps nobody else from being accepted.
                if let Some((io, visitor)) = server.admit(&entrance, io, peer, &drain).await
                    && let Some(_share) = share.or_else(|| server.share(visitor.peer))
                {
                    server.serve_connection(io, visitor, service, &drain).await;
                }
                drop(slot);
            });
        }
        drop(listener);
        connections.drain();
        let clean = tokio::select! {
            finished = timeout(self.limits.drain_timeout, connections.released()) => finished.is_ok(),
            () = drain.ending() => false,
        };
        if clean {
            return Drained::Clean;
        }
        connections.end();
        connections.released().await;
        Drained::Forced
    }

    /// A connection, the share of its source's that it takes up if its source is known, and the slot. One without a slot waits here, and all behind it in the system's
    /// queue; were the slot taken first, a listener that nobody calls would keep it from others.
    async fn next(&self, listener: &Listener) -> (Stream, Peer, Option<Share>, Option<OwnedSemaphorePermit>) {
        let entrance = listener.entrance();
        let (io, peer, share) = loop {
            let (io, peer) = listener.accept().await;
            if entrance.is_balancer(peer) {
                break (io, peer, None);
            }
            // First of all, so that those over the share of their source take nothing from others.
            if let Some(share) = self.share(peer) {
                break (io, peer, Some(share));
            }
        };
        let slots = Arc::clone(&self.slots);
        if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
            return (io, peer, share, Some(slot));
        }
        (self.observer)(Hit::Connections);
        loop {
            self.wanted.notify_one();
            // Other listeners may be asking, too, and are told as one.
            if let Ok(slot) = timeout(GRACE, Arc::clone(&slots).acquire_owned()).await {
                // The semaphore is never closed.
                return (io, peer, share, slot.ok());
            }
        }
    }

    /// The share of a source's connections that this one takes up.
    fn share(&self, peer: Peer) -> Option<Share> {
        let share = self.shares.take(peer.0.ip());
        if share.is_none() {
            debug!(peer = %peer.0, "closed: its source has all the connections that it may have");
            (self.observer)(Hit::SourceConnections);
        }
        share
    }

    /// What becomes of a connection before its first request. `None` if it does not come to one.
    async fn admit(&self, entrance: &Entrance, mut io: Stream, peer: Peer, drain: &Drain) -> Option<(Ready, Visitor)> {
        let entering = async {
            let peer = entrance.introduce(&mut io, peer).await?;
            let (io, names) = entrance.secure(io, &self.handshakes).await?;
            Ok::<_, Turned>((io, Visitor { peer, names }))
        };
        let cause = tokio::select! {
            entered = timeout(self.limits.handshake_timeout, entering) => match entered {
                Ok(Ok(entered)) => return Some(entered),
                Ok(Err(turned)) => turned.to_string(),
                Err(_) => {
                    (self.observer)(Hit::HandshakeTimeout);
                    "it was not ready for a request in time".to_owned()
                }
            },
            // It has asked for nothing yet.
            () = is_wanted_after(Instant::now() + GRACE, &self.wanted) => "its place is wanted".to_owned(),
            () = drain.draining() => return None,
        };
        info!(peer = %peer.0, cause, "connection turned away");
        None
    }

    async fn serve_connection<S>(&self, io: Ready, visitor: Visitor, service: S, drain: &Drain)
    where
        S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let vigil = Arc::new(Vigil::new(self.limits.head_timeout, self.limits.idle_timeout));
        let io = TokioIo::new(Watched::new(io, Arc::clone(&vigil)));
        let watch = Arc::clone(&vigil);
        let Visitor { peer, names } = visitor;
        let handler = service_fn(move |mut request: Request<Incoming>| {
            let exchange = watch.exchange(request.version());
            request.extensions_mut().insert(peer);
            if let Some(names) = &names {
                request.extensions_mut().insert(names.clone());
            }
            let answer = service.clone().oneshot(request);
            async move {
                let answer = answer.await;
                drop(exchange);
                answer
            }
        });
        let mut connection = pin!(self.http.serve_connection(io, handler));
        let mut leaving = false;
        loop {
            tokio::select! {
                served = connection.as_mut() => {
                    if let Err(error) = served {
                        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large) {
                            (self.observer)(Hit::Head);
                        }
                        debug!(peer = %peer.0, error, "connection");
                    }
                    return;
                }
                () = drain.draining(), if !leaving => {}
                () = drain.ending() => return,
                verdict = vigil.expired(&self.wanted) => match verdict {
                    Verdict::Idle if !leaving => (self.observer)(Hit::IdleTimeout),
                    Verdict::Idle => {}
                    Verdict::Unwanted { in_head: false } => debug!(peer = %peer.0, "closed for another connection"),
                    Verdict::Unwanted { in_head: true } => {
                        debug!(peer = %peer.0, "closed for another connection");
                        return;
                    }
                    Verdict::Overdue => {
                        debug!(peer = %peer.0, "closed for want of a request");
                        if !leaving {
                            (self.observer)(Hit::HeadTimeout);
                        }
                        return;
                    }
                }
            }
            leaving = true;
            vigil.leave();
            connection.as_mut().graceful_shutdown();
        }
    }
}

#[cfg(test)]
mod tests;

//! Watches one accepted connection and tells when it has waited long enough, or too long for there to be others.
//!
//! hyper's own timer for the header also runs while a kept-alive connection is idle, and does not run before the
//! first bytes have told the HTTP version. So the watch is kept here, by one rule for all versions:
//! - the head of the first request is complete within `head_timeout` of the accept, and the head of a later HTTP/1
//!   request within that time of its first byte;
//! - between exchanges nothing happens for at most `idle_timeout`; bytes written count, so that a slow reader of a
//!   long answer is not idle, and one that stopped reading is;
//! - during an exchange the service alone keeps time.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long a peer that was told of the end has for its own part in it (HTTP/2 answers a ping first).
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection may wait for a request before another can take its place: who has just come, or has just been
/// answered, is about to say something.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// What to do with a connection whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is in flight: say goodbye.
    Idle,
    /// Half a header, or no goodbye from the other side: close.
    Overdue,
    /// Nothing is in flight, and its place is wanted for another connection: say goodbye, or close if a head is due.
    Unwanted { in_head: bool },
}

/// The watch over one connection.
#[derive(Debug)]
pub(super) struct Vigil {
    head_timeout: Duration,
    idle_timeout: Duration,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    exchanges: usize,
    /// Since when the head of a request is awaited or under way.
    head_since: Option<Instant>,
    /// The last sign of life that counts against idleness.
    used: Instant,
    /// HTTP/2 reads frames between exchanges that begin no request.
    multiplexed: bool,
    leaving: bool,
}

impl Vigil {
    pub(super) fn new(head_timeout: Duration, idle_timeout: Duration) -> Self {
        let now = Instant::now();
        let state = State { exchanges: 0, head_since: Some(now), used: now, multiplexed: false, leaving: false };
        Self { head_timeout, idle_timeout, state: Mutex::new(state), changed: Notify::new() }
    }

    /// An exchange begins, and lasts until the value is dropped.
    pub(super) fn exchange(self: &Arc<Self>, version: Version) -> Exchange {
        let mut state = self.state();
        state.exchanges += 1;
        state.head_since = None;
        state.multiplexed = version == Version::HTTP_2;
        drop(state);
        Exchange(Arc::clone(self))
    }

    /// The connection has been told to end: from now on it is idle for [`LINGER`] at most.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.leaving = true;
        state.used = Instant::now();
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until the connection's time is over, or it is the one that has waited longest without an exchange when
    /// `wanted` is notified. Forgets nothing when dropped.
    pub(super) async fn expired(&self, wanted: &Notify) -> Verdict {
        loop {
            let Some((due, _)) = self.due() else {
                self.changed.notified().await;
                continue;
            };
            let waits_since = self.waits_since();
            // Of those that wait for it, the first is notified first.
            let is_wanted = tokio::select! {
                () = sleep_until(due) => false,
                () = self.changed.notified() => false,
                () = is_wanted_after(waits_since + GRACE, wanted) => true,
            };
            match self.due() {
                Some((due, verdict)) if due <= Instant::now() => return verdict,
                Some((_, verdict)) if is_wanted => return Verdict::Unwanted { in_head: verdict == Verdict::Overdue },
                // An exchange has begun meanwhile: it is another's turn.
                None if is_wanted => wanted.notify_one(),
                _ => {}
            }
        }
    }

    fn due(&self) -> Option<(Instant, Verdict)> {
        let state = self.state();
        match state.head_since {
            _ if state.exchanges > 0 => None,
            Some(since) => Some((since.max(state.used) + self.head_timeout, Verdict::Overdue)),
            None if state.leaving => Some((state.used + LINGER, Verdict::Overdue)),
            None => Some((state.used + self.idle_timeout, Verdict::Idle)),
        }
    }

    fn waits_since(&self) -> Instant {
        let state = self.state();
        state.head_since.unwrap_or(state.used)
    }

    fn has_read(&self) {
        let mut state = self.state();
        if state.exchanges == 0 && state.head_since.is_none() && !state.multiplexed {
            state.head_since = Some(Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    fn has_written(&self) {
        self.state().used = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half-written when a holder panics: every field stands for itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until somebody asks for a place, from `at` on.
pub(super) async fn is_wanted_after(at: Instant, wanted: &Notify) {
    sleep_until(at).await;
    wanted.notified().await;
}

/// One exchange in flight.
#[derive(Debug)]
pub(super) struct Exchange(Arc<Vigil>);

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.exchanges -= 1;
        state.used = Instant::now();
        drop(state);
        self.0.changed.notify_one();
    }
}

/// A stream whose bytes are reported to a [`Vigil`].
#[derive(Debug)]
pub(super) struct Watched<I> {
    io: I,
    vigil: Arc<Vigil>,
}

impl<I> Watched<I> {
    pub(super) fn new(io: I, vigil: Arc<Vigil>) -> Self {
        Self { io, vigil }
    }

    fn written(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        if result.as_ref().is_ok_and(|n| *n > 0) {
            self.vigil.has_written();
        }
        Poll::Ready(result)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.vigil.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        self.written(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs));
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;

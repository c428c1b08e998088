//! The operator's window into a running gateway or agent: is it alive, is it ready, what does it count, which sessions
//! does it hold, under which policy; and the wish that it reads its policy again.
//!
//! What is shown comes from a [`Subject`], and a wish for a reload goes to whoever holds the [`Reloads`]: this module
//! knows HTTP and who may ask, and nothing of gateways, agents or policies. [`series`] holds the counters with closed
//! label sets that both count in.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /livez` | 200: the process answers |
//! | `GET /readyz` | 200 if it should get traffic, 503 with the causes if not |
//! | `GET /metrics` | OpenMetrics text, which Prometheus reads |
//! | `GET /sessions` | the sealed sessions, a page at a time |
//! | `GET /policy` | the policy in force, without secrets |
//! | `GET /devices` | the devices that were seen |
//! | `POST /reload` | reads the policy again; `?force=true` past the lock-out guard |
//!
//! There is no password: whoever can connect may look, which is why it listens on loopback. Pages in an operator's
//! browser can connect too. They read nothing, for no answer allows other origins; a name of theirs that leads here (DNS
//! rebinding) is refused by its Host field; and what changes anything takes a header field that no form can send.

mod readiness;
mod reload;
pub mod series;
mod service;

use std::future::{Future, ready};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tracing::info;

use crate::net::drain::Trigger;
use crate::net::server::{Drained, Limits, Listener, Server};

pub use self::readiness::{Probes, draining};
pub use self::reload::{ReloadAnswer, ReloadSender, ReloadWish, Reloads, reloads};

use self::service::Service;

/// The header field that a request which changes something must have, with the value `1`.
pub const GUARD_FIELD: &str = "syncseal-admin";

/// What is shown. Nothing that is given may hold a key, a secret, a credential or a content.
pub trait Subject: Clone + Send + Sync + 'static {
    /// Why it should get no traffic; empty if it should.
    fn not_ready(&self) -> impl Future<Output = Vec<NotReady>> + Send;

    /// What it counts, in the OpenMetrics text format.
    fn metrics(&self) -> impl Future<Output = String> + Send;

    /// The policy in force.
    fn policy(&self) -> Value;

    /// A page of the sealed sessions; `None` if it has no such list.
    fn sessions(&self, _page: Page) -> impl Future<Output = Option<Value>> + Send {
        ready(None)
    }

    /// The devices that were seen; `None` if it keeps no register.
    fn devices(&self) -> Option<Value> {
        None
    }
}

/// A reason to send no traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Which, by a name for machines.
    pub cause: &'static str,
    /// What exactly, for people.
    pub detail: String,
}

/// Which part of a long list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The id of the last item of the page before, as a number.
    pub after: Option<u128>,
    /// At most so many items.
    pub limit: usize,
}

/// Who may ask, and where wishes for a reload go.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Names, besides addresses and `localhost`, that a Host field may hold.
    pub hosts: Vec<String>,
    /// Where wishes go; `None` if nothing is reloaded here.
    pub reloads: Option<ReloadSender>,
}

/// An open window. Dropped, it closes.
#[derive(Debug)]
pub struct Window {
    trigger: Trigger,
    serving: JoinHandle<Drained>,
}

impl Window {
    /// Opens a window at a bound socket: shows `subject` to whoever has `access`.
    pub fn open<S: Subject>(listener: Listener, subject: S, access: Access) -> Self {
        let limits = Limits {
            connections: 64,
            head_bytes: 8192,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(2),
            ..Limits::default()
        };
        info!(addr = %listener.name(), "admin listening");
        let trigger = Trigger::new();
        let drain = trigger.subscribe();
        let serving =
            tokio::spawn(
                async move { Server::new(limits).serve(listener, Service::new(subject, access), drain).await },
            );
        Self { trigger, serving }
    }

    /// Closes it, after the answers in progress. To be called last: the end of everything else can be watched through it.
    pub async fn close(self) {
        self.trigger.drain();
        // Whether an answer was cut off is of no interest any more.
        let _ = self.serving.await;
    }
}

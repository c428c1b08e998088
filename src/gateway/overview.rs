//! What operators see of a gateway through the window of [`crate::admin`].

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Gateway;
use super::metrics;
use crate::admin::{NotReady, Page, Probes, Subject, draining};
use crate::net::drain::Drain;
use crate::policy::Needs;
use crate::seal::{SessionKeys, Sid};
use crate::session::{Kid, Listed, ListedStage, SessionStore, UnixTime};

/// A gateway, and whether it is about to end.
pub(super) struct Overview<S> {
    gateway: Gateway<S>,
    drain: Drain,
    probes: Probes,
    started: UnixTime,
}

impl<S> Clone for Overview<S> {
    fn clone(&self) -> Self {
        Self {
            gateway: self.gateway.clone(),
            drain: self.drain.clone(),
            probes: self.probes.clone(),
            started: self.started,
        }
    }
}

impl<S> Overview<S> {
    /// To be made when the gateway starts.
    pub(super) fn new(gateway: Gateway<S>, drain: Drain) -> Self {
        let started = gateway.shared.surroundings.time.now();
        Self { gateway, drain, probes: Probes::default(), started }
    }

    fn now(&self) -> UnixTime {
        self.gateway.shared.surroundings.time.now()
    }

    async fn missing_upstreams(&self) -> Vec<NotReady> {
        let current = self.gateway.shared.current.load_full();
        if current.ready_needs == Needs::None {
            return Vec::new();
        }
        let servers: BTreeSet<String> = current.lanes.iter().map(|lane| lane.route.upstream.to_string()).collect();
        let n_servers = servers.len();
        let unreachable = self.probes.unreachable(servers).await;
        match current.ready_needs {
            Needs::Any if unreachable.len() < n_servers => Vec::new(),
            _ => unreachable,
        }
    }
}

impl<S: SessionStore<Keys = SessionKeys>> Subject for Overview<S> {
    async fn not_ready(&self) -> Vec<NotReady> {
        let mut causes = Vec::new();
        if self.drain.is_draining() {
            causes.push(draining());
        }
        if let Err(refused) = self.gateway.shared.store.counts().await {
            causes.push(NotReady { cause: "store", detail: refused.to_string() });
        }
        if !self.gateway.shared.current.load().keyring.is_usable(self.now()) {
            causes.push(NotReady { cause: "keys", detail: "every key and secret has expired".to_owned() });
        }
        causes.extend(self.missing_upstreams().await);
        causes
    }

    async fn metrics(&self) -> String {
        let shared = &self.gateway.shared;
        let counts = shared.store.counts().await.ok();
        let (current, now) = (shared.current.load(), self.now());
        let keyring = &current.keyring;
        let valid = keyring.secret_ends(now).count();
        shared.metrics.standing.set(metrics::Now {
            counts,
            key_ends: keyring.key_ends().collect(),
            certificate_ends: current.certificate_ends.clone(),
            secrets: (valid, keyring.n_secrets().saturating_sub(valid)),
            next_secret_end: keyring.secret_ends(now).flatten().min(),
            generation: shared.generation.load(Ordering::Relaxed),
            loaded: current.loaded,
            started: self.started,
        });
        shared.metrics.text()
    }

    fn policy(&self) -> Value {
        let current = self.gateway.shared.current.load();
        json!({
            "generation": self.gateway.shared.generation.load(Ordering::Relaxed),
            "loaded": current.loaded.to_string(),
            "policy": current.view,
        })
    }

    async fn sessions(&self, page: Page) -> Option<Value> {
        let store = &self.gateway.shared.store;
        let now = self.now();
        let counts = store.counts().await.ok();
        let list = store.list(page.after.map(|after| Sid(after.to_be_bytes())), page.limit, now).await;
        let next = list.as_ref().and_then(|list| list.next).map(|next| next.to_string());
        let sessions: Option<Vec<_>> =
            list.map(|list| list.sessions.iter().map(|listed| session(listed, now)).collect());
        Some(json!({
            "count": counts.map(|counts| counts.sessions),
            "pending": counts.map(|counts| counts.pending),
            "sessions": sessions,
            "next": next,
        }))
    }

    fn devices(&self) -> Option<Value> {
        // What serde made of it, it makes a value of.
        serde_json::to_value(self.gateway.snapshot()).ok()
    }
}

fn session(listed: &Listed, now: UnixTime) -> Value {
    let Listed { facts, begun, last, highest, stage, sync_sessions } = listed;
    json!({
        "sid": facts.sid.to_string(),
        "route": &*facts.route,
        "layer": facts.layer.name(),
        // Whose secret, as which device, is not for operators.
        "kid": match &facts.kid {
            Kid::Rsa(id) => id.to_string(),
            Kid::Secret(_) => "secret".to_owned(),
        },
        "stage": match stage {
            ListedStage::Pending => "pending",
            ListedStage::Established => "established",
            ListedStage::Ending => "ending",
        },
        "age_seconds": now.since(*begun).as_secs(),
        "idle_seconds": now.since(*last).as_secs(),
        "next_number": highest.value() + 1,
        "sync_sessions": sync_sessions,
    })
}

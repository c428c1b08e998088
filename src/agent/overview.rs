//! What operators see of an agent through the window of [`crate::admin`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::Shared;
use crate::admin::{NotReady, Probes, Subject, draining};
use crate::net::drain::Drain;
use crate::policy::Needs;

/// An agent, and whether it is about to end.
#[derive(Clone)]
pub(super) struct Overview {
    pub(super) agent: Arc<Shared>,
    pub(super) drain: Drain,
    pub(super) probes: Probes,
}

impl Subject for Overview {
    async fn not_ready(&self) -> Vec<NotReady> {
        let mut causes = Vec::new();
        if self.drain.is_draining() {
            causes.push(draining());
        }
        let current = self.agent.current.load_full();
        if current.policy.admin.ready_needs_upstreams != Needs::None {
            causes.extend(self.probes.unreachable([current.policy.gateway.origin.to_string()]).await);
        }
        causes
    }

    async fn metrics(&self) -> String {
        self.agent.metrics.text()
    }

    fn policy(&self) -> Value {
        let current = self.agent.current.load();
        json!({
            "generation": self.agent.generation.load(Ordering::Relaxed),
            "loaded": current.loaded.to_string(),
            "policy": current.policy.view(),
        })
    }
}

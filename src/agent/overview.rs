//! What operators see of an agent through the window of [`crate::admin`].

use std::sync::Arc;

use serde_json::{Value, json};

use super::Shared;
use crate::admin::{NotReady, Subject};
use crate::net::drain::Drain;

/// An agent, and whether it is about to end.
#[derive(Clone)]
pub(super) struct Overview {
    pub(super) agent: Arc<Shared>,
    pub(super) drain: Drain,
}

impl Subject for Overview {
    async fn not_ready(&self) -> Vec<NotReady> {
        let mut causes = Vec::new();
        if self.drain.is_draining() {
            causes.push(NotReady { cause: "draining", detail: "it was told to end".to_owned() });
        }
        causes
    }

    async fn metrics(&self) -> String {
        self.agent.metrics.text()
    }

    fn policy(&self) -> Value {
        json!({ "gateway": self.agent.current.load().policy.gateway.to_string() })
    }
}

//! What operators see of a gateway through the window of [`crate::admin`].

use serde_json::{Value, json};

use super::Gateway;
use crate::admin::{NotReady, Subject};
use crate::net::drain::Drain;
use crate::seal::SessionKeys;
use crate::session::SessionStore;

/// A gateway, and whether it is about to end.
pub(super) struct Overview<S> {
    gateway: Gateway<S>,
    drain: Drain,
}

impl<S> Clone for Overview<S> {
    fn clone(&self) -> Self {
        Self { gateway: self.gateway.clone(), drain: self.drain.clone() }
    }
}

impl<S> Overview<S> {
    pub(super) fn new(gateway: Gateway<S>, drain: Drain) -> Self {
        Self { gateway, drain }
    }
}

impl<S: SessionStore<Keys = SessionKeys>> Subject for Overview<S> {
    async fn not_ready(&self) -> Vec<NotReady> {
        let mut causes = Vec::new();
        if self.drain.is_draining() {
            causes.push(NotReady { cause: "draining", detail: "it was told to end".to_owned() });
        }
        causes
    }

    async fn metrics(&self) -> String {
        self.gateway.metrics().text()
    }

    fn policy(&self) -> Value {
        let current = self.gateway.shared.current.load();
        let routes: Vec<_> = current.lanes.iter().map(|lane| json!({ "path": lane.route.path })).collect();
        json!({ "routes": routes })
    }

    fn devices(&self) -> Option<Value> {
        // What serde made of it, it makes a value of.
        serde_json::to_value(self.gateway.snapshot()).ok()
    }
}

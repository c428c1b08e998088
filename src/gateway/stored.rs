//! The session store as a gateway uses it: every step is timed and counted on its way.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use super::metrics::{Metrics, StoreOperation, StoreResult};
use crate::seal::{Number, Sid};
use crate::session::{
    Answer, CheckedMessage, Counts, Digest, Kid, Outcome, Probe, Refused, Response, Sender, Session, SessionFacts,
    SessionList, SessionStore, SyncMessage, UnixTime,
};

/// A store whose steps are counted.
#[derive(Debug)]
pub(super) struct Stored<S> {
    store: S,
    metrics: Arc<Metrics>,
}

impl<S> Stored<S> {
    pub(super) fn new(store: S, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    /// The store itself.
    pub(super) fn inner(&self) -> &S {
        &self.store
    }

    /// A step that may fail.
    async fn step<T>(
        &self,
        operation: StoreOperation,
        step: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        let started = Instant::now();
        let result = step.await;
        self.metrics.stored(operation, StoreResult::from(&result), started.elapsed());
        result
    }

    /// A step that is taken in any case, now or later.
    async fn debt<T>(&self, operation: StoreOperation, step: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let value = step.await;
        self.metrics.stored(operation, StoreResult::Done, started.elapsed());
        value
    }
}

impl<S: SessionStore> SessionStore for Stored<S> {
    type Keys = S::Keys;
    type Reserved = S::Reserved;
    type Accepted = S::Accepted;
    type Pass = S::Pass;

    async fn reserve(&self, facts: SessionFacts, now: UnixTime) -> Result<S::Reserved, Refused> {
        self.step(StoreOperation::Reserve, self.store.reserve(facts, now)).await
    }

    async fn begin(&self, reserved: S::Reserved, keys: Arc<S::Keys>, end: bool, now: UnixTime) -> Result<(), Refused> {
        self.step(StoreOperation::Begin, self.store.begin(reserved, keys, end, now)).await
    }

    async fn find(&self, sid: Sid, now: UnixTime) -> Result<Arc<Session<S::Keys>>, Refused> {
        self.step(StoreOperation::Find, self.store.find(sid, now)).await
    }

    async fn probe(&self, sid: Sid, number: Number, digest: Digest, now: UnixTime) -> Result<Probe, Refused> {
        self.step(StoreOperation::Probe, self.store.probe(sid, number, digest, now)).await
    }

    async fn accept(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        now: UnixTime,
    ) -> Result<Outcome<S::Accepted>, Refused> {
        self.step(StoreOperation::Accept, self.store.accept(sid, number, digest, now)).await
    }

    async fn complete<F>(&self, accepted: S::Accepted, end: bool, now: UnixTime, seal: F) -> Response
    where
        F: FnOnce(&Session<S::Keys>, Number) -> Response + Send,
    {
        self.debt(StoreOperation::Complete, self.store.complete(accepted, end, now, seal)).await
    }

    async fn probe_early(&self, digest: Digest, issued: UnixTime, now: UnixTime) -> Result<(), Refused> {
        self.step(StoreOperation::ProbeEarly, self.store.probe_early(digest, issued, now)).await
    }

    async fn remember_early(&self, digest: Digest, issued: UnixTime, now: UnixTime) -> Result<(), Refused> {
        self.step(StoreOperation::RememberEarly, self.store.remember_early(digest, issued, now)).await
    }

    async fn check_binding(
        &self,
        message: SyncMessage<'_>,
        sender: Sender<'_>,
        now: UnixTime,
    ) -> Result<S::Pass, Refused> {
        self.step(StoreOperation::CheckBinding, self.store.check_binding(message, sender, now)).await
    }

    async fn answered(&self, pass: S::Pass, answer: Answer<'_>, now: UnixTime) {
        self.debt(StoreOperation::Answered, self.store.answered(pass, answer, now)).await;
    }

    async fn accept_message(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        message: SyncMessage<'_>,
        kid: &Kid,
        now: UnixTime,
    ) -> Result<Outcome<CheckedMessage<Self>>, Refused> {
        let step = self.store.accept_message(sid, number, digest, message, kid, now);
        self.step(StoreOperation::Accept, step).await
    }

    async fn complete_message<F>(
        &self,
        accepted: S::Accepted,
        pass: S::Pass,
        answer: Answer<'_>,
        end: bool,
        now: UnixTime,
        seal: F,
    ) -> Response
    where
        F: FnOnce(&Session<S::Keys>, Number) -> Response + Send,
    {
        let step = self.store.complete_message(accepted, pass, answer, end, now, seal);
        self.debt(StoreOperation::Complete, step).await
    }

    async fn list(&self, after: Option<Sid>, limit: usize, now: UnixTime) -> Option<SessionList> {
        self.store.list(after, limit, now).await
    }

    async fn counts(&self) -> Result<Counts, Refused> {
        self.step(StoreOperation::Counts, self.store.counts()).await
    }
}

//! The store in this process's memory.
//!
//! One lock around three tables, held for the few map operations of a step and never across an await: what a step
//! decides, it decides about all of them at once. Expired sessions are removed a few at a time, by whoever comes next.
//!
//! An open sealed session that carries one SyncML session with one target takes about 1.5 kB beside its keys and its
//! stored response (measured over 40,000): its slot, its places in the orders, and digests and times of what it carries.

mod bindings;
mod early;
mod sessions;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bindings::Bindings;
pub use bindings::Passed;
use early::EarlyMemory;
use sessions::{Sessions, Step};

use super::{
    Answer, Counts, Digest, Limits, Outcome, Probe, Refused, Response, Sender, Session, SessionFacts, SessionList,
    SessionStore, SyncMessage, UnixTime,
    numbers::{Bench, Judged},
};
use crate::seal::{Number, Sid};

/// How many expired sessions are removed with each step.
const SWEEP: usize = 8;
/// The same before a new session is refused for want of room.
const SWEEP_FOR_ROOM: usize = 256;

struct Tables<K> {
    sessions: Sessions<K>,
    bindings: Bindings,
    early: EarlyMemory,
}

struct Shared<K> {
    limits: Limits,
    tables: Mutex<Tables<K>>,
}

impl<K> Shared<K> {
    fn lock(&self) -> MutexGuard<'_, Tables<K>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Tables<K> {
    fn sweep(&mut self, now: UnixTime, most: usize, limits: &Limits) {
        for sid in self.sessions.expired(now, most) {
            self.remove(sid, limits);
        }
    }

    fn remove(&mut self, sid: Sid, limits: &Limits) {
        self.sessions.remove(sid);
        self.bindings.forget(sid, limits);
    }
}

/// A [`SessionStore`] in this process's memory. It is one store however often it is cloned.
pub struct MemoryStore<K>(Arc<Shared<K>>);

impl<K> Clone for MemoryStore<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> fmt::Debug for MemoryStore<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl<K> MemoryStore<K> {
    /// An empty store. `began` is now: early messages issued up to then are refused, for an earlier run of this
    /// gateway may have taken them.
    pub fn new(limits: Limits, began: UnixTime) -> Self {
        let tables = Tables { sessions: Sessions::new(), bindings: Bindings::new(), early: EarlyMemory::new(began) };
        Self(Arc::new(Shared { limits, tables: Mutex::new(tables) }))
    }
}

/// The place of a session that is about to begin.
pub struct Reserved<K> {
    shared: Arc<Shared<K>>,
    sid: Sid,
}

impl<K> fmt::Debug for Reserved<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reserved").field(&self.sid).finish()
    }
}

impl<K> Drop for Reserved<K> {
    fn drop(&mut self) {
        let mut tables = self.shared.lock();
        if tables.sessions.is_reserved(self.sid) {
            tables.remove(self.sid, &self.shared.limits);
        }
    }
}

/// An accepted request.
pub struct Accepted<K> {
    shared: Arc<Shared<K>>,
    session: Arc<Session<K>>,
    number: Number,
    bench: Bench,
    completed: bool,
}

impl<K> fmt::Debug for Accepted<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Accepted").field(&self.session.facts.sid).field(&self.number).finish()
    }
}

impl<K> Drop for Accepted<K> {
    fn drop(&mut self) {
        if !self.completed {
            let limits = &self.shared.limits;
            self.shared.lock().sessions.lose(self.session.facts.sid, self.number, limits);
            self.bench.release(Err(Refused::Replayed));
        }
    }
}

impl<K: Send + Sync + 'static> SessionStore for MemoryStore<K> {
    type Keys = K;
    type Reserved = Reserved<K>;
    type Accepted = Accepted<K>;
    type Pass = Passed;

    async fn reserve(&self, facts: SessionFacts, now: UnixTime) -> Result<Reserved<K>, Refused> {
        let limits = &self.0.limits;
        let mut tables = self.0.lock();
        tables.sweep(now, SWEEP, limits);
        if tables.sessions.len() >= limits.sessions || tables.sessions.admits(&facts, limits).is_err() {
            tables.sweep(now, SWEEP_FOR_ROOM, limits);
        }
        tables.sessions.admits(&facts, limits)?;
        if tables.sessions.len() >= limits.sessions {
            let oldest = tables.sessions.oldest_pending().ok_or(Refused::SessionsFull)?;
            tables.remove(oldest, limits);
        }
        let sid = facts.sid;
        tables.sessions.reserve(facts, now, limits);
        Ok(Reserved { shared: self.0.clone(), sid })
    }

    async fn begin(&self, reserved: Reserved<K>, keys: Arc<K>, end: bool, now: UnixTime) -> Result<(), Refused> {
        self.0.lock().sessions.begin(reserved.sid, keys, end, now, &self.0.limits);
        Ok(())
    }

    async fn find(&self, sid: Sid, now: UnixTime) -> Result<Arc<Session<K>>, Refused> {
        let mut tables = self.0.lock();
        tables.sweep(now, SWEEP, &self.0.limits);
        tables.sessions.find(sid, now).cloned()
    }

    async fn probe(&self, sid: Sid, number: Number, digest: Digest, now: UnixTime) -> Result<Probe, Refused> {
        match self.0.lock().sessions.judge(sid, number, &digest, now, &self.0.limits)? {
            Judged::Higher => Ok(Probe::Higher),
            Judged::Repeat(response) => Ok(Probe::Repeat(response)),
            Judged::Wait(waiter) => Ok(Probe::Wait(waiter)),
        }
    }

    async fn accept(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        now: UnixTime,
    ) -> Result<Outcome<Accepted<K>>, Refused> {
        match self.0.lock().sessions.accept(sid, number, digest, now, &self.0.limits)? {
            Step::Taken(session, bench) => {
                Ok(Outcome::Accepted(Accepted { shared: self.0.clone(), session, number, bench, completed: false }))
            }
            Step::Repeat(response) => Ok(Outcome::Repeat(response)),
            Step::Wait(waiter) => Ok(Outcome::Wait(waiter)),
        }
    }

    async fn complete<F>(&self, mut accepted: Accepted<K>, end: bool, now: UnixTime, seal: F) -> Response
    where
        F: FnOnce(&Session<K>, Number) -> Response + Send,
    {
        // Not under the lock, and before anything is recorded: should it panic, the guard gives the number up.
        let response = seal(&accepted.session, accepted.number);
        let sid = accepted.session.facts.sid;
        self.0.lock().sessions.complete(sid, accepted.number, &response, end, now, &self.0.limits);
        accepted.completed = true;
        accepted.bench.release(Ok(&response));
        response
    }

    async fn probe_early(&self, digest: Digest, issued: UnixTime, now: UnixTime) -> Result<(), Refused> {
        self.0.lock().early.probe(&digest, issued, now, &self.0.limits)
    }

    async fn remember_early(&self, digest: Digest, issued: UnixTime, now: UnixTime) -> Result<(), Refused> {
        self.0.lock().early.remember(digest, issued, now, &self.0.limits)
    }

    async fn check_binding(
        &self,
        message: SyncMessage<'_>,
        sender: Sender<'_>,
        now: UnixTime,
    ) -> Result<Passed, Refused> {
        let tables = &mut *self.0.lock();
        let life = |sid| tables.sessions.life(sid, now);
        tables.bindings.check(&message, &sender, now, &self.0.limits, life)
    }

    async fn answered(&self, pass: Passed, answer: Answer<'_>, now: UnixTime) {
        let tables = &mut *self.0.lock();
        let life = |sid| tables.sessions.life(sid, now);
        tables.bindings.answered(pass, &answer, now, &self.0.limits, life);
    }

    async fn list(&self, after: Option<Sid>, limit: usize, now: UnixTime) -> Option<SessionList> {
        // Of all there are the ids are copied, no more, and sorted when nobody waits for the tables.
        let mut sids = self.0.lock().sessions.sids(after);
        let is_all = sids.len() <= limit;
        if !is_all {
            sids.select_nth_unstable(limit);
            sids.truncate(limit);
        }
        sids.sort_unstable();
        let next = sids.last().copied().filter(|_| !is_all);
        let tables = self.0.lock();
        let listed = sids.into_iter().filter_map(|sid| {
            let mut listed = tables.sessions.listed(sid, now)?;
            listed.sync_sessions = tables.bindings.held_by(sid);
            Some(listed)
        });
        Some(SessionList { sessions: listed.collect(), next })
    }

    async fn counts(&self) -> Result<Counts, Refused> {
        let tables = self.0.lock();
        Ok(Counts {
            sessions: tables.sessions.len(),
            pending: tables.sessions.n_pending(),
            stored_responses: tables.sessions.stored_bytes(),
            early_messages: tables.early.len(),
            sync_sessions: tables.bindings.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;
    use crate::{
        crypto::KeyId,
        seal::Layer,
        session::{Kid, ListedStage},
    };

    const T0: UnixTime = UnixTime(1_000);

    async fn begun(store: &MemoryStore<()>, n: u8, now: UnixTime) {
        let facts = SessionFacts {
            sid: Sid([n; 16]),
            layer: Layer::Message,
            route: "/sync".into(),
            kid: Kid::Rsa(KeyId([7; 32])),
            source: IpAddr::from([192, 0, 2, 1]),
            secret: None,
        };
        let reserved = store.reserve(facts, now).await.unwrap();
        store.begin(reserved, Arc::new(()), false, now).await.unwrap();
    }

    #[tokio::test]
    async fn a_list_has_every_living_session_once_and_in_order() {
        let limits = Limits { second_request: Duration::from_secs(60), ..Limits::default() };
        let store = MemoryStore::new(limits, T0);
        let later = T0.plus(Duration::from_secs(50));
        for n in [9, 3, 7, 1, 5] {
            begun(&store, n, if n == 5 { T0 } else { later }).await;
        }
        let bench = store.accept(Sid([7; 16]), Number::new(4).unwrap(), [0; 32], later).await.unwrap();
        // One of them has ended, though nobody has removed it yet.
        let now = T0.plus(Duration::from_secs(70));
        let (mut after, mut listed) = (None, Vec::new());
        loop {
            let page = store.list(after, 2, now).await.unwrap();
            assert!(page.sessions.len() <= 2);
            listed.extend(page.sessions);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let sids: Vec<u8> = listed.iter().map(|listed| listed.facts.sid.0[0]).collect();
        assert_eq!(sids, [1, 3, 7, 9]);
        assert_eq!((listed[2].stage, listed[2].highest.value()), (ListedStage::Established, 4));
        assert_eq!((listed[3].stage, listed[3].begun), (ListedStage::Pending, later));
        drop(bench);
        let all = store.list(None, 4, later).await.unwrap();
        assert_eq!((all.sessions.len(), all.next), (4, Some(Sid([7; 16]))));
        assert!(store.list(None, 5, later).await.unwrap().next.is_none());
    }
}

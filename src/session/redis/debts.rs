//! What the store must still be told: that a place is free, that an answer is lost, or what it is. Told in order, before
//! anything else is asked; while the store is out of reach it waits here, and when that is too much, the oldest is dropped:
//! then a number stays in progress until its replica or its session ends, which is safe.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::session::UnixTime;

/// How many may wait.
const MOST: usize = 4096;

/// One step that is owed.
#[derive(Clone, Debug)]
pub(super) struct Debt {
    pub(super) step: &'static str,
    pub(super) now: UnixTime,
    pub(super) args: Vec<Vec<u8>>,
}

impl Debt {
    fn size(&self) -> usize {
        self.args.iter().map(Vec::len).sum()
    }
}

#[derive(Debug)]
pub(super) struct Debts {
    queue: Mutex<VecDeque<(u64, Debt)>>,
    /// What the next one is known by.
    next: AtomicU64,
    /// As many as are in the queue, or are being told.
    owed: AtomicUsize,
    /// Held by who tells them, so that they are told in order.
    pub(super) telling: tokio::sync::Mutex<()>,
    /// Bytes of them that may wait.
    budget: usize,
}

impl Debts {
    pub(super) fn new(budget: usize) -> Self {
        let (queue, next) = Default::default();
        Self { queue, next, owed: AtomicUsize::new(0), telling: tokio::sync::Mutex::default(), budget }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.load(Ordering::Acquire) == 0
    }

    pub(super) fn push(&self, debt: Debt) {
        let mut queue = self.lock();
        queue.push_back((self.next.fetch_add(1, Ordering::Relaxed), debt));
        let mut size: usize = queue.iter().map(|(_, debt)| debt.size()).sum();
        while queue.len() > MOST || size > self.budget {
            let Some((_, dropped)) = queue.pop_front() else { break };
            size -= dropped.size();
        }
        self.owed.store(queue.len(), Ordering::Release);
    }

    /// The oldest, and what it is known by; it stays until it [was told](Self::told).
    pub(super) fn first(&self) -> Option<(u64, Debt)> {
        self.lock().front().cloned()
    }

    /// This one was told. Meanwhile it may have been dropped.
    pub(super) fn told(&self, id: u64) {
        let mut queue = self.lock();
        queue.retain(|(other, _)| *other != id);
        self.owed.store(queue.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Debt)>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

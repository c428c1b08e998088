//! The memory of early messages (PROTOCOL section 3.5).

use std::collections::{BTreeSet, HashSet};

use crate::session::{Digest, Limits, Refused, UnixTime};

/// How many expired ones are forgotten with each one that is looked at: more than come in, so that none pile up.
const FORGET: usize = 16;

/// Remembers each early message that was taken, for twice the window.
///
/// When it is full nothing is forgotten before its time: the next early message is refused instead, and its terminal
/// makes a handshake. The same happens after the clock was set back, as long as a message may have been forgotten
/// under the later time.
#[derive(Debug)]
pub(super) struct EarlyMemory {
    began: UnixTime,
    /// The latest time seen: what was forgotten was forgotten by this.
    latest: UnixTime,
    seen: HashSet<Digest>,
    expiry: BTreeSet<(UnixTime, Digest)>,
}

impl EarlyMemory {
    pub(super) fn new(began: UnixTime) -> Self {
        Self { began, latest: began, seen: HashSet::new(), expiry: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether an early message would be taken.
    pub(super) fn probe(
        &mut self,
        digest: &Digest,
        issued: UnixTime,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<(), Refused> {
        self.latest = self.latest.max(now);
        self.forget();
        let window = limits.early_window;
        if issued > now.plus(window) || issued.plus(window) < self.latest {
            Err(Refused::EarlyOutOfWindow)
        } else if issued <= self.began {
            Err(Refused::EarlyBeforeMemory)
        } else if self.seen.contains(digest) {
            Err(Refused::EarlySeen)
        } else if self.seen.len() >= limits.early_messages {
            Err(Refused::EarlyMemoryFull)
        } else {
            Ok(())
        }
    }

    /// Takes an early message and remembers it.
    pub(super) fn remember(
        &mut self,
        digest: Digest,
        issued: UnixTime,
        now: UnixTime,
        limits: &Limits,
    ) -> Result<(), Refused> {
        self.probe(&digest, issued, now, limits)?;
        let until = self.latest.plus(limits.early_window.saturating_mul(2));
        self.seen.insert(digest);
        self.expiry.insert((until, digest));
        Ok(())
    }

    fn forget(&mut self) {
        for _ in 0..FORGET {
            match self.expiry.first() {
                Some(&(until, oldest)) if until < self.latest => {
                    self.expiry.pop_first();
                    self.seen.remove(&oldest);
                }
                _ => return,
            }
        }
    }
}

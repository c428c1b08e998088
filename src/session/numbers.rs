//! The numbers of one sealed session (PROTOCOL section 3.4): which request is new, which is a retransmission, and what
//! is kept to answer it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{Digest, Refused, Response, Waiter};
use crate::seal::Number;

/// How often a request is answered again. Retransmissions that waited count.
const REPEATS: u8 = 5;

/// The place for the one retransmission that waits for an answer in progress. The request's own task shares it, so that
/// the waiter gets its answer even if a higher number was accepted meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Bench(Arc<Mutex<Option<Release>>>);

/// The way to let a waiter go.
type Release = oneshot::Sender<Result<Response, Refused>>;

impl Bench {
    /// Sits down; who sat here before is let go.
    fn sit(&self) -> Waiter {
        let (sender, waiter) = Waiter::new();
        if let Some(before) = self.swap(Some(sender)) {
            // The one that waited may have gone away by itself.
            let _ = before.send(Err(Refused::Overtaken));
        }
        waiter
    }

    /// Lets the one that waits go with `response`.
    pub(super) fn release(&self, response: Result<&Response, Refused>) {
        if let Some(waiting) = self.swap(None) {
            let _ = waiting.send(response.cloned());
        }
    }

    fn swap(&self, next: Option<Release>) -> Option<Release> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), next)
    }
}

/// The answer to the request with the highest number.
#[derive(Debug)]
enum Latest {
    /// No request was accepted yet.
    None,
    /// It is being made.
    InProgress { digest: Digest, repeats: u8, bench: Bench },
    /// It is kept for retransmissions.
    Stored { digest: Digest, repeats: u8, response: Response },
    /// There is none, and never will be.
    Lost,
}

/// What a request's number and digest say.
#[derive(Debug)]
pub(super) enum Judged {
    /// Higher than all before.
    Higher,
    /// A retransmission that is answered.
    Repeat(Response),
    /// A retransmission that waits for the answer.
    Wait(Waiter),
}

/// The numbers of one session.
#[derive(Debug)]
pub(super) struct Numbers {
    highest: Number,
    accepted: u64,
    latest: Latest,
}

impl Numbers {
    /// Of a session whose init request was the only one yet.
    pub(super) const fn new() -> Self {
        Self { highest: Number::ZERO, accepted: 0, latest: Latest::None }
    }

    /// The highest number that was accepted.
    pub(super) const fn highest(&self) -> Number {
        self.highest
    }

    /// How many requests were accepted.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Judges a request. A retransmission that is answered or waits is counted.
    pub(super) fn judge(&mut self, number: Number, digest: &Digest) -> Result<Judged, Refused> {
        if number > self.highest {
            return Ok(Judged::Higher);
        }
        if number < self.highest {
            return Err(Refused::Replayed);
        }
        match &mut self.latest {
            Latest::InProgress { digest: first, repeats, bench } if first == digest && *repeats < REPEATS => {
                *repeats += 1;
                Ok(Judged::Wait(bench.sit()))
            }
            Latest::Stored { digest: first, repeats, response } if first == digest && *repeats < REPEATS => {
                *repeats += 1;
                Ok(Judged::Repeat(response.clone()))
            }
            Latest::None | Latest::InProgress { .. } | Latest::Stored { .. } | Latest::Lost => Err(Refused::Replayed),
        }
    }

    /// Records a request that [`judge`](Self::judge) found to be higher, and drops what was kept of the one before.
    pub(super) fn accept(&mut self, number: Number, digest: Digest) -> Bench {
        let bench = Bench::default();
        self.highest = number;
        self.accepted += 1;
        self.latest = Latest::InProgress { digest, repeats: 0, bench: bench.clone() };
        bench
    }

    /// Keeps the response to a request, if its number is still the highest and nothing was kept for it yet.
    pub(super) fn store(&mut self, number: Number, response: &Response) -> bool {
        match self.latest {
            Latest::InProgress { digest, repeats, .. } if number == self.highest => {
                self.latest = Latest::Stored { digest, repeats, response: response.clone() };
                true
            }
            _ => false,
        }
    }

    /// Gives up the answer to a request, if its number is still the highest.
    pub(super) fn lose(&mut self, number: Number) {
        if number == self.highest {
            self.latest = Latest::Lost;
        }
    }

    /// Drops the stored response, if there is one.
    pub(super) fn drop_stored(&mut self) {
        if matches!(self.latest, Latest::Stored { .. }) {
            self.latest = Latest::Lost;
        }
    }
}

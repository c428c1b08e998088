//! A terminal's sealed sessions, one for each SyncML session (PROTOCOL section 9): numbers, one request in flight, and
//! what a resend of the client's means.
//!
//! Each request takes its [`Turn`] in [`SyncSessions`], and [`Turn::next`] says what to do. Each of the values that it
//! may return stands for one state, and its methods consume it and give the next:
//!
//! ```text
//! Begin(Unkeyed) ── handshaken ──► Ready ── seal ──► Sent ── answered ──► the client has its response
//!                └─ early ──► EarlySent ── reply ──► Replied ── answered ──► (the same)
//! ```
//!
//! To drop one is to stop there: what was sent stays sent, and the client's resend takes it up again. Making requests,
//! sealing, opening and HTTP are the caller's; `I` is what it needs to read an init response, `K` the keys of a sealed
//! session, `R` a response as the client gets it.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::{Digest, Refused, UnixTime};
use crate::seal::{Number, Sid};

/// How often the table is looked through for SyncML sessions to forget.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The number of the first message after a handshake.
const FIRST: Number = match Number::new(1) {
    Some(number) => number,
    None => Number::MAX,
};

/// What a terminal's table is bounded by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalLimits {
    /// SyncML sessions at a time. 1,024.
    pub sync_sessions: usize,
    /// A SyncML session without a request for longer than this is forgotten, with the last response to it; longer than a
    /// gateway keeps a sealed session. 15 min.
    pub idle: Duration,
}

impl Default for TerminalLimits {
    fn default() -> Self {
        Self { sync_sessions: 1_024, idle: Duration::from_secs(15 * 60) }
    }
}

/// By what a client's SyncML session is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SyncSessionId {
    listener: Arc<str>,
    source: Box<[u8]>,
    session_id: Box<[u8]>,
}

impl SyncSessionId {
    /// The SyncML session with this Source LocURI and SessionID at the listener of this name. White space around them
    /// does not count.
    pub fn new(listener: Arc<str>, source: &[u8], session_id: &[u8]) -> Self {
        Self { listener, source: source.trim_ascii().into(), session_id: session_id.trim_ascii().into() }
    }
}

/// What tells a resend from another request: the target and the body, byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// Of a request with this target (path and query) and body.
    pub fn of(target: &[u8], body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((target.len() as u64).to_be_bytes());
        hash.update(target);
        hash.update(body);
        Self(hash.finalize().into())
    }
}

/// A sealed session as the terminal has it.
struct Sealed<K> {
    sid: Sid,
    keys: Arc<K>,
    /// The highest number that was given to a seal.
    highest: Number,
    /// Whether the gateway said `end`.
    ended: bool,
}

impl<K> Clone for Sealed<K> {
    fn clone(&self) -> Self {
        Self { keys: self.keys.clone(), ..*self }
    }
}

/// The last request of a SyncML session in its sealed session.
enum Last<R> {
    /// There was none yet, or it was answered without success: its resend is a new request.
    None,
    /// Its seal was made, and no response to it was opened.
    Awaiting { request: Fingerprint, seal: Bytes },
    /// This response to it was opened, with success.
    Answered { request: Fingerprint, response: R },
}

enum State<I, K, R> {
    /// There is no sealed session.
    New,
    /// An early message was sealed; whether it began a sealed session is not known yet.
    AwaitingInit { request: Fingerprint, seal: Bytes, init: I },
    /// There is a sealed session.
    Sealed(Sealed<K>, Last<R>),
}

type Slot<I, K, R> = Arc<Turns<State<I, K, R>>>;
type Held<I, K, R> = OwnedMutexGuard<State<I, K, R>>;

struct Table<I, K, R> {
    slots: HashMap<SyncSessionId, (UnixTime, Slot<I, K, R>)>,
    next_sweep: UnixTime,
}

/// The SyncML sessions of a terminal's clients.
pub struct SyncSessions<I, K, R> {
    limits: TerminalLimits,
    table: Mutex<Table<I, K, R>>,
}

impl<I, K, R> fmt::Debug for SyncSessions<I, K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSessions").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<I, K, R> SyncSessions<I, K, R> {
    /// An empty table.
    pub fn new(limits: TerminalLimits) -> Self {
        Self { limits, table: Mutex::new(Table { slots: HashMap::new(), next_sweep: UnixTime(0) }) }
    }

    /// Waits until no other request of this SyncML session is in flight. [`Refused::SyncSessionsFull`] if it is not
    /// known and the table is full.
    pub async fn turn(&self, id: SyncSessionId, now: UnixTime) -> Result<Turn<I, K, R>, Refused> {
        let slot = self.slot(id, now)?;
        Ok(Turn { state: slot.lock_owned().await })
    }

    /// How many SyncML sessions are known.
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).slots.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn slot(&self, id: SyncSessionId, now: UnixTime) -> Result<Slot<I, K, R>, Refused> {
        let table = &mut *self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table.slots.contains_key(&id);
        if now >= table.next_sweep || (!known && table.slots.len() >= self.limits.sync_sessions) {
            // One that is held or waited for is in use. Slots are only ever cloned under this lock.
            let in_use = |slot: &Slot<I, K, R>| Arc::strong_count(slot) > 1;
            table.slots.retain(|_, (last, slot)| now.since(*last) <= self.limits.idle || in_use(slot));
            table.next_sweep = now.plus(SWEEP_INTERVAL);
        }
        if let Some((last, slot)) = table.slots.get_mut(&id) {
            *last = now.max(*last);
            return Ok(slot.clone());
        }
        if table.slots.len() >= self.limits.sync_sessions {
            return Err(Refused::SyncSessionsFull);
        }
        let slot = Arc::new(Turns::new(State::New));
        table.slots.insert(id, (now, slot.clone()));
        Ok(slot)
    }
}

/// A request's turn in its SyncML session: while it lasts, other requests wait.
pub struct Turn<I, K, R> {
    state: Held<I, K, R>,
}

/// What is to be done with a request.
pub enum Next<I, K, R> {
    /// It needs a sealed session first.
    Begin(Unkeyed<I, K, R>),
    /// It is to be sealed.
    Seal(Ready<I, K, R>),
    /// It was sent early, and no response was opened: the same seal goes out again.
    RetransmitEarly(EarlySent<I, K, R>),
    /// It was sent, and no response was opened: the same seal goes out again.
    Retransmit(Sent<I, K, R>),
    /// It was answered: the client gets that response again.
    Repeat(R),
}

impl<I, K, R: Clone> Turn<I, K, R> {
    /// What is to be done with the request. `first`: its MsgID is 1.
    pub fn next(self, request: Fingerprint, first: bool) -> Next<I, K, R> {
        let state = self.state;
        match &*state {
            State::AwaitingInit { request: early, seal, .. } if *early == request => {
                let seal = seal.clone();
                Next::RetransmitEarly(EarlySent { state, request, seal })
            }
            State::New | State::AwaitingInit { .. } => Next::Begin(Unkeyed { state, request }),
            State::Sealed(sealed, Last::Awaiting { request: last, seal }) if *last == request => {
                let (sealed, seal) = (sealed.clone(), seal.clone());
                Next::Retransmit(Sent { state, request, sealed, seal })
            }
            State::Sealed(_, Last::Answered { request: last, response }) if *last == request => {
                Next::Repeat(response.clone())
            }
            State::Sealed(sealed, _) if sealed.ended && first => Next::Begin(Unkeyed { state, request }),
            State::Sealed(sealed, _) => match sealed.highest.next() {
                Some(number) => {
                    let sealed = Sealed { highest: number, ..sealed.clone() };
                    Next::Seal(Ready { state, request, sealed })
                }
                None => Next::Begin(Unkeyed { state, request }),
            },
        }
    }
}

/// A request without a sealed session to go into.
pub struct Unkeyed<I, K, R> {
    state: Held<I, K, R>,
    request: Fingerprint,
}

impl<I, K, R> Unkeyed<I, K, R> {
    /// The gateway answered a handshake, and its response opened.
    pub fn handshaken(mut self, sid: Sid, keys: Arc<K>) -> Ready<I, K, R> {
        let begun = Sealed { sid, keys, highest: Number::ZERO, ended: false };
        *self.state = State::Sealed(begun.clone(), Last::None);
        Ready { state: self.state, request: self.request, sealed: Sealed { highest: FIRST, ..begun } }
    }

    /// The request was sealed as an early message, which is about to be sent. `init` is what reading its answer takes.
    pub fn early(mut self, seal: Bytes, init: I) -> EarlySent<I, K, R> {
        *self.state = State::AwaitingInit { request: self.request, seal: seal.clone(), init };
        EarlySent { state: self.state, request: self.request, seal }
    }
}

/// A request that was sent as an early message.
pub struct EarlySent<I, K, R> {
    state: Held<I, K, R>,
    request: Fingerprint,
    seal: Bytes,
}

impl<I, K, R> EarlySent<I, K, R> {
    /// The seal, to be sent or sent again.
    pub const fn seal(&self) -> &Bytes {
        &self.seal
    }

    /// A refusal came: the request needs a handshake.
    pub fn refused(mut self) -> Unkeyed<I, K, R> {
        *self.state = State::New;
        Unkeyed { state: self.state, request: self.request }
    }

    /// A reply came, which may be the init response: what reading it takes. That can be tried once, and `None` would
    /// say that it was; if the reply does not open, the [`Replied`] is dropped, and the client's resend starts over.
    pub fn reply(mut self) -> Option<(I, Replied<I, K, R>)> {
        match std::mem::replace(&mut *self.state, State::New) {
            State::AwaitingInit { init, .. } => Some((init, Replied { state: self.state, request: self.request })),
            State::New | State::Sealed(..) => None,
        }
    }
}

/// An early message to which a reply came.
pub struct Replied<I, K, R> {
    state: Held<I, K, R>,
    request: Fingerprint,
}

impl<I, K, R> Replied<I, K, R> {
    /// The reply opened: there is a sealed session, and the client gets `response`.
    pub fn answered(mut self, sid: Sid, keys: Arc<K>, answer: Answered<R>) {
        let sealed = Sealed { sid, keys, highest: Number::ZERO, ended: answer.end };
        *self.state = State::Sealed(sealed, answer.last(self.request));
    }
}

/// A request whose turn it is to be sealed.
pub struct Ready<I, K, R> {
    state: Held<I, K, R>,
    request: Fingerprint,
    /// With the number that the request gets.
    sealed: Sealed<K>,
}

impl<I, K, R> Ready<I, K, R> {
    /// Seals it: `seal` is called once, with the keys, the id and the number. Whatever comes of it, that number is used.
    pub fn seal<E>(mut self, seal: impl FnOnce(&K, Sid, Number) -> Result<Bytes, E>) -> Result<Sent<I, K, R>, E> {
        let Self { request, sealed, .. } = self;
        *self.state = State::Sealed(sealed.clone(), Last::None);
        let seal = seal(&sealed.keys, sealed.sid, sealed.highest)?;
        *self.state = State::Sealed(sealed.clone(), Last::Awaiting { request, seal: seal.clone() });
        Ok(Sent { state: self.state, request, sealed, seal })
    }
}

/// A request that was sealed, and whose response is outstanding.
pub struct Sent<I, K, R> {
    state: Held<I, K, R>,
    request: Fingerprint,
    sealed: Sealed<K>,
    seal: Bytes,
}

impl<I, K, R> Sent<I, K, R> {
    /// The seal, to be sent or sent again.
    pub const fn seal(&self) -> &Bytes {
        &self.seal
    }

    /// The keys to open the response with.
    pub fn keys(&self) -> &K {
        &self.sealed.keys
    }

    /// The id that the response must have.
    pub const fn sid(&self) -> Sid {
        self.sealed.sid
    }

    /// The number that the response must have.
    pub const fn number(&self) -> Number {
        self.sealed.highest
    }

    /// The response with this number opened.
    pub fn answered(mut self, answer: Answered<R>) {
        let sealed = Sealed { ended: self.sealed.ended || answer.end, ..self.sealed };
        *self.state = State::Sealed(sealed, answer.last(self.request));
    }

    /// The gateway knows no such sealed session: the client's resend starts a new one.
    pub fn forget(mut self) {
        *self.state = State::New;
    }
}

/// A response that was opened.
pub struct Answered<R> {
    /// As the client gets it.
    pub response: R,
    /// Whether its HTTP status is 2xx; in the data layer it always counts as such.
    pub success: bool,
    /// Whether the gateway said `end`.
    pub end: bool,
}

impl<R> Answered<R> {
    fn last(self, request: Fingerprint) -> Last<R> {
        if self.success { Last::Answered { request, response: self.response } } else { Last::None }
    }
}

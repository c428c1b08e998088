//! The port: what a gateway asks of the place where its sealed sessions are kept, in memory or shared by replicas.

use std::{
    future::{Future, ready},
    net::IpAddr,
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Refused, UnixTime};
pub use crate::seal::Kid;
use crate::seal::{Layer, Number, SecretFingerprint, Sid};

/// SHA-256 of a request's COSE_Encrypt0, untagged, or of an init request's protected header.
pub type Digest = [u8; 32];

/// What is known of a sealed session before its keys.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Its id, drawn at random for this init response.
    pub sid: Sid,
    /// The layer of its seals.
    pub layer: Layer,
    /// The name of its route.
    pub route: Arc<str>,
    /// The key id in its init request.
    pub kid: Kid,
    /// Which secret of that name it began under, if it was a secret.
    pub secret: Option<SecretFingerprint>,
    /// The address that the init request came from.
    pub source: IpAddr,
}

/// A sealed session's constant part, which may be cached: it does not change while the session lives.
#[derive(Debug)]
pub struct Session<K> {
    /// What was known before the keys.
    pub facts: SessionFacts,
    /// Its keys.
    pub keys: Arc<K>,
}

/// The answer to a request as it goes over the wire, kept for its retransmission. Its HTTP status is 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its Content-Type.
    pub content_type: Bytes,
    /// Its body.
    pub body: Bytes,
}

/// Waits for the answer to a request that is in progress.
#[derive(Debug)]
pub struct Waiter(oneshot::Receiver<Result<Response, Refused>>);

impl Waiter {
    /// A waiter, and the way to let it go.
    pub fn new() -> (oneshot::Sender<Result<Response, Refused>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// The answer: [`Refused::Overtaken`] when a newer retransmission waits instead, [`Refused::Replayed`] when there
    /// will be none.
    pub async fn response(self) -> Result<Response, Refused> {
        self.0.await.unwrap_or(Err(Refused::Replayed))
    }
}

/// What a numbered request is, judged by its number and digest before it was opened.
#[derive(Debug)]
pub enum Probe {
    /// Its number is higher than all before: open it, then [`SessionStore::accept`] it.
    Higher,
    /// It is a retransmission, and this is its answer.
    Repeat(Response),
    /// It is a retransmission, and its answer is on the way.
    Wait(Waiter),
}

/// What became of a numbered request that opened.
#[derive(Debug)]
pub enum Outcome<A> {
    /// It was accepted: it must be answered, once, through [`SessionStore::complete`].
    Accepted(A),
    /// While it was opened, the same request was accepted, and this is its answer.
    Repeat(Response),
    /// While it was opened, the same request was accepted, and its answer is on the way.
    Wait(Waiter),
}

/// The facts of a message from a terminal that decide whose SyncML session it belongs to, read from the opened
/// document. What the document does not hold is empty.
#[derive(Clone, Copy, Debug)]
pub struct SyncMessage<'a> {
    /// The name of the route.
    pub route: &'a str,
    /// Source LocURI, decoded.
    pub source: &'a [u8],
    /// SessionID, decoded.
    pub session_id: &'a [u8],
    /// MsgID, decoded.
    pub msg_id: &'a [u8],
    /// Whether there is a Cred.
    pub has_cred: bool,
    /// The request target: path and query, as the client wrote them.
    pub target: &'a [u8],
}

/// Who sends a message.
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// The terminal of a sealed session.
    Sealed {
        /// Its id.
        sid: Sid,
        /// The key id in its init request.
        kid: &'a Kid,
    },
    /// Anyone, in plaintext.
    Plaintext {
        /// The address that it came from.
        source: IpAddr,
    },
}

/// What a legacy server's answer says about its SyncML session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The Status code for SyncHdr.
    pub hdr_status: Option<u16>,
    /// Path and query of its RespURI.
    pub resp_target: Option<&'a [u8]>,
}

/// An accepted request, and whether its message may go to the server.
pub type CheckedMessage<S> = (<S as SessionStore>::Accepted, Result<<S as SessionStore>::Pass, Refused>);

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sealed sessions, those that are about to begin included.
    pub sessions: usize,
    /// Of these, the ones without a second request.
    pub pending: usize,
    /// Bytes of stored responses.
    pub stored_responses: usize,
    /// Early messages remembered.
    pub early_messages: usize,
    /// SyncML sessions that were begun or belong to someone.
    pub sync_sessions: usize,
}

/// What can be told of a sealed session to those who look after a gateway: nothing of its keys, its messages or its device.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What was known before the keys.
    pub facts: SessionFacts,
    /// When it began.
    pub begun: UnixTime,
    /// When a request was last accepted or answered.
    pub last: UnixTime,
    /// The highest number that was accepted.
    pub highest: Number,
    /// How far it has come.
    pub stage: ListedStage,
    /// SyncML sessions that it carries.
    pub sync_sessions: usize,
}

/// Some of the sealed sessions.
#[derive(Clone, Debug)]
pub struct SessionList {
    /// In the order of their ids.
    pub sessions: Vec<Listed>,
    /// After which id more may follow; `None` if these were the last.
    pub next: Option<Sid>,
}

/// How far a sealed session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedStage {
    /// Without a second request.
    Pending,
    /// With one.
    Established,
    /// It was told `end`.
    Ending,
}

impl<A> Outcome<A> {
    /// The same, with what `f` makes of an accepted request.
    pub fn map<B>(self, f: impl FnOnce(A) -> B) -> Outcome<B> {
        match self {
            Self::Accepted(accepted) => Outcome::Accepted(f(accepted)),
            Self::Repeat(response) => Outcome::Repeat(response),
            Self::Wait(waiter) => Outcome::Wait(waiter),
        }
    }
}

/// Where a gateway's sealed sessions are kept, with all that its replicas must agree on.
///
/// A sealed session is [reserved](Self::reserve) and then [begun](Self::begin). Each numbered request of it is
/// [probed](Self::probe), opened by the caller, [accepted](Self::accept) and [completed](Self::complete). Each method
/// is one atomic step; expired sessions count as unknown to the second, whenever they are removed.
///
/// A store that is out of reach says [`Refused::StoreUnavailable`]. Where a method cannot say so, it brings what it was
/// told to the store later: an accepted request is always answered, and its number stays used.
pub trait SessionStore: Send + Sync + 'static {
    /// The keys of a sealed session.
    type Keys: Send + Sync + 'static;
    /// The place of a sealed session that is about to begin. Dropped, the place is free again, and no sealed session
    /// came to be.
    type Reserved: Send + 'static;
    /// An accepted request. Dropped without [`complete`](Self::complete), its number is used up and its
    /// retransmissions are [`Refused::Replayed`], for a seal may have been made under it.
    type Accepted: Send + 'static;
    /// A message may be forwarded (PROTOCOL section 8.2). [`answered`](Self::answered) takes it back with the answer; if
    /// there is none, it is dropped.
    type Pass: Send + 'static;

    /// Takes a place for a sealed session, under the caps. It cannot be found yet. When all places are taken, the
    /// oldest session without a second request gives way; an established one never does.
    fn reserve(
        &self,
        facts: SessionFacts,
        now: UnixTime,
    ) -> impl Future<Output = Result<Self::Reserved, Refused>> + Send;

    /// Begins a sealed session: from now on it can be found. `end`: its init response says `end`. On failure it cannot,
    /// but an init response that was sealed for it may be sent: nothing else is ever sealed under its keys.
    fn begin(
        &self,
        reserved: Self::Reserved,
        keys: Arc<Self::Keys>,
        end: bool,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// The sealed session with this id, or [`Refused::SessionUnknown`].
    fn find(&self, sid: Sid, now: UnixTime) -> impl Future<Output = Result<Arc<Session<Self::Keys>>, Refused>> + Send;

    /// Judges a numbered request before it is opened (PROTOCOL section 3.4). A retransmission is answered without
    /// opening it; a higher number changes nothing.
    fn probe(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        now: UnixTime,
    ) -> impl Future<Output = Result<Probe, Refused>> + Send;

    /// Accepts a numbered request whose seal opened, and records its number: the one step after which the number is
    /// used. To be called with the digest of the bytes that were opened.
    fn accept(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        now: UnixTime,
    ) -> impl Future<Output = Result<Outcome<Self::Accepted>, Refused>> + Send;

    /// Answers an accepted request: the one place where a response is sealed. `seal` is called once with the session
    /// and the number; what it makes is stored, given to a retransmission that waits, and returned. `end`: the
    /// response says `end`.
    fn complete<F>(
        &self,
        accepted: Self::Accepted,
        end: bool,
        now: UnixTime,
        seal: F,
    ) -> impl Future<Output = Response> + Send
    where
        F: FnOnce(&Session<Self::Keys>, Number) -> Response + Send;

    /// Whether an early message would be taken now, without remembering it: the check before the private-key
    /// operation. `digest` is SHA-256(H), `issued` its time of issue.
    fn probe_early(
        &self,
        digest: Digest,
        issued: UnixTime,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Takes an early message that opened, and remembers it (PROTOCOL section 3.5). A second one with the same digest
    /// is [`Refused::EarlySeen`]. To be called before [`check_binding`](Self::check_binding): a replay must not begin its
    /// SyncML session anew under the message that it repeats.
    fn remember_early(
        &self,
        digest: Digest,
        issued: UnixTime,
        now: UnixTime,
    ) -> impl Future<Output = Result<(), Refused>> + Send;

    /// Whether a message may go to the server, judged by whose its SyncML session and its target are (PROTOCOL
    /// section 8.2). The sealed session of an early message needs to be reserved only.
    fn check_binding(
        &self,
        message: SyncMessage<'_>,
        sender: Sender<'_>,
        now: UnixTime,
    ) -> impl Future<Output = Result<Self::Pass, Refused>> + Send;

    /// Takes note of the server's answer. To be called before [`complete`](Self::complete) or [`begin`](Self::begin)
    /// tells the session to `end`.
    fn answered(&self, pass: Self::Pass, answer: Answer<'_>, now: UnixTime) -> impl Future<Output = ()> + Send;

    /// [`accept`](Self::accept), and for a request that is accepted [`check_binding`](Self::check_binding) of its
    /// message, at the price of one: for a store to which it is far.
    fn accept_message(
        &self,
        sid: Sid,
        number: Number,
        digest: Digest,
        message: SyncMessage<'_>,
        kid: &Kid,
        now: UnixTime,
    ) -> impl Future<Output = Result<Outcome<CheckedMessage<Self>>, Refused>> + Send
    where
        Self: Sized,
    {
        async move {
            Ok(match self.accept(sid, number, digest, now).await? {
                Outcome::Accepted(accepted) => {
                    let pass = self.check_binding(message, Sender::Sealed { sid, kid }, now).await;
                    Outcome::Accepted((accepted, pass))
                }
                Outcome::Repeat(response) => Outcome::Repeat(response),
                Outcome::Wait(waiter) => Outcome::Wait(waiter),
            })
        }
    }

    /// [`answered`](Self::answered), and then [`complete`](Self::complete) of the request that it answers, at the price of
    /// one.
    fn complete_message<F>(
        &self,
        accepted: Self::Accepted,
        pass: Self::Pass,
        answer: Answer<'_>,
        end: bool,
        now: UnixTime,
        seal: F,
    ) -> impl Future<Output = Response> + Send
    where
        F: FnOnce(&Session<Self::Keys>, Number) -> Response + Send,
    {
        async move {
            self.answered(pass, answer, now).await;
            self.complete(accepted, end, now, seal).await
        }
    }

    /// How full it is.
    fn counts(&self) -> impl Future<Output = Result<Counts, Refused>> + Send;

    /// Sealed sessions in the order of their ids: at most `limit` that live at `now`, after this one. `None` if a list cannot be
    /// had at a bounded price, as of a store that replicas share.
    fn list(
        &self,
        _after: Option<Sid>,
        _limit: usize,
        _now: UnixTime,
    ) -> impl Future<Output = Option<SessionList>> + Send {
        ready(None)
    }
}

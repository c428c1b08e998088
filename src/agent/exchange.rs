//! One exchange from top to bottom (PROTOCOL section 9): whose turn it is, what its SyncML session says of it, the sealed
//! session that it needs, the seal out, the response back.
//!
//! The states are those of [`crate::session::terminal`]. To return early drops one: what was sent stays sent, and the
//! client's resend takes it up.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;

use super::answer::Opened;
use super::layer::{Plain, Reply};
use super::link::NoSeal;
use super::message::{self, Message};
use super::offer::Offer;
use super::record::{Decision, Record};
use super::refuse::Trouble;
use super::reload::Current;
use super::{Place, Shared};
use crate::seal::{
    InitParameters, InitRequest, PendingInit, Reason, Refusal, RefusalReason, SessionKeys, StartInitError,
};
use crate::session::terminal::{self, Answered, Next, SyncSessionId};

/// What a client gets; a clone of it is what its resend gets.
pub(super) type Given = Response<Full<Bytes>>;
pub(super) type SyncSessions = terminal::SyncSessions<PendingInit, SessionKeys, Given>;
type Unkeyed = terminal::Unkeyed<PendingInit, SessionKeys, Given>;
type Ready = terminal::Ready<PendingInit, SessionKeys, Given>;
type Sent = terminal::Sent<PendingInit, SessionKeys, Given>;
type EarlySent = terminal::EarlySent<PendingInit, SessionKeys, Given>;

/// What became of an early message.
enum EarlyOutcome {
    Answered(Given),
    Refused(Unkeyed, Box<Refusal>),
}

/// How a sealed session is asked for, and whether something may still be changed about it for this message.
#[derive(Clone, Copy)]
struct Attempt<'p> {
    offer: Offer<'p>,
    early: bool,
    may_change: bool,
}

impl Attempt<'_> {
    /// What to try after a refusal that is not authentic: a handshake where an early message was refused, or, at most
    /// once for each message, what else the policy allows (PROTOCOL section 7). Nothing that protects less than the
    /// policy demands.
    fn after(self, refusal: Box<Refusal>) -> Result<Self, Trouble> {
        if self.early && refusal.reason == RefusalReason::Known(Reason::EarlyRefused) {
            return Ok(Self { early: false, ..self });
        }
        match self.offer.alternative(&refusal) {
            Some(offer) if self.may_change => Ok(Self { offer, may_change: false, ..self }),
            _ => Err(Trouble::refused(refusal)),
        }
    }
}

/// A client's request on its way.
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Shared,
    /// The policy that was in force when it began.
    pub(super) current: &'a Current,
    pub(super) place: &'a Place,
    pub(super) message: &'a Message,
    pub(super) record: &'a mut Record,
}

impl<'a> Exchange<'a> {
    /// Brings it to its end: what the client gets, or why it gets nothing of its server's.
    pub(super) async fn run(&mut self) -> Result<Given, Trouble> {
        let Self { shared, place, message, .. } = *self;
        let id = SyncSessionId::new(Arc::clone(&place.name), &message.source, &message.session_id);
        let turn = shared.sync_sessions.turn(id, shared.time.now()).await?;
        match turn.next(message.fingerprint(), message.is_first) {
            Next::Repeat(given) => {
                self.record.decision = Decision::Repeated;
                Ok(given)
            }
            Next::Retransmit(sent) => {
                self.record.decision = Decision::Retransmitted;
                self.send(sent).await
            }
            Next::RetransmitEarly(sent) => {
                self.record.decision = Decision::Retransmitted;
                match self.send_early(sent).await? {
                    EarlyOutcome::Answered(given) => Ok(given),
                    EarlyOutcome::Refused(unkeyed, refusal) => {
                        let attempt = self.first_attempt()?.after(refusal)?;
                        self.begin(unkeyed, attempt).await
                    }
                }
            }
            Next::Seal(ready) => self.seal(ready).await,
            Next::Begin(unkeyed) => {
                let attempt = self.first_attempt()?;
                self.begin(unkeyed, attempt).await
            }
        }
    }

    fn first_attempt(&self) -> Result<Attempt<'a>, Trouble> {
        let policy = &self.current.policy;
        let offer = Offer::first(policy).ok_or(Trouble::Internal)?;
        Ok(Attempt { offer, early: policy.early && self.message.may_go_early, may_change: true })
    }

    /// Begins a sealed session and sends the message, in the init request or after it.
    async fn begin(&mut self, mut unkeyed: Unkeyed, mut attempt: Attempt<'a>) -> Result<Given, Trouble> {
        loop {
            let refusal = if attempt.early {
                self.record.decision = Decision::Early;
                let issued = self.shared.time.now().0;
                let request = self.init_request(attempt.offer, Some(issued))?;
                let (seal, pending) = self.message.seal_early(request, &self.current.extras)?;
                match self.send_early(unkeyed.early(seal, pending)).await? {
                    EarlyOutcome::Answered(given) => return Ok(given),
                    EarlyOutcome::Refused(again, refusal) => {
                        unkeyed = again;
                        refusal
                    }
                }
            } else {
                match self.handshake(attempt.offer).await {
                    Ok(keys) => return self.seal(unkeyed.handshaken(keys.sid(), Arc::new(keys))).await,
                    Err(Trouble::NoSeal(NoSeal::Refused(refusal))) => refusal,
                    Err(trouble) => return Err(trouble),
                }
            };
            attempt = attempt.after(refusal.clone())?;
            self.record.refused_first = Some(Trouble::refused(refusal).reason());
        }
    }

    /// An init request for what is offered; with a time of issue, of the early form.
    fn init_request(&self, offer: Offer<'_>, issued: Option<u64>) -> Result<InitRequest, StartInitError> {
        let policy = &self.current.policy;
        let parameters = InitParameters {
            layer: policy.layer,
            alg: offer.alg,
            recipient: offer.recipient,
            group: offer.group,
            require_exchange: policy.require_exchange,
            issued,
        };
        InitRequest::new(policy.provider, &*self.shared.random, &parameters)
    }

    async fn handshake(&mut self, offer: Offer<'_>) -> Result<SessionKeys, Trouble> {
        let (seal, pending) = self.message.seal_handshake(self.init_request(offer, None)?)?;
        let reply = self.ask(&seal).await?;
        let policy = &self.current.policy;
        let (keys, _, plain) = reply.establish(pending, policy.provider)?;
        plain.check_handshake(|content_type| message::form(content_type.to_str().ok()?, policy))?;
        Ok(keys)
    }

    /// Sends an early message, perhaps again.
    async fn send_early(&mut self, sent: EarlySent) -> Result<EarlyOutcome, Trouble> {
        let reply = match self.ask(sent.seal()).await {
            Ok(reply) => reply,
            Err(Trouble::NoSeal(NoSeal::Refused(refusal))) => {
                return Ok(EarlyOutcome::Refused(sent.refused(), refusal));
            }
            Err(trouble) => return Err(trouble),
        };
        let (pending, replied) = sent.reply().ok_or(Trouble::Internal)?;
        let (keys, end, plain) = reply.establish(pending, self.current.policy.provider)?;
        self.record.sid = Some(keys.sid());
        let answer = self.answer(&plain, end);
        let given = answer.response.clone();
        replied.answered(keys.sid(), Arc::new(keys), answer);
        Ok(EarlyOutcome::Answered(given))
    }

    /// Seals the message under the number whose turn it is, and sends it.
    async fn seal(&mut self, ready: Ready) -> Result<Given, Trouble> {
        self.record.decision = Decision::Sealed;
        let sent = ready.seal(|keys, _, number| self.message.seal(keys, number, &self.current.extras))?;
        self.send(sent).await
    }

    /// Sends a sealed message, perhaps again, and opens its response.
    async fn send(&mut self, sent: Sent) -> Result<Given, Trouble> {
        (self.record.sid, self.record.number) = (Some(sent.sid()), Some(sent.number()));
        let reply = match self.ask(sent.seal()).await {
            Ok(reply) => reply,
            Err(trouble) => {
                if matches!(&trouble, Trouble::NoSeal(NoSeal::Refused(refusal)) if is_session_unknown(refusal)) {
                    sent.forget();
                }
                return Err(trouble);
            }
        };
        let (end, plain) = reply.open(sent.keys(), sent.sid(), sent.number())?;
        let answer = self.answer(&plain, end);
        let given = answer.response.clone();
        sent.answered(answer);
        Ok(given)
    }

    /// Asks the gateway, and notes how long that took.
    async fn ask(&mut self, seal: &Bytes) -> Result<Reply, Trouble> {
        self.record.sealed = Some(seal.len());
        let outgoing = self.message.outgoing()?;
        let asked = Instant::now();
        let reply = self.current.link.ask(&outgoing, seal, &self.current.policy).await;
        self.record.gateway += asked.elapsed();
        Ok(reply?)
    }

    /// What an opened response means for the client and for its SyncML session.
    fn answer(&mut self, plain: &Plain, end: bool) -> Answered<Given> {
        let Self { current: Current { policy, extras, .. }, place, message, .. } = *self;
        self.record.end = end;
        let public = policy.public_url.as_ref().unwrap_or(&place.public);
        let opened = Opened::read(plain, message, policy, extras, public);
        self.record.refused(opened.refusal);
        let response = opened.response.unwrap_or_else(|trouble| {
            self.record.trouble(&trouble);
            trouble.response()
        });
        Answered { response, success: opened.success, end }
    }
}

fn is_session_unknown(refusal: &Refusal) -> bool {
    refusal.reason == RefusalReason::Known(Reason::SessionUnknown)
}

//! A sealed document of the data layer (PROTOCOL section 6), from top to bottom: it is the request, at the target that
//! HTTP names, and all that is said of it is said in documents like it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_CHARSET, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tracing::error;

use super::exchange::{Admitted, Early, Exchange, Message, Noted, Step, may_come_early, note};
use super::record::{Decision, Record};
use super::refuse::{self, Answer};
use super::service::Lane;
use crate::seal::data::{OpenedDocument, Sealable, SealedDocument, Unfit};
use crate::seal::{
    self, Encrypt0, InitHeader, Layer, NumberedHeader, OpenedInit, Reason, SealedRequest, SessionKeys, Target,
};
use crate::session::{self, Sender, SessionFacts, SessionStore};
use crate::syncml::{Document, Form, Heading};

/// What HTTP says of a sealed document, and what its SyncHdr says, which stays readable.
pub(super) struct Envelope {
    pub(super) source: IpAddr,
    pub(super) form: Form,
    pub(super) content_type: HeaderValue,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) heading: Heading,
}

impl Envelope {
    /// The header fields that are forwarded: they are not authentic, so these and no others.
    fn fields(&self) -> HeaderMap {
        let names = [ACCEPT, ACCEPT_CHARSET, USER_AGENT];
        let fields = self.headers.iter().filter(|(name, _)| names.contains(name));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The message that was sealed in it.
    fn message<'a>(&self, target: Target<'a>, bytes: &Bytes, document: &'a Document<'a>) -> Message<'a> {
        let content_type = self.content_type.clone();
        Message { content_type, target, fields: self.fields(), bytes: bytes.clone(), document }
    }
}

impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Answers a sealed document.
    pub(super) async fn document(
        &self,
        lane: &Lane,
        envelope: &Envelope,
        body: BytesMut,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let split = SealedDocument::split(envelope.form, envelope.content_type.as_bytes(), body);
        let (seal, document) = split.map_err(|unfit| unfit_as(unfit, Reason::Malformed, record))?;
        match seal::decode_request(Layer::Data, seal) {
            Ok(SealedRequest::Init(sealed)) => self.init_document(lane, envelope, sealed, document, record).await,
            Ok(SealedRequest::Numbered(sealed)) => {
                self.numbered_document(lane, envelope, sealed, document, record).await
            }
            Err(malformed) => {
                record.cause = Some(malformed.to_string());
                Err(malformed.into())
            }
        }
    }

    /// Answers a request of a sealed session.
    async fn numbered_document(
        &self,
        lane: &Lane,
        envelope: &Envelope,
        sealed: Encrypt0<NumberedHeader>,
        document: SealedDocument,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let target = envelope.target.as_str();
        let open = |keys: &SessionKeys, sealed: Encrypt0<_>| keys.open_document(&sealed, document, Some(target));
        let (numbered, opened) = match self.open(lane, sealed, open, record).await? {
            Step::Answered(response) => return Ok(response),
            Step::Taken(opened) => opened,
        };
        // It is read before its number is accepted, so that one step of the store can be about both. Whatever is wrong with
        // it is said after that.
        let read = self.read_document(lane, envelope, opened, record);
        let document = match &read {
            Ok((_, bytes)) => self.scan(envelope.form, bytes, record),
            Err(reason) => Err(*reason),
        };
        let message = match (&read, &document) {
            (Ok((target, bytes)), Ok(document)) => Ok(envelope.message(*target, bytes, document)),
            (Err(reason), _) | (_, Err(reason)) => Err(*reason),
        };
        let (accepted, admitted) = match self.accept(lane, &numbered, message, record).await? {
            Step::Answered(response) => return Ok(response),
            Step::Taken(accepted) => accepted,
        };
        let mut noted = None;
        let answer = match admitted {
            Ok(admitted) => self.forward_document(lane, admitted, &mut noted, record).await,
            Err(reason) => Err(reason),
        };
        let (answer, sealable) = self.sealable(lane, envelope, answer, record)?;
        record.end = answer.end;
        let seal = |session: &session::Session<SessionKeys>, number| {
            sealed_document(session.keys.seal_response_document(number, answer.end, &sealable), &answer)
        };
        Ok(self.complete(accepted, noted, answer.end, seal, record).await)
    }

    /// The server's answer to an admitted document.
    async fn forward_document(
        &self,
        lane: &Lane,
        admitted: Admitted<'_, S::Pass>,
        noted: &mut Option<Noted<S::Pass>>,
        record: &mut Record,
    ) -> Result<Answer, Reason> {
        let (inbound, end) = self.deliver(lane, Layer::Data, admitted, noted, record).await?;
        record.decision = Decision::Forwarded;
        Ok(Answer::from_server(inbound, end))
    }

    /// Begins a sealed session (PROTOCOL sections 3.1, 3.5 and 8.1, step 3).
    async fn init_document(
        &self,
        lane: &Lane,
        envelope: &Envelope,
        sealed: Encrypt0<InitHeader>,
        document: SealedDocument,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let (unwrapped, early, facts) = self.unwrap(lane, envelope.source, sealed, record).await?;
        let opened = unwrapped.open_document(document, &envelope.target);
        let (init, opened) = opened.map_err(|_| Reason::CannotOpen)?;
        let (target, bytes) = self.read_document(lane, envelope, opened, record)?;
        let document = self.scan(envelope.form, &bytes, record)?;
        match early {
            None => self.handshake_document(lane, envelope, facts, init, &document, record).await,
            Some(early) => {
                let message = envelope.message(target, &bytes, &document);
                self.early_document(lane, envelope, facts, early, init, message, record).await
            }
        }
    }

    async fn handshake_document(
        &self,
        lane: &Lane,
        envelope: &Envelope,
        facts: SessionFacts,
        init: OpenedInit,
        document: &Document<'_>,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        if !is_handshake(document) {
            record.cause = Some("a handshake that holds more than MsgID 0 and Final, or less".into());
            return Err(Reason::Malformed);
        }
        let answer = Answer::new(200, envelope.content_type.clone(), envelope.heading.acknowledgement());
        let (answer, sealable) = self.sealable(lane, envelope, Ok(answer), record)?;
        let sid = facts.sid;
        let reserved = self.shared.store.reserve(facts, self.now()).await.map_err(|refused| note(refused, record))?;
        let sealed = init.reply(self.current.provider, sid, false).seal_document(&sealable);
        let (body, keys) = sealed.map_err(|unfit| unfit_as(unfit, Reason::Malformed, record))?;
        let begun = self.shared.store.begin(reserved, Arc::new(keys), false, self.now()).await;
        begun.map_err(|refused| note(refused, record))?;
        record.decision = Decision::Handshake;
        Ok(sealed_document(Ok(body), &answer))
    }

    #[expect(clippy::too_many_arguments, reason = "each is another part of the one request")]
    async fn early_document(
        &self,
        lane: &Lane,
        envelope: &Envelope,
        facts: SessionFacts,
        early: Early,
        init: OpenedInit,
        message: Message<'_>,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        record.opened(facts.layer);
        if !may_come_early(message.document) {
            record.cause = Some("this message may not come early".into());
            return Err(Reason::EarlyRefused);
        }
        let (sid, kid) = (facts.sid, facts.kid.clone());
        let reserved = self.shared.store.reserve(facts, self.now()).await.map_err(|refused| note(refused, record))?;
        // First of all, lest a replay that races with the original begins its SyncML session anew.
        let remembered = self.shared.store.remember_early(early.digest, early.issued, self.now()).await;
        remembered.map_err(|refused| note(refused, record))?;
        let admitted = self.admit(lane, Sender::Sealed { sid, kid: &kid }, message, record).await?;
        // From here on there is a sealed session, and everything is said sealed.
        let mut noted = None;
        let answer = self.forward_document(lane, admitted, &mut noted, record).await;
        self.answered(noted).await;
        let (answer, sealable) = self.sealable(lane, envelope, answer, record)?;
        record.end = answer.end;
        let sealed = init.reply(self.current.provider, sid, answer.end).seal_document(&sealable);
        let (body, keys) = sealed.map_err(|unfit| unfit_as(unfit, Reason::UpstreamInvalid, record))?;
        record.sealed(Layer::Data);
        if let Err(refused) = self.shared.store.begin(reserved, Arc::new(keys), answer.end, self.now()).await {
            // The message was forwarded: its answer is worth having, even if nothing can follow it.
            note(refused, record);
        }
        Ok(sealed_document(Ok(body), &answer))
    }

    /// Takes an opened document that is not too long, for an allowed target.
    fn read_document<'e>(
        &self,
        lane: &Lane,
        envelope: &'e Envelope,
        opened: OpenedDocument,
        record: &mut Record,
    ) -> Result<(Target<'e>, Bytes), Reason> {
        let bytes = opened.check().map_err(|unfit| unfit_as(unfit, Reason::Malformed, record))?;
        let target = Target::parse(envelope.target.as_bytes(), &lane.route.targets)?;
        record.message = Some(bytes.len());
        if bytes.len() > self.current.message_limit { Err(Reason::TooLarge) } else { Ok((target, bytes)) }
    }

    /// The answer as it will be sealed: the server's, or the refusal in its place. What the server answered and nobody
    /// can seal for certain is refused.
    ///
    /// # Errors
    /// The refusal cannot be sealed either; no request that was opened leads here.
    fn sealable(
        &self,
        lane: &Lane,
        envelope: &Envelope,
        answer: Result<Answer, Reason>,
        record: &mut Record,
    ) -> Result<(Answer, Sealable), Reason> {
        let read = |answer: &Answer| {
            let form = lane.form(answer.content_type.as_bytes()).unwrap_or(envelope.form);
            Sealable::new(form, answer.content_type.as_bytes(), answer.message.clone())
        };
        let reason = match answer {
            Ok(answer) => match read(&answer) {
                Ok(sealable) => return Ok((answer, sealable)),
                Err(unfit) => {
                    record.cause = Some(format!("the server's answer cannot be sealed: {unfit}"));
                    Reason::UpstreamInvalid
                }
            },
            Err(reason) => reason,
        };
        let to = (&envelope.heading, envelope.content_type.clone());
        let refusal = self.refusal_answer(lane, reason, Some(to), record);
        let sealable = read(&refusal).map_err(|unfit| unfit_as(unfit, reason, record))?;
        Ok((refusal, sealable))
    }
}

/// Whether a document says nothing yet, as a handshake does.
fn is_handshake(document: &Document<'_>) -> bool {
    let msg_id = document.header.msg_id.as_ref().map(|field| document.text(field));
    document.body.n_commands == 0 && document.body.is_final && msg_id.as_deref() == Some(b"0")
}

fn unfit_as(unfit: Unfit, reason: Reason, record: &mut Record) -> Reason {
    record.cause = Some(unfit.to_string());
    reason
}

/// A sealed document, to be stored and sent.
fn sealed_document(sealed: Result<Bytes, Unfit>, answer: &Answer) -> session::Response {
    match sealed {
        Ok(body) => session::Response { content_type: Bytes::copy_from_slice(answer.content_type.as_bytes()), body },
        // Nothing of what the sealer's check refused may leave.
        Err(unfit) => {
            error!(%unfit, "an answer could not be sealed; this is a fault of the gateway");
            let refusal = refuse::in_problem_details(Reason::UpstreamInvalid, &Reason::UpstreamInvalid.into());
            let content_type = Bytes::copy_from_slice(refusal.content_type.as_bytes());
            session::Response { content_type, body: refusal.message }
        }
    }
}

//! A seal of the message layer (PROTOCOL section 5), from top to bottom: its plaintext is the request.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::{Early, Exchange, Message, Step, may_come_early, note};
use super::record::{Decision, Record};
use super::refuse::Answer;
use super::service::Lane;
use crate::seal::{
    self, Direction, Encrypt0, Fields, HandshakePlaintext, InitHeader, Layer, NumberedHeader, OpenedInit, Reason,
    Request, SealedRequest, SessionKeys, Target,
};
use crate::session::{self, Sender, SessionFacts, SessionStore};
use crate::syncml::{Document, Form};

impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Answers a seal of the message layer.
    pub(super) async fn sealed(
        &self,
        lane: &Lane,
        source: IpAddr,
        body: BytesMut,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        match seal::decode_request(Layer::Message, body) {
            Ok(SealedRequest::Init(sealed)) => self.init(lane, source, sealed, record).await,
            Ok(SealedRequest::Numbered(sealed)) => self.numbered(lane, sealed, record).await,
            Err(malformed) => {
                record.cause = Some(malformed.to_string());
                Err(malformed.into())
            }
        }
    }

    /// Answers a request of a sealed session.
    async fn numbered(
        &self,
        lane: &Lane,
        sealed: Encrypt0<NumberedHeader>,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let (numbered, plaintext) = match self.open(lane, sealed, SessionKeys::open, record).await? {
            Step::Answered(response) => return Ok(response),
            Step::Taken(opened) => opened,
        };
        // It is read before its number is accepted, so that one step of the store can be about both. Whatever is wrong with
        // it is said after that.
        let read = self.read_request(lane, &plaintext, record).and_then(|(request, target, form)| {
            let document = self.scan(form, request.body, record)?;
            Ok((request, target, document))
        });
        let message = match &read {
            Ok((request, target, document)) => Ok(message_of(request, *target, &plaintext, document)),
            Err(reason) => Err(*reason),
        };
        let (accepted, admitted) = match self.accept(lane, &numbered, message, record).await? {
            Step::Answered(response) => return Ok(response),
            Step::Taken(accepted) => accepted,
        };
        let mut noted = None;
        let answer = match admitted {
            Ok(admitted) => self.deliver(lane, Layer::Message, admitted, &mut noted, record).await,
            Err(reason) => Err(reason),
        };
        let answer = match answer {
            Ok((inbound, end)) => {
                record.decision = Decision::Forwarded;
                Answer::from_server(inbound, end)
            }
            Err(reason) => {
                let heading =
                    read.as_ref().ok().map(|(request, _, document)| (document.heading(), content_type(request)));
                let to = heading.as_ref().map(|(heading, content_type)| (heading, content_type.clone()));
                self.refusal_answer(lane, reason, to, record)
            }
        };
        record.end = answer.end;
        let seal = |session: &session::Session<SessionKeys>, number| {
            sealed_bytes(session.keys.seal_response(number, answer.end, &answer.as_response(lane).plaintext()))
        };
        Ok(self.complete(accepted, noted, answer.end, seal, record).await)
    }

    /// Begins a sealed session (PROTOCOL sections 3.1, 3.5 and 8.1, step 3).
    async fn init(
        &self,
        lane: &Lane,
        source: IpAddr,
        sealed: Encrypt0<InitHeader>,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let (unwrapped, early, facts) = self.unwrap(lane, source, sealed, record).await?;
        let (opened, plaintext) = unwrapped.open().map_err(|_| Reason::CannotOpen)?;
        match early {
            None => self.handshake(facts, opened, &plaintext, record).await,
            Some(early) => self.early(lane, facts, early, opened, &plaintext, record).await,
        }
    }

    async fn handshake(
        &self,
        facts: SessionFacts,
        opened: OpenedInit,
        plaintext: &[u8],
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let empty = HandshakePlaintext::decode(plaintext)?;
        let sid = facts.sid;
        let reserved = self.shared.store.reserve(facts, self.now()).await.map_err(|refused| note(refused, record))?;
        let (body, keys) = opened.reply(self.current.provider, sid, false).seal(&empty.plaintext());
        let begun = self.shared.store.begin(reserved, Arc::new(keys), false, self.now()).await;
        begun.map_err(|refused| note(refused, record))?;
        record.decision = Decision::Handshake;
        Ok(sealed_bytes(body))
    }

    async fn early(
        &self,
        lane: &Lane,
        facts: SessionFacts,
        early: Early,
        opened: OpenedInit,
        plaintext: &Bytes,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let (request, target, form) = self.read_request(lane, plaintext, record)?;
        let document = self.scan(form, request.body, record)?;
        record.opened(facts.layer);
        if !may_come_early(&document) {
            record.cause = Some("this message may not come early".into());
            return Err(Reason::EarlyRefused);
        }
        let message = message_of(&request, target, plaintext, &document);
        let content_type = message.content_type.clone();
        let (sid, kid) = (facts.sid, facts.kid.clone());
        let reserved = self.shared.store.reserve(facts, self.now()).await.map_err(|refused| note(refused, record))?;
        // First of all, lest a replay that races with the original begins its SyncML session anew.
        let remembered = self.shared.store.remember_early(early.digest, early.issued, self.now()).await;
        remembered.map_err(|refused| note(refused, record))?;
        let admitted = self.admit(lane, Sender::Sealed { sid, kid: &kid }, message, record).await?;
        // From here on there is a sealed session, and everything is said sealed.
        let mut noted = None;
        let delivered = self.deliver(lane, Layer::Message, admitted, &mut noted, record).await;
        self.answered(noted).await;
        let answer = match delivered {
            Ok((inbound, end)) => {
                record.decision = Decision::Forwarded;
                Answer::from_server(inbound, end)
            }
            Err(reason) => self.refusal_answer(lane, reason, Some((&document.heading(), content_type)), record),
        };
        record.end = answer.end;
        record.sealed(Layer::Message);
        let reply = opened.reply(self.current.provider, sid, answer.end);
        let (body, keys) = reply.seal(&answer.as_response(lane).plaintext());
        if let Err(refused) = self.shared.store.begin(reserved, Arc::new(keys), answer.end, self.now()).await {
            // The message was forwarded: its answer is worth having, even if nothing can follow it.
            note(refused, record);
        }
        Ok(sealed_bytes(body))
    }

    /// Reads an opened plaintext as a request for an allowed target with a SyncML message that is not too long.
    fn read_request<'a>(
        &self,
        lane: &Lane,
        plaintext: &'a [u8],
        record: &mut Record,
    ) -> Result<(Request<'a>, Target<'a>, Form), Reason> {
        let request = Request::decode(plaintext, &lane.extras).map_err(|malformed| {
            record.cause = Some(malformed.to_string());
            Reason::from(malformed)
        })?;
        let target = Target::parse(request.target.as_bytes(), &lane.route.targets)?;
        record.message = Some(request.body.len());
        if request.body.len() > self.current.message_limit {
            return Err(Reason::TooLarge);
        }
        let form = lane.form(request.content_type.as_bytes()).ok_or(Reason::Malformed)?;
        Ok((request, target, form))
    }
}

fn message_of<'a>(
    request: &Request<'a>,
    target: Target<'a>,
    plaintext: &Bytes,
    document: &'a Document<'a>,
) -> Message<'a> {
    let mut fields = HeaderMap::new();
    for (name, value) in request.fields.iter() {
        // Both were checked when the plaintext was read; a value that http refuses all the same is not sent.
        if let (Ok(name), Ok(value)) = (HeaderName::from_lowercase(name.as_bytes()), HeaderValue::from_bytes(value)) {
            fields.append(name, value);
        }
    }
    Message { content_type: content_type(request), target, fields, bytes: plaintext.slice_ref(request.body), document }
}

fn content_type(request: &Request<'_>) -> HeaderValue {
    HeaderValue::from_str(request.content_type).unwrap_or(HeaderValue::from_static(""))
}

fn sealed_bytes(body: Bytes) -> session::Response {
    session::Response { content_type: Bytes::from_static(seal::CONTENT_TYPE.as_bytes()), body }
}

impl Answer {
    /// As the message layer carries it, with the fields that may travel.
    fn as_response<'a>(&'a self, lane: &Lane) -> seal::Response<'a> {
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        seal::Response {
            // A content type that is no text was refused when it came.
            content_type: self.content_type.to_str().unwrap_or_default(),
            status: self.status,
            fields: Fields::filter(Direction::S2c, &lane.extras, fields),
            body: &self.message,
        }
    }
}

//! One exchange from top to bottom (PROTOCOL section 8.1): an init request, a numbered request, or plaintext.
//!
//! Until a number is accepted, or an init request is, a refusal is said outside a seal; from then on everything is the
//! sealed response of that request, and there is exactly one.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, request};
use http_body_util::Full;

use super::Shared;
use super::forward::{Inbound, Outbound};
use super::record::{Decision, Record};
use super::refuse::{self, Answer};
use super::service::{Kind, Lane};
use crate::net::fields;
use crate::net::server::Peer;
use crate::policy::PlaintextPermit;
use crate::seal::{
    self, CheckedInit, Direction, Encrypt0, Fields, HandshakePlaintext, InitHeader, Layer, NumberedHeader, OpenedInit,
    Reason, Request, SealedRequest, SessionKeys, Sid, Target,
};
use crate::session::{
    self, Kid, Outcome, Pass, Probe, Refused, Sender, SessionFacts, SessionStore, SyncMessage, UnixTime, Waiter,
};
use crate::syncml::{Command, Document, Form, Limits};

/// A message from a terminal, read as far as SyncHdr and the names of its commands.
struct Message<'a> {
    content_type: HeaderValue,
    target: Target<'a>,
    fields: HeaderMap,
    bytes: Bytes,
    document: &'a Document<'a>,
}

/// A message that may be forwarded, for its SyncML session is its sender's.
struct Admitted<'a> {
    message: Message<'a>,
    asked: Option<Cow<'a, [u8]>>,
    /// None where the policy does not bind SyncML sessions.
    pass: Option<Pass>,
}

impl<S: SessionStore<Keys = SessionKeys>> Shared<S> {
    /// Answers a request whose body is there.
    pub(super) async fn exchange(
        &self,
        lane: &Lane,
        kind: Kind,
        parts: request::Parts,
        body: BytesMut,
        record: &mut Record,
    ) -> Response<Full<Bytes>> {
        // Without an address, as in tests over no socket, everybody is the same stranger.
        let peer = parts.extensions.get::<Peer>();
        let source = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        match kind {
            Kind::SyncMl(form, content_type) => {
                self.syncml(lane, source, form, content_type, parts, body.freeze(), record).await
            }
            Kind::Seal => match self.sealed(lane, source, body, record).await {
                Ok(response) => sealed_response(response),
                Err(reason) => self.refuse(lane, reason, record),
            },
        }
    }

    /// Refuses in problem details.
    pub(super) fn refuse(&self, lane: &Lane, reason: Reason, record: &mut Record) -> Response<Full<Bytes>> {
        record.refused(reason);
        refuse::problem_response(reason, &refuse::refusal(reason, &lane.accepts, &self.recipients))
    }

    /// What stands for the server's answer in a refusal.
    fn refusal_answer(
        &self,
        lane: &Lane,
        reason: Reason,
        to: Option<(&Document<'_>, HeaderValue)>,
        record: &mut Record,
    ) -> Answer {
        record.refused(reason);
        let refusal = refuse::refusal(reason, &lane.accepts, &self.recipients);
        match to {
            Some((document, content_type)) => refuse::in_syncml(reason, &refusal, document, content_type),
            None => refuse::in_problem_details(reason, &refusal),
        }
    }

    fn now(&self) -> UnixTime {
        self.surroundings.time.now()
    }
}

/// The HTTP response that carries a sealed one.
fn sealed_response(response: session::Response) -> Response<Full<Bytes>> {
    let mut http = Response::new(Full::new(response.body));
    let content_type = HeaderValue::from_maybe_shared(response.content_type);
    http.headers_mut().insert(CONTENT_TYPE, content_type.unwrap_or(SEALED));
    http.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    http
}

const SEALED: HeaderValue = HeaderValue::from_static(seal::CONTENT_TYPE);

/// Plaintext.
impl<S: SessionStore<Keys = SessionKeys>> Shared<S> {
    /// Answers a SyncML document that came as such.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the one request")]
    async fn syncml(
        &self,
        lane: &Lane,
        source: IpAddr,
        form: Form,
        content_type: HeaderValue,
        parts: request::Parts,
        body: Bytes,
        record: &mut Record,
    ) -> Response<Full<Bytes>> {
        if body.len() > self.message_limit {
            return self.refuse(lane, Reason::TooLarge, record);
        }
        let document = match Document::scan(form, &body, &Limits::default()) {
            Ok(document) => document,
            Err(error) => {
                record.cause = Some(error.to_string());
                return self.refuse(lane, Reason::Malformed, record);
            }
        };
        self.identify(&document, record);
        record.message = Some(body.len());
        let permit = match document.header.seal_marks {
            0 => lane.route.permit_plaintext().ok_or(Reason::EncryptionRequired),
            1 => Err(Reason::LayerUnsupported),
            _ => Err(Reason::Malformed),
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes();
        let target = Target::parse(target, &lane.route.targets).map_err(Reason::from);
        let answer = match permit.and_then(|permit| Ok((permit, target?))) {
            Ok((permit, target)) => {
                let mut fields = parts.headers;
                fields::strip_hop_by_hop(&mut fields);
                for name in [CONTENT_TYPE, CONTENT_LENGTH, EXPECT, HOST] {
                    fields.remove(name);
                }
                let content_type = content_type.clone();
                let message = Message { content_type, target, fields, bytes: body.clone(), document: &document };
                self.plaintext(lane, source, message, permit, record).await
            }
            Err(reason) => Err(reason),
        };
        match answer {
            Ok(inbound) => {
                record.decision = Decision::Plaintext;
                let mut response = Response::new(Full::new(inbound.message));
                *response.status_mut() = StatusCode::from_u16(inbound.status).unwrap_or(StatusCode::BAD_GATEWAY);
                *response.headers_mut() = inbound.fields;
                response.headers_mut().remove(CONTENT_LENGTH);
                response.headers_mut().insert(CONTENT_TYPE, inbound.content_type);
                response
            }
            Err(reason) => {
                refuse::syncml_response(self.refusal_answer(lane, reason, Some((&document, content_type)), record))
            }
        }
    }

    /// Forwards plaintext, which takes the policy's permit.
    async fn plaintext(
        &self,
        lane: &Lane,
        source: IpAddr,
        message: Message<'_>,
        _permit: PlaintextPermit,
        record: &mut Record,
    ) -> Result<Inbound, Reason> {
        let admitted = self.admit(lane, Sender::Plaintext { source }, message).await?;
        let (inbound, _) = self.deliver(lane, admitted, record).await?;
        Ok(inbound)
    }
}

/// Seals.
impl<S: SessionStore<Keys = SessionKeys>> Shared<S> {
    /// Answers a seal of the message layer.
    async fn sealed(
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

    /// Answers a request of a sealed session (PROTOCOL sections 3.4 and 8.1, step 4).
    async fn numbered(
        &self,
        lane: &Lane,
        sealed: Encrypt0<NumberedHeader>,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let NumberedHeader { sid, number, .. } = *sealed.header();
        (record.sid, record.number) = (Some(sid), Some(number));
        let now = self.now();
        let session = self.store.find(sid, now).await.map_err(Refused::reason)?;
        if session.facts.route != lane.name {
            // It lives on another route; here nobody knows it.
            return Err(Reason::SessionUnknown);
        }
        session.keys.belongs(&sealed)?;
        let digest = sealed.digest(self.provider);
        match self.store.probe(sid, number, digest, now).await.map_err(Refused::reason)? {
            Probe::Higher => {}
            Probe::Repeat(response) => return Ok(repeated(response, record)),
            Probe::Wait(waiter) => return awaited(waiter, record).await,
        }
        let plaintext = session.keys.open(sealed)?;
        let accepted = match self.store.accept(sid, number, digest, self.now()).await.map_err(Refused::reason)? {
            Outcome::Accepted(accepted) => accepted,
            Outcome::Repeat(response) => return Ok(repeated(response, record)),
            Outcome::Wait(waiter) => return awaited(waiter, record).await,
        };
        let sender = Sender::Sealed { sid, kid: &session.facts.kid };
        let answer = self.opened(lane, sender, &plaintext, record).await;
        record.end = answer.end;
        let response = self
            .store
            .complete(accepted, answer.end, self.now(), |session, number| {
                sealed_bytes(session.keys.seal_response(number, answer.end, &answer.as_response(lane).plaintext()))
            })
            .await;
        Ok(response)
    }

    /// The answer to the opened plaintext of a numbered request, whatever it is.
    async fn opened(&self, lane: &Lane, sender: Sender<'_>, plaintext: &Bytes, record: &mut Record) -> Answer {
        let (request, target, form) = match self.read_request(lane, plaintext, record) {
            Ok(read) => read,
            Err(reason) => return self.refusal_answer(lane, reason, None, record),
        };
        let document = match self.scan(form, request.body, record) {
            Ok(document) => document,
            Err(reason) => return self.refusal_answer(lane, reason, None, record),
        };
        let message = message_of(&request, target, plaintext, &document);
        let content_type = message.content_type.clone();
        let answer = match self.admit(lane, sender, message).await {
            Ok(admitted) => self.deliver(lane, admitted, record).await,
            Err(reason) => Err(reason),
        };
        match answer {
            Ok((inbound, end)) => {
                record.decision = Decision::Forwarded;
                Answer::from_server(inbound, end)
            }
            Err(reason) => self.refusal_answer(lane, reason, Some((&document, content_type)), record),
        }
    }

    /// Begins a sealed session (PROTOCOL sections 3.1, 3.5 and 8.1, step 3).
    async fn init(
        &self,
        lane: &Lane,
        source: IpAddr,
        sealed: Encrypt0<InitHeader>,
        record: &mut Record,
    ) -> Result<session::Response, Reason> {
        let checked = sealed.check(self.provider, &lane.accepts, &self.recipients)?;
        let early = self.check_time(&checked, record).await?;
        let kid = Kid::Rsa(checked.key_id());
        let (provider, random) = (self.provider, Arc::clone(&self.surroundings.random));
        let unwrapped = self.unwrapping.run(move || checked.unwrap_key(provider, &*random)).await?;
        let (opened, plaintext) = unwrapped.map_err(|_| Reason::Overloaded)?.open().map_err(|_| Reason::CannotOpen)?;
        let mut sid = Sid([0; 16]);
        self.surroundings.random.fill(&mut sid.0).map_err(|_| Reason::Overloaded)?;
        record.sid = Some(sid);
        let facts = SessionFacts { sid, layer: Layer::Message, route: Arc::clone(&lane.name), kid, source };
        match early {
            None => self.handshake(facts, opened, &plaintext, record).await,
            Some(early) => self.early(lane, facts, early, opened, &plaintext, record).await,
        }
    }

    /// Whether an early message may come now; nothing is remembered yet.
    async fn check_time(&self, checked: &CheckedInit, record: &mut Record) -> Result<Option<Early>, Reason> {
        let Some(issued) = checked.issued().map(UnixTime) else { return Ok(None) };
        if !self.early {
            record.cause = Some("policy takes no early messages".into());
            return Err(Reason::EarlyRefused);
        }
        let digest = checked.header_digest(self.provider);
        let note = |refused: Refused| {
            record.cause = Some(refused.to_string());
            refused.reason()
        };
        self.store.probe_early(digest, issued, self.now()).await.map_err(note)?;
        Ok(Some(Early { digest, issued }))
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
        let reserved = self.store.reserve(facts, self.now()).await.map_err(|refused| note(refused, record))?;
        let (body, keys) = opened.reply(self.provider, sid, false).seal(&empty.plaintext());
        self.store.begin(reserved, Arc::new(keys), false, self.now()).await;
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
        if !may_come_early(&document) {
            record.cause = Some("this message may not come early".into());
            return Err(Reason::EarlyRefused);
        }
        let message = message_of(&request, target, plaintext, &document);
        let content_type = message.content_type.clone();
        let (sid, kid) = (facts.sid, facts.kid.clone());
        let reserved = self.store.reserve(facts, self.now()).await.map_err(|refused| note(refused, record))?;
        // First of all, lest a replay that races with the original begins its SyncML session anew.
        let remembered = self.store.remember_early(early.digest, early.issued, self.now()).await;
        remembered.map_err(|refused| note(refused, record))?;
        let admitted = self.admit(lane, Sender::Sealed { sid, kid: &kid }, message).await?;
        // From here on there is a sealed session, and everything is said sealed.
        let answer = match self.deliver(lane, admitted, record).await {
            Ok((inbound, end)) => {
                record.decision = Decision::Forwarded;
                Answer::from_server(inbound, end)
            }
            Err(reason) => self.refusal_answer(lane, reason, Some((&document, content_type)), record),
        };
        record.end = answer.end;
        let reply = opened.reply(self.provider, sid, answer.end);
        let (body, keys) = reply.seal(&answer.as_response(lane).plaintext());
        self.store.begin(reserved, Arc::new(keys), answer.end, self.now()).await;
        Ok(sealed_bytes(body))
    }
}

/// What is known of an early message before it opens.
struct Early {
    digest: session::Digest,
    issued: UnixTime,
}

/// A stored answer, given again.
fn repeated(response: session::Response, record: &mut Record) -> session::Response {
    record.decision = Decision::Repeated;
    response
}

/// The answer to the request that this one repeats.
async fn awaited(waiter: Waiter, record: &mut Record) -> Result<session::Response, Reason> {
    let response = waiter.response().await.map_err(|refused| note(refused, record))?;
    Ok(repeated(response, record))
}

fn note(refused: Refused, record: &mut Record) -> Reason {
    record.cause = Some(refused.to_string());
    refused.reason()
}

fn sealed_bytes(body: Bytes) -> session::Response {
    session::Response { content_type: Bytes::from_static(seal::CONTENT_TYPE.as_bytes()), body }
}

/// What an early message may hold (PROTOCOL section 3.5): nothing that changes data, and the beginning of a session.
fn may_come_early(document: &Document<'_>) -> bool {
    let harmless =
        |command| matches!(command, Command::Alert | Command::Get | Command::Put | Command::Results | Command::Status);
    let msg_id = document.header.msg_id.as_ref().map(|field| document.text(field));
    document.body.commands.iter().all(harmless) && msg_id.as_deref() == Some(b"1")
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
    Message {
        content_type: HeaderValue::from_str(request.content_type).unwrap_or(HeaderValue::from_static("")),
        target,
        fields,
        bytes: plaintext.slice_ref(request.body),
        document,
    }
}

/// What all kinds have in common.
impl<S: SessionStore<Keys = SessionKeys>> Shared<S> {
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
        if request.body.len() > self.message_limit {
            return Err(Reason::TooLarge);
        }
        let form = lane.form(request.content_type.as_bytes()).ok_or(Reason::Malformed)?;
        Ok((request, target, form))
    }

    fn scan<'a>(&self, form: Form, body: &'a [u8], record: &mut Record) -> Result<Document<'a>, Reason> {
        let document = Document::scan(form, body, &Limits::default()).map_err(|error| {
            record.cause = Some(error.to_string());
            Reason::Malformed
        })?;
        self.identify(&document, record);
        Ok(document)
    }

    fn identify(&self, document: &Document<'_>, record: &mut Record) {
        let source = document.header.source.as_ref().map(|field| document.text(field));
        record.device = source.map(|source| self.device_key.device(self.provider, &source));
    }

    /// Whether a message may go to the server: its SyncML session is its sender's.
    async fn admit<'a>(&self, lane: &Lane, sender: Sender<'_>, message: Message<'a>) -> Result<Admitted<'a>, Reason> {
        let document = message.document;
        let text = |field: &Option<_>| field.as_ref().map(|field| document.text(field));
        let header = &document.header;
        let pass = if lane.route.bind_sessions {
            // What the server may read differently could pass for another's here, and be the owner's there.
            let names = [&header.source, &header.session_id, &header.msg_id].into_iter().flatten();
            if !names.into_iter().all(|field| document.is_unambiguous(field)) {
                return Err(Reason::Malformed);
            }
            let facts = SyncMessage {
                route: &lane.name,
                source: &text(&header.source).unwrap_or_default(),
                session_id: &text(&header.session_id).unwrap_or_default(),
                msg_id: &text(&header.msg_id).unwrap_or_default(),
                has_cred: header.has_cred,
                target: message.target.as_str().as_bytes(),
            };
            Some(self.store.check_binding(facts, sender, self.now()).await.map_err(Refused::reason)?)
        } else {
            None
        };
        Ok(Admitted { asked: text(&header.target), pass, message })
    }

    /// Sends an admitted message to the server; with its answer comes whether the SyncML session is complete.
    async fn deliver(
        &self,
        lane: &Lane,
        admitted: Admitted<'_>,
        record: &mut Record,
    ) -> Result<(Inbound, bool), Reason> {
        let Admitted { message, asked, pass } = admitted;
        let Message { content_type, target, fields, bytes, document: request, .. } = message;
        let outbound = Outbound { target, content_type, fields, message: bytes, asked: asked.as_deref() };
        let inbound = lane.upstream.send(outbound, record).await?;
        let Some(form) = lane.form(inbound.content_type.as_bytes()) else {
            // An error page, for instance: it says nothing of the SyncML session.
            return Ok((inbound, false));
        };
        let bytes = inbound.message.clone();
        let document = Document::scan(form, &bytes, &Limits::default()).map_err(|error| {
            record.cause = Some(format!("the server's answer cannot be read: {error}"));
            Reason::UpstreamInvalid
        })?;
        let body = &document.body;
        if let Some(pass) = pass {
            let resp_uri = document.header.resp_uri.as_ref().map(|field| document.text(field));
            let resp_target = resp_uri.as_deref().and_then(seal::resp_uri::target).map(str::as_bytes);
            let answer = session::Answer { hdr_status: body.hdr_status, resp_target };
            self.store.answered(pass, answer, self.now()).await;
        }
        let end = request.body.is_final
            && body.is_final
            && body.holds_only_status()
            && !body.has_chal
            && body.hdr_status.is_some_and(|status| (200..300).contains(&status));
        let inbound = lane.upstream.rewrite(inbound, &document, asked.as_deref(), record)?;
        Ok((inbound, end))
    }
}

impl Answer {
    fn from_server(inbound: Inbound, end: bool) -> Self {
        let Inbound { status, content_type, fields, message } = inbound;
        Self { status, content_type, fields, message, end }
    }

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

//! One exchange from top to bottom (PROTOCOL section 8.1): an init request, a numbered request, or plaintext.
//!
//! Until a number is accepted, or an init request is, a refusal is said outside a seal; from then on everything is the
//! sealed response of that request, and there is exactly one.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Response, StatusCode, request};
use http_body_util::Full;

use super::Shared;
use super::current::Current;
use super::document::Envelope;
use super::forward::{Inbound, Outbound};
use super::record::{Decision, Record};
use super::refuse::{self, Answer};
use super::service::{Kind, Lane};
use crate::net::fields;
use crate::net::server::Peer;
use crate::policy::{PlaintextPermit, Subject};
use crate::seal::{
    self, CheckedInit, Encrypt0, InitHeader, Layer, Number, NumberedHeader, Reason, SessionKeys, Sid, Target,
    UnwrappedInit,
};
use crate::session::{
    self, Kid, Outcome, Probe, Refused, Sender, SessionFacts, SessionStore, SyncMessage, UnixTime, Waiter,
};
use crate::syncml::{Command, Document, Form, Heading, Limits};

/// A message from a terminal, read as far as SyncHdr and the names of its commands.
pub(super) struct Message<'a> {
    pub(super) content_type: HeaderValue,
    pub(super) target: Target<'a>,
    pub(super) fields: HeaderMap,
    pub(super) bytes: Bytes,
    pub(super) document: &'a Document<'a>,
}

/// By what the SyncML session of a message is known, decoded.
struct Names<'a> {
    source: Cow<'a, [u8]>,
    session_id: Cow<'a, [u8]>,
    msg_id: Cow<'a, [u8]>,
}

impl Names<'_> {
    fn facts<'f>(&'f self, lane: &'f Lane, message: &'f Message<'_>) -> SyncMessage<'f> {
        SyncMessage {
            route: &lane.name,
            source: &self.source,
            session_id: &self.session_id,
            msg_id: &self.msg_id,
            has_cred: message.document.header.has_cred,
            target: message.target.as_str().as_bytes(),
        }
    }
}

/// One exchange: the gateway, and the policy that was current when it began, which it keeps to its end.
pub(super) struct Exchange<S> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) current: Arc<Current>,
}

/// A message that may be forwarded, for its SyncML session is its sender's.
pub(super) struct Admitted<'a, P> {
    message: Message<'a>,
    /// None where the policy does not bind SyncML sessions.
    pass: Option<P>,
}

impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// An exchange under the policy of this moment.
    pub(super) fn begin(shared: &Arc<Shared<S>>) -> Self {
        Self { shared: Arc::clone(shared), current: shared.current.load_full() }
    }

    /// Answers a request whose body is there.
    pub(super) async fn answer(
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
        refuse::problem_response(reason, &refuse::refusal(reason, &lane.accepts, self.current.keyring.at(self.now())))
    }

    /// What stands for the server's answer in a refusal.
    pub(super) fn refusal_answer(
        &self,
        lane: &Lane,
        reason: Reason,
        to: Option<(&Heading, HeaderValue)>,
        record: &mut Record,
    ) -> Answer {
        record.refused(reason);
        let refusal = refuse::refusal(reason, &lane.accepts, self.current.keyring.at(self.now()));
        match to {
            Some((heading, content_type)) => refuse::in_syncml(reason, &refusal, heading, content_type),
            None => refuse::in_problem_details(reason, &refusal),
        }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.shared.surroundings.time.now()
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

/// Documents.
impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Answers a SyncML document that came as such: one that is sealed, or plaintext.
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
        let is_too_large = body.len() > self.current.message_limit;
        let document = match Document::scan(form, &body, &Limits::default()) {
            // The limit is about what is in a seal.
            Ok(document) if !is_too_large || document.header.seal_marks > 0 => document,
            Err(error) if !is_too_large => {
                record.cause = Some(error.to_string());
                return self.refuse(lane, Reason::Malformed, record);
            }
            Ok(_) | Err(_) => return self.refuse(lane, Reason::TooLarge, record),
        };
        self.identify(&document, record);
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        if document.header.seal_marks == 1 {
            let (target, heading) = (target.to_owned(), document.heading());
            let envelope = Envelope { source, form, content_type, target, headers: parts.headers, heading };
            return match self.document(lane, &envelope, body.into(), record).await {
                Ok(response) => sealed_response(response),
                Err(reason) => {
                    let to = Some((&envelope.heading, envelope.content_type.clone()));
                    refuse::syncml_response(self.refusal_answer(lane, reason, to, record))
                }
            };
        }
        record.message = Some(body.len());
        let permit = match document.header.seal_marks {
            0 => {
                let device = device(&document);
                let subject =
                    Subject { route: &lane.route.path, device: device.as_deref(), address: source, now: self.now() };
                let decision = self.current.rules.decide(&subject);
                record.rule = Some(decision.rule().name.clone());
                decision.permit().ok_or(Reason::EncryptionRequired)
            }
            _ => Err(Reason::Malformed),
        };
        let target = Target::parse(target.as_bytes(), &lane.route.targets).map_err(Reason::from);
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
                let to = Some((&document.heading(), content_type));
                refuse::syncml_response(self.refusal_answer(lane, reason, to, record))
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
        let admitted = self.admit(lane, Sender::Plaintext { source }, message, record).await?;
        let mut noted = None;
        let delivered = self.deliver(lane, Layer::Message, admitted, &mut noted, record).await;
        self.answered(noted).await;
        delivered.map(|(inbound, _)| inbound)
    }
}

/// The device that a document names as its source, if every peer reads the same name.
fn device<'d>(document: &'d Document<'_>) -> Option<Cow<'d, [u8]>> {
    let source = document.header.source.as_ref()?;
    document.is_unambiguous(source).then(|| document.text(source))
}

/// Seals of either layer, as far as they are the same.
impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Opens a request of a sealed session (PROTOCOL sections 3.4 and 8.1, step 4): finds the session, and tells
    /// repetitions. Nothing is recorded yet.
    pub(super) async fn open<T: Send>(
        &self,
        lane: &Lane,
        sealed: Encrypt0<NumberedHeader>,
        open: impl FnOnce(&SessionKeys, Encrypt0<NumberedHeader>) -> Result<T, Reason> + Send,
        record: &mut Record,
    ) -> Result<Step<(Numbered, T)>, Reason> {
        let NumberedHeader { sid, number, .. } = *sealed.header();
        (record.sid, record.number) = (Some(sid), Some(number));
        let now = self.now();
        let session = self.shared.store.find(sid, now).await.map_err(|refused| note(refused, record))?;
        if session.facts.route != lane.name {
            // It lives on another route; here nobody knows it.
            return Err(Reason::SessionUnknown);
        }
        if !self.current.keyring.at(now).upholds(&session.facts.kid) {
            record.cause = Some("the secret of this session is gone or has expired".into());
            return Err(Reason::SessionUnknown);
        }
        session.keys.belongs(&sealed)?;
        let digest = sealed.digest(self.current.provider);
        match self.shared.store.probe(sid, number, digest, now).await.map_err(|refused| note(refused, record))? {
            Probe::Higher => {}
            Probe::Repeat(response) => return Ok(Step::Answered(repeated(response, record))),
            Probe::Wait(waiter) => return awaited(waiter, record).await.map(Step::Answered),
        }
        let opened = open(&session.keys, sealed)?;
        Ok(Step::Taken((Numbered { session, number, digest }, opened)))
    }

    /// Records the number of a request that opened, and judges the message that was in it, if there is one.
    pub(super) async fn accept<'a>(
        &self,
        lane: &Lane,
        numbered: &Numbered,
        message: Result<Message<'a>, Reason>,
        record: &mut Record,
    ) -> Result<Step<(S::Accepted, Result<Admitted<'a, S::Pass>, Reason>)>, Reason> {
        let Numbered { session, number, digest } = numbered;
        let SessionFacts { sid, kid, .. } = &session.facts;
        let named = message.and_then(|message| {
            let names = self.names(lane, Some(kid), &message, record)?;
            Ok((message, names))
        });
        let now = self.now();
        let outcome = match &named {
            Ok((message, Some(names))) => {
                let facts = names.facts(lane, message);
                let outcome = self.shared.store.accept_message(*sid, *number, *digest, facts, kid, now).await;
                outcome.map(|outcome| outcome.map(|(accepted, pass)| (accepted, Some(pass))))
            }
            _ => {
                let outcome = self.shared.store.accept(*sid, *number, *digest, now).await;
                outcome.map(|outcome| outcome.map(|accepted| (accepted, None)))
            }
        };
        let (accepted, pass) = match outcome.map_err(|refused| note(refused, record))? {
            Outcome::Accepted(accepted) => accepted,
            Outcome::Repeat(response) => return Ok(Step::Answered(repeated(response, record))),
            Outcome::Wait(waiter) => return awaited(waiter, record).await.map(Step::Answered),
        };
        let admitted = named.and_then(|(message, _)| {
            let pass = pass.transpose().map_err(|refused| note(refused, record))?;
            Ok(Admitted { message, pass })
        });
        Ok(Step::Taken((accepted, admitted)))
    }

    /// Answers an accepted request, and tells the store what the server's answer said of its SyncML session.
    pub(super) async fn complete(
        &self,
        accepted: S::Accepted,
        noted: Option<Noted<S::Pass>>,
        end: bool,
        seal: impl FnOnce(&session::Session<SessionKeys>, Number) -> session::Response + Send,
    ) -> session::Response {
        let now = self.now();
        match noted {
            Some(Noted { pass, hdr_status, resp_target }) => {
                let resp_target = resp_target.as_deref().map(str::as_bytes);
                let answer = session::Answer { hdr_status, resp_target };
                self.shared.store.complete_message(accepted, pass, answer, end, now, seal).await
            }
            None => self.shared.store.complete(accepted, end, now, seal).await,
        }
    }

    /// Tells the store what the server's answer said, where no accepted request is completed with it.
    pub(super) async fn answered(&self, noted: Option<Noted<S::Pass>>) {
        let Some(Noted { pass, hdr_status, resp_target }) = noted else { return };
        let resp_target = resp_target.as_deref().map(str::as_bytes);
        self.shared.store.answered(pass, session::Answer { hdr_status, resp_target }, self.now()).await;
    }

    /// Checks an init request and unwraps its session key (PROTOCOL section 8.1, step 3).
    pub(super) async fn unwrap(
        &self,
        lane: &Lane,
        source: IpAddr,
        sealed: Encrypt0<InitHeader>,
        record: &mut Record,
    ) -> Result<(UnwrappedInit, Option<Early>, SessionFacts), Reason> {
        let layer = sealed.layer();
        let checked = sealed.check(self.current.provider, &lane.accepts, self.current.keyring.at(self.now()))?;
        let early = self.check_time(&checked, record).await?;
        let kid = checked.kid().clone();
        record.recipient = Some(match &kid {
            Kid::Rsa(id) => id.to_string(),
            Kid::Secret(_) => "secret".to_owned(),
        });
        let (provider, random) = (self.current.provider, Arc::clone(&self.shared.surroundings.random));
        let unwrapped = self.shared.unwrapping.run(move || checked.unwrap_key(provider, &*random)).await?;
        let unwrapped = unwrapped.map_err(|_| Reason::Overloaded)?;
        let mut sid = Sid([0; 16]);
        self.shared.surroundings.random.fill(&mut sid.0).map_err(|_| Reason::Overloaded)?;
        record.sid = Some(sid);
        Ok((unwrapped, early, SessionFacts { sid, layer, route: Arc::clone(&lane.name), kid, source }))
    }

    /// Whether an early message may come now; nothing is remembered yet.
    async fn check_time(&self, checked: &CheckedInit, record: &mut Record) -> Result<Option<Early>, Reason> {
        let Some(issued) = checked.issued().map(UnixTime) else { return Ok(None) };
        if !self.current.early {
            record.cause = Some("policy takes no early messages".into());
            return Err(Reason::EarlyRefused);
        }
        let digest = checked.header_digest(self.current.provider);
        let note = |refused: Refused| {
            record.cause = Some(refused.to_string());
            refused.reason()
        };
        self.shared.store.probe_early(digest, issued, self.now()).await.map_err(note)?;
        Ok(Some(Early { digest, issued }))
    }
}

/// How far a numbered request came.
pub(super) enum Step<T> {
    /// It was a repetition, and this is its answer.
    Answered(session::Response),
    /// It goes on with this.
    Taken(T),
}

/// A numbered request that opened.
pub(super) struct Numbered {
    pub(super) session: Arc<session::Session<SessionKeys>>,
    number: Number,
    digest: session::Digest,
}

/// What the server's answer says of the SyncML session of a message that went through.
pub(super) struct Noted<P> {
    pass: P,
    hdr_status: Option<u16>,
    resp_target: Option<String>,
}

/// What is known of an early message before it opens.
pub(super) struct Early {
    pub(super) digest: session::Digest,
    pub(super) issued: UnixTime,
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

pub(super) fn note(refused: Refused, record: &mut Record) -> Reason {
    record.cause = Some(refused.to_string());
    refused.reason()
}

/// What an early message may hold (PROTOCOL section 3.5): nothing that changes data, and the beginning of a session.
pub(super) fn may_come_early(document: &Document<'_>) -> bool {
    let harmless =
        |command| matches!(command, Command::Alert | Command::Get | Command::Put | Command::Results | Command::Status);
    let msg_id = document.header.msg_id.as_ref().map(|field| document.text(field));
    document.body.commands.iter().all(harmless) && msg_id.as_deref() == Some(b"1")
}

/// What all kinds have in common.
impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    pub(super) fn scan<'a>(&self, form: Form, body: &'a [u8], record: &mut Record) -> Result<Document<'a>, Reason> {
        let document = Document::scan(form, body, &Limits::default()).map_err(|error| {
            record.cause = Some(error.to_string());
            Reason::Malformed
        })?;
        self.identify(&document, record);
        Ok(document)
    }

    fn identify(&self, document: &Document<'_>, record: &mut Record) {
        let source = document.header.source.as_ref().map(|field| document.text(field));
        record.device = source.map(|source| self.shared.device_key.device(self.current.provider, &source));
    }

    /// Whether a message may go to the server: its SyncML session is its sender's.
    pub(super) async fn admit<'a>(
        &self,
        lane: &Lane,
        sender: Sender<'_>,
        message: Message<'a>,
        record: &mut Record,
    ) -> Result<Admitted<'a, S::Pass>, Reason> {
        let kid = match sender {
            Sender::Sealed { kid, .. } => Some(kid),
            Sender::Plaintext { .. } => None,
        };
        let pass = match self.names(lane, kid, &message, record)? {
            Some(names) => {
                let facts = names.facts(lane, &message);
                let pass = self.shared.store.check_binding(facts, sender, self.now()).await;
                Some(pass.map_err(|refused| note(refused, record))?)
            }
            None => None,
        };
        Ok(Admitted { message, pass })
    }

    /// By what a message's SyncML session is known; `None` where the policy does not bind SyncML sessions.
    fn names<'a>(
        &self,
        lane: &Lane,
        kid: Option<&Kid>,
        message: &Message<'a>,
        record: &mut Record,
    ) -> Result<Option<Names<'a>>, Reason> {
        let document = message.document;
        if let Some(kid) = kid {
            self.check_device(kid, document, record)?;
        }
        if !lane.route.bind_sessions {
            return Ok(None);
        }
        let header = &document.header;
        // What the server may read differently could pass for another's here, and be the owner's there.
        let names = [&header.source, &header.session_id, &header.msg_id].into_iter().flatten();
        if !names.into_iter().all(|field| document.is_unambiguous(field)) {
            return Err(Reason::Malformed);
        }
        let text = |field: &Option<_>| field.as_ref().map(|field| document.text(field)).unwrap_or_default();
        let (source, session_id, msg_id) = (text(&header.source), text(&header.session_id), text(&header.msg_id));
        Ok(Some(Names { source, session_id, msg_id }))
    }

    /// Whether a terminal may speak for the device that its message names as its source.
    fn check_device(&self, kid: &Kid, document: &Document<'_>, record: &mut Record) -> Result<(), Reason> {
        let source = document.header.source.as_ref();
        if self.current.keyring.admits(kid, &source.map(|source| document.text(source)).unwrap_or_default()) {
            return Ok(());
        }
        record.cause = Some("the terminal's secret is not for this device".into());
        Err(Reason::SessionBound)
    }

    /// Sends an admitted message to the server; with its answer comes whether the SyncML session is complete. What it says
    /// of that is to be told the store: it is in `noted`, even if the answer cannot be passed on.
    pub(super) async fn deliver(
        &self,
        lane: &Lane,
        layer: Layer,
        admitted: Admitted<'_, S::Pass>,
        noted: &mut Option<Noted<S::Pass>>,
        record: &mut Record,
    ) -> Result<(Inbound, bool), Reason> {
        let Admitted { message, pass } = admitted;
        let Message { content_type, target, fields, bytes, document: request, .. } = message;
        let asked = request.header.target.as_ref().map(|field| request.text(field));
        let outbound = Outbound { target, content_type, fields, message: bytes, asked: asked.as_deref() };
        let inbound = lane.upstream.send(outbound, record).await?;
        let form = lane.form(inbound.content_type.as_bytes());
        if layer == Layer::Data && (form.is_none() || inbound.status != 200) {
            record.cause = Some("the server's answer is not SyncML with HTTP status 200".into());
            return Err(Reason::UpstreamInvalid);
        }
        let Some(form) = form else {
            // An error page, for instance: it says nothing of the SyncML session.
            return Ok((inbound, false));
        };
        let bytes = inbound.message.clone();
        let document = Document::scan(form, &bytes, &Limits::default()).map_err(|error| {
            record.cause = Some(format!("the server's answer cannot be read: {error}"));
            Reason::UpstreamInvalid
        })?;
        let body = &document.body;
        *noted = pass.map(|pass| {
            let resp_uri = document.header.resp_uri.as_ref().map(|field| document.text(field));
            let resp_target = resp_uri.as_deref().and_then(seal::resp_uri::target).map(str::to_owned);
            Noted { pass, hdr_status: body.hdr_status, resp_target }
        });
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
    pub(super) fn from_server(inbound: Inbound, end: bool) -> Self {
        let Inbound { status, content_type, fields, message } = inbound;
        Self { status, content_type, fields, message, end }
    }
}

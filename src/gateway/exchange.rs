//! One exchange from top to bottom (PROTOCOL section 8.1): an init request, a numbered request, or plaintext.
//!
//! Until a number is accepted, or an init request is, a refusal is said outside a seal; from then on everything is the
//! sealed response of that request, and there is exactly one.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, request};
use http_body_util::Full;

use super::Shared;
use super::current::Current;
use super::devices::{Sighting, Speech};
use super::forward::{Inbound, Outbound};
use super::ladder::{self, Kind};
use super::metrics::{Group, Limit, Stage, Transport};
use super::observe::Observed;
use super::record::{Decision, Record};
use super::refuse::{self, Answer};
use super::service::{Incoming, Lane, address};
use crate::admin::series::Label;
use crate::crypto::KeyTransport;
use crate::seal::{
    self, CheckedInit, Encrypt0, InitHeader, Layer, Number, NumberedHeader, Reason, SessionKeys, Sid, Target,
    UnwrappedInit, VersionedInit,
};
use crate::session::{
    self, Kid, Outcome, Probe, Refused, Sender, SessionFacts, SessionStore, SyncMessage, UnixTime, Waiter,
};
use crate::syncml::{self, Command, Document, Form, Heading};

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
        incoming: Incoming,
        parts: request::Parts,
        body: BytesMut,
        record: &mut Record,
    ) -> Response<Full<Bytes>> {
        let source = address(&parts.extensions);
        match incoming {
            Incoming::Known(Kind::SyncMl(form, content_type)) => {
                self.syncml(lane, source, form, content_type, parts, body.freeze(), record).await
            }
            Incoming::Known(Kind::Seal) => match self.sealed(lane, source, body, record).await {
                Ok(response) => sealed_response(response),
                Err(reason) => self.refuse(lane, reason, record),
            },
            Incoming::Foreign(permit, objection) => {
                let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
                let target = match Target::parse(target.as_bytes(), &ladder::ANYWHERE) {
                    Ok(target) => target,
                    Err(malformed) => return self.refuse(lane, malformed.into(), record),
                };
                let observed = Observed { source, target, parts: &parts, body: &body.freeze(), document: None };
                self.observe(lane, observed, objection, permit, record).await
            }
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
pub(super) fn sealed_response(response: session::Response) -> Response<Full<Bytes>> {
    let mut http = Response::new(Full::new(response.body));
    let content_type = HeaderValue::from_maybe_shared(response.content_type);
    http.headers_mut().insert(CONTENT_TYPE, content_type.unwrap_or(SEALED));
    http.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    http
}

const SEALED: HeaderValue = HeaderValue::from_static(seal::CONTENT_TYPE);

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
        record.numbered();
        let now = self.now();
        let session = self.shared.store.find(sid, now).await.map_err(|refused| note(refused, record))?;
        if session.facts.route != lane.name {
            // It lives on another route; here nobody knows it.
            return Err(Reason::SessionUnknown);
        }
        if !self.current.keyring.at(now).upholds(&session.facts.kid, session.facts.secret) {
            record.cause = Some("the secret of this session is gone, another, or has expired".into());
            return Err(Reason::SessionUnknown);
        }
        session.keys.belongs(&sealed)?;
        let digest = sealed.digest(self.current.provider);
        match self.shared.store.probe(sid, number, digest, now).await.map_err(|refused| note(refused, record))? {
            Probe::Higher => {}
            Probe::Repeat(response) => return Ok(Step::Answered(repeated(response, record))),
            Probe::Wait(waiter) => return awaited(waiter, record).await.map(Step::Answered),
        }
        let started = Instant::now();
        let opened = open(&session.keys, sealed)?;
        record.took(Stage::Open, started.elapsed());
        record.opened(session.facts.layer);
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
        let (now, started) = (self.now(), Instant::now());
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
        record.took(Stage::Accept, started.elapsed());
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
        record: &mut Record,
    ) -> session::Response {
        let now = self.now();
        let seal = |session: &session::Session<SessionKeys>, number| {
            let started = Instant::now();
            let response = seal(session, number);
            record.took(Stage::Seal, started.elapsed());
            record.sealed(session.facts.layer);
            response
        };
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
        self.current.init_rates.take(source).map_err(|limit| {
            record.hit(limit);
            record.cause = Some(format!("too many init requests: limits.{}", limit.value()));
            Reason::Overloaded
        })?;
        let layer = sealed.layer();
        let transport = transport(sealed.header());
        record.init(transport, Group::None);
        let checked = sealed.check(self.current.provider, &lane.accepts, self.current.keyring.at(self.now()))?;
        record.init(transport, checked.group().into());
        let early = self.check_time(&checked, record).await?;
        let (kid, secret) = (checked.kid().clone(), checked.secret());
        record.recipient = Some(match &kid {
            Kid::Rsa(id) => id.to_string(),
            Kid::Secret(_) => "secret".to_owned(),
        });
        let (provider, random) = (self.current.provider, Arc::clone(&self.shared.surroundings.random));
        let started = Instant::now();
        let unwrapped = self.shared.unwrapping.run(move || checked.unwrap_key(provider, &*random)).await;
        let unwrapped = unwrapped.inspect_err(|_| {
            record.hit(Limit::UnwrapQueue);
            record.cause = Some("too many private-key operations wait: limits.unwrap_queue".into());
        })?;
        record.took(Stage::Unwrap, started.elapsed());
        let unwrapped = unwrapped.map_err(|_| Reason::Overloaded)?;
        let mut sid = Sid([0; 16]);
        self.shared.surroundings.random.fill(&mut sid.0).map_err(|_| Reason::Overloaded)?;
        record.sid = Some(sid);
        Ok((unwrapped, early, SessionFacts { sid, layer, route: Arc::clone(&lane.name), kid, secret, source }))
    }

    /// Whether an early message may come now; nothing is remembered yet.
    async fn check_time(&self, checked: &CheckedInit, record: &mut Record) -> Result<Option<Early>, Reason> {
        let Some(issued) = checked.issued().map(UnixTime) else { return Ok(None) };
        if !self.current.early {
            record.cause = Some("policy takes no early messages".into());
            return Err(Reason::EarlyRefused);
        }
        let digest = checked.header_digest(self.current.provider);
        let probed = self.shared.store.probe_early(digest, issued, self.now()).await;
        probed.map_err(|refused| note(refused, record))?;
        Ok(Some(Early { digest, issued }))
    }
}

/// How an init request says that its session key travels.
fn transport(header: &InitHeader) -> Transport {
    let VersionedInit::Version1(init) = &header.init else { return Transport::Unknown };
    i64::try_from(init.kt).ok().and_then(KeyTransport::from_cose_id).into()
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
    if let Some(limit) = Limit::of(refused) {
        record.hit(limit);
    }
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
        let document = Document::scan(form, body, &syncml::Limits::default()).map_err(|error| {
            record.cause = Some(error.to_string());
            Reason::Malformed
        })?;
        self.identify(&document, record);
        Self::sight(&document, Speech::Sealed, record);
        Ok(document)
    }

    pub(super) fn identify(&self, document: &Document<'_>, record: &mut Record) {
        let source = document.header.source.as_ref().map(|field| document.text(field));
        record.device = source.map(|source| self.shared.device_key.device(self.current.provider, &source));
    }

    /// Takes note of the device that a document names, for the register.
    pub(super) fn sight(document: &Document<'_>, speech: Speech, record: &mut Record) {
        let source = document.header.source.as_ref().map(|field| document.text(field));
        record.sighted = source.map(|source| (source.into_owned(), speech));
    }

    /// Enters the device of an exchange into the register.
    pub(super) fn register(&self, lane: &Lane, address: IpAddr, record: &Record) {
        let Some((source, speech)) = &record.sighted else { return };
        let objection = record.would_refuse.or(record.reason);
        let (route, speech, now) = (&lane.name, *speech, self.now());
        self.shared.devices.saw(&Sighting { route, source, address, speech, objection, now });
    }

    /// Whether a message may go to the server: its SyncML session is its sender's.
    pub(super) async fn admit<'a>(
        &self,
        lane: &Lane,
        sender: Sender<'_>,
        message: Message<'a>,
        record: &mut Record,
    ) -> Result<Admitted<'a, S::Pass>, Reason> {
        let pass = self.pass(lane, sender, &message, record).await?;
        Ok(Admitted { message, pass })
    }

    /// As [`Self::admit`], of a message that is kept; `None` where the policy does not bind SyncML sessions.
    pub(super) async fn pass(
        &self,
        lane: &Lane,
        sender: Sender<'_>,
        message: &Message<'_>,
        record: &mut Record,
    ) -> Result<Option<S::Pass>, Reason> {
        let kid = match sender {
            Sender::Sealed { kid, .. } => Some(kid),
            Sender::Plaintext { .. } => None,
        };
        let Some(names) = self.names(lane, kid, message, record)? else { return Ok(None) };
        let facts = names.facts(lane, message);
        let pass = self.shared.store.check_binding(facts, sender, self.now()).await;
        pass.map(Some).map_err(|refused| note(refused, record))
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
        if !ladder::is_named_for_certain(document) {
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
        let (method, content_type) = (Method::POST, Some(content_type));
        let outbound = Outbound { method, target, content_type, fields, message: bytes, asked: asked.as_deref() };
        let inbound = lane.upstream.send(outbound, record).await?;
        let sent = Sent { asked: asked.as_deref(), is_final: request.body.is_final, pass };
        self.read_answer(lane, layer, inbound, sent, noted, record)
    }

    /// Reads a server's answer, as [`Self::deliver`] does.
    pub(super) fn read_answer(
        &self,
        lane: &Lane,
        layer: Layer,
        inbound: Inbound,
        sent: Sent<'_, S::Pass>,
        noted: &mut Option<Noted<S::Pass>>,
        record: &mut Record,
    ) -> Result<(Inbound, bool), Reason> {
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
        let document = Document::scan(form, &bytes, &syncml::Limits::default()).map_err(|error| {
            record.cause = Some(format!("the server's answer cannot be read: {error}"));
            Reason::UpstreamInvalid
        })?;
        let body = &document.body;
        *noted = sent.pass.map(|pass| {
            let resp_uri = document.header.resp_uri.as_ref().map(|field| document.text(field));
            let resp_target = resp_uri.as_deref().and_then(seal::resp_uri::target).map(str::to_owned);
            Noted { pass, hdr_status: body.hdr_status, resp_target }
        });
        let end = sent.is_final
            && body.is_final
            && body.holds_only_status()
            && !body.has_chal
            && body.hdr_status.is_some_and(|status| (200..300).contains(&status));
        let inbound = lane.upstream.rewrite(inbound, &document, sent.asked, record)?;
        Ok((inbound, end))
    }
}

/// What the reading of an answer depends on of the request.
pub(super) struct Sent<'a, P> {
    /// The decoded Target LocURI of its SyncHdr.
    pub(super) asked: Option<&'a [u8]>,
    /// Whether its package ends with it.
    pub(super) is_final: bool,
    pub(super) pass: Option<P>,
}

impl Answer {
    pub(super) fn from_server(inbound: Inbound, end: bool) -> Self {
        let Inbound { status, content_type, fields, message } = inbound;
        Self { status, content_type, fields, message, end }
    }
}

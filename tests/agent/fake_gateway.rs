//! A gateway with its server, in one: it does what the protocol says with the crate's own seals, keeps everything that it
//! hears, and on request does something wrong instead.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use syncseal::crypto::{
    self, Algorithm, CryptoProvider, KeyTransport, NamedGroup, RsaPrivateKey, SecureRandom, SystemRandom,
};
use syncseal::seal::{
    self, Accepts, Direction, Encrypt0, Extras, Fields, HandshakePlaintext, InitHeader, Layer, Number, NumberedHeader,
    Reason, Recipients, Refusal, SealedRequest, SessionKeys, Sid,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is done wrong with one request.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The connection closes before the request is looked at.
    LoseRequest,
    /// The connection closes after the request was dealt with.
    LoseResponse,
    /// Half of the response comes.
    Truncate,
    /// One bit of the response is another.
    FlipBit,
    /// The request comes back as response.
    Reflect,
    /// A refusal that is not sealed.
    Refuse(Box<Refusal>),
    /// Bytes under the content type of a seal.
    Bytes(Vec<u8>),
    /// Any answer.
    Answer { status: u16, headers: String, body: Vec<u8> },
    /// The right seal under another status or content type.
    Dress { status: u16, content_type: &'static str },
    /// No part in the key exchange.
    NoShare,
    /// The request is dealt with when the gateway is told to go on.
    Hold(Arc<Notify>),
}

/// A request of a terminal, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) sid: Sid,
    /// Zero for an early message.
    pub(super) number: u64,
    pub(super) content_type: String,
    pub(super) target: String,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// What the server answers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) fields: Vec<(&'static str, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) end: bool,
}

impl Answer {
    pub(super) fn syncml(body: impl Into<Vec<u8>>) -> Self {
        let content_type = "application/vnd.syncml+xml".to_owned();
        Self { status: 200, content_type, fields: Vec::new(), body: body.into(), end: false }
    }
}

/// One HTTP request as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

type Server = Box<dyn FnMut(&Heard) -> Answer + Send>;

struct State {
    accepts: Accepts,
    early: bool,
    extras: Extras,
    faults: VecDeque<Fault>,
    server: Server,
    received: Vec<Received>,
    sent: Vec<Vec<u8>>,
    inits: Vec<(Algorithm, Option<NamedGroup>)>,
    heard: Vec<Heard>,
    sessions: HashMap<Sid, Session>,
    most_in_flight: usize,
}

struct Session {
    keys: Arc<SessionKeys>,
    highest: u64,
    last: Option<([u8; 32], Bytes)>,
    in_flight: usize,
}

/// What goes back.
struct Reply {
    status: u16,
    headers: String,
    body: Bytes,
}

impl Reply {
    fn seal(body: Bytes) -> Self {
        Self { status: 200, headers: content_type(seal::CONTENT_TYPE), body }
    }

    fn refusal(refusal: &Refusal) -> Self {
        let seal::RefusalReason::Known(reason) = refusal.reason else { panic!("one of ours") };
        let headers = content_type("application/problem+json");
        Self { status: reason.status(), headers, body: refusal.to_problem().into() }
    }
}

fn content_type(value: &str) -> String {
    format!("Content-Type: {value}\r\n")
}

pub(super) struct FakeGateway {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    provider: &'static dyn CryptoProvider,
    recipients: Recipients,
    state: Mutex<State>,
}

impl FakeGateway {
    pub(super) async fn start(key: &RsaPrivateKey) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), key)
    }

    pub(super) fn start_on(listener: TcpListener, key: &RsaPrivateKey) -> Self {
        let provider = crypto::default_provider();
        let accepts = Accepts {
            layers: vec![Layer::Message],
            algorithms: Algorithm::ALL.to_vec(),
            key_transports: KeyTransport::ALL.to_vec(),
            groups: provider.groups().to_vec(),
            require_exchange: true,
        };
        let state = State {
            accepts,
            early: true,
            extras: Extras::default(),
            faults: VecDeque::new(),
            server: Box::new(|heard| Answer::syncml(super::world::answer_to(heard))),
            received: Vec::new(),
            sent: Vec::new(),
            inits: Vec::new(),
            heard: Vec::new(),
            sessions: HashMap::new(),
            most_in_flight: 0,
        };
        let recipients = Recipients::new(provider, [key]).unwrap();
        let shared = Arc::new(Shared { provider, recipients, state: state.into() });
        let addr = listener.local_addr().unwrap();
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        Self { addr, shared, accepting }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Does this wrong with the next request for which nothing else was asked.
    pub(super) fn fault(&self, fault: Fault) {
        self.state(|state| state.faults.push_back(fault));
    }

    /// Whether what was to be done wrong has been done.
    pub(super) fn is_spent(&self) -> bool {
        self.state(|state| state.faults.is_empty())
    }

    pub(super) fn serve_with(&self, server: impl FnMut(&Heard) -> Answer + Send + 'static) {
        self.state(|state| state.server = Box::new(server));
    }

    pub(super) fn accept(&self, change: impl FnOnce(&mut Accepts)) {
        self.state(|state| change(&mut state.accepts));
    }

    /// What its policy adds to the protocol's lists.
    pub(super) fn extend(&self, extras: Extras) {
        self.state(|state| state.extras = extras);
    }

    pub(super) fn refuse_early(&self) {
        self.state(|state| state.early = false);
    }

    /// As a gateway whose sessions have ended.
    pub(super) fn forget_sessions(&self) {
        self.state(|state| state.sessions.clear());
    }

    /// As a gateway that had to drop its stored responses.
    pub(super) fn drop_responses(&self) {
        self.state(|state| state.sessions.values_mut().for_each(|session| session.last = None));
    }

    /// Everything that came over the wire.
    pub(super) fn received(&self) -> Vec<Received> {
        self.state(|state| state.received.clone())
    }

    /// The bodies that went back.
    pub(super) fn sent(&self) -> Vec<Vec<u8>> {
        self.state(|state| state.sent.clone())
    }

    /// What each init request asked for that could be read.
    pub(super) fn inits(&self) -> Vec<(Algorithm, Option<NamedGroup>)> {
        self.state(|state| state.inits.clone())
    }

    /// What the server heard.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.state(|state| state.heard.clone())
    }

    /// The most requests of one sealed session that were in progress together.
    pub(super) fn most_in_flight(&self) -> usize {
        self.state(|state| state.most_in_flight)
    }

    fn state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.shared.state.lock().unwrap())
    }
}

impl Drop for FakeGateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        while let Some(received) = read_request(&mut stream).await {
            let request = received.body.clone();
            let fault = {
                let mut state = self.state.lock().unwrap();
                state.received.push(received);
                state.faults.pop_front()
            };
            let Some((reply, length)) = self.reply(request, fault).await else { return };
            self.state.lock().unwrap().sent.push(reply.body.to_vec());
            let head = format!("HTTP/1.1 {} X\r\n{}Content-Length: {length}\r\n\r\n", reply.status, reply.headers);
            if stream.write_all(&[head.as_bytes(), &reply.body].concat()).await.is_err() {
                return;
            }
            if reply.body.len() < length {
                return;
            }
        }
    }

    /// What goes back, and the length that it claims; nothing if the connection closes.
    async fn reply(&self, request: Vec<u8>, fault: Option<Fault>) -> Option<(Reply, usize)> {
        let reply = match fault {
            Some(Fault::LoseRequest) => return None,
            Some(Fault::Refuse(refusal)) => Reply::refusal(&refusal),
            Some(Fault::Bytes(bytes)) => Reply::seal(bytes.into()),
            Some(Fault::Reflect) => Reply::seal(request.into()),
            Some(Fault::Answer { status, headers, body }) => Reply { status, headers, body: body.into() },
            Some(Fault::LoseResponse) => {
                self.exchange(request, None, true).await;
                return None;
            }
            Some(Fault::Truncate) => {
                let mut reply = self.exchange(request, None, true).await;
                let length = reply.body.len();
                reply.body.truncate(length / 2);
                return Some((reply, length));
            }
            Some(Fault::FlipBit) => {
                let mut reply = self.exchange(request, None, true).await;
                let mut body = reply.body.to_vec();
                *body.last_mut().unwrap() ^= 1;
                reply.body = body.into();
                reply
            }
            Some(Fault::Dress { status, content_type: dress }) => {
                let reply = self.exchange(request, None, true).await;
                Reply { status, headers: content_type(dress), ..reply }
            }
            Some(Fault::NoShare) => self.exchange(request, None, false).await,
            Some(Fault::Hold(go_on)) => self.exchange(request, Some(go_on), true).await,
            None => self.exchange(request, None, true).await,
        };
        let length = reply.body.len();
        Some((reply, length))
    }

    async fn exchange(&self, request: Vec<u8>, hold: Option<Arc<Notify>>, share: bool) -> Reply {
        let outcome = match seal::decode_request(Layer::Message, BytesMut::from(&request[..])) {
            Ok(SealedRequest::Init(init)) => self.init(init, share),
            Ok(SealedRequest::Numbered(numbered)) => self.numbered(numbered, hold).await,
            Err(malformed) => Err(malformed.into()),
        };
        outcome.map_or_else(
            |reason: Reason| {
                let accepts = &self.state.lock().unwrap().accepts;
                Reply::refusal(&Refusal::with_offers(reason, accepts, self.recipients.at(0)))
            },
            Reply::seal,
        )
    }

    fn init(&self, sealed: Encrypt0<InitHeader>, share: bool) -> Result<Bytes, Reason> {
        let state = &mut *self.state.lock().unwrap();
        let mut accepts = state.accepts.clone();
        if let seal::VersionedInit::Version1(init) = &sealed.header().init {
            let alg = i64::try_from(sealed.header().alg).ok().and_then(Algorithm::from_cose_id);
            let group = init.share.as_ref().and_then(|share| NamedGroup::from_number(share.group));
            state.inits.extend(alg.map(|alg| (alg, group)));
        }
        if !share {
            (accepts.groups, accepts.require_exchange) = (Vec::new(), false);
        }
        let checked = sealed.check(self.provider, &accepts, self.recipients.at(0))?;
        let early = checked.issued().is_some();
        if early && !state.early {
            return Err(Reason::EarlyRefused);
        }
        let unwrapped = checked.unwrap_key(self.provider, &SystemRandom).unwrap();
        let (opened, plaintext) = unwrapped.open().map_err(|_| Reason::CannotOpen)?;
        let mut sid = Sid([0; 16]);
        SystemRandom.fill(&mut sid.0).unwrap();
        let (sealed, keys) = if early {
            let heard = hear(sid, Number::ZERO, &plaintext, &state.extras)?;
            let answer = (state.server)(&heard);
            state.heard.push(heard);
            opened.reply(self.provider, sid, answer.end).seal(&response(&answer, &state.extras).plaintext())
        } else {
            HandshakePlaintext::decode(&plaintext)?;
            opened.reply(self.provider, sid, false).seal(&HandshakePlaintext.plaintext())
        };
        state.sessions.insert(sid, Session { keys: keys.into(), highest: 0, last: None, in_flight: 0 });
        Ok(sealed)
    }

    async fn numbered(&self, sealed: Encrypt0<NumberedHeader>, hold: Option<Arc<Notify>>) -> Result<Bytes, Reason> {
        let digest = sealed.digest(self.provider);
        let NumberedHeader { sid, number, .. } = *sealed.header();
        let heard = {
            let state = &mut *self.state.lock().unwrap();
            let session = state.sessions.get_mut(&sid).ok_or(Reason::SessionUnknown)?;
            if number.value() <= session.highest {
                return match &session.last {
                    Some((last, response)) if *last == digest => Ok(response.clone()),
                    _ => Err(Reason::Replayed),
                };
            }
            let plaintext = session.keys.open(sealed)?;
            session.highest = number.value();
            session.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(session.in_flight);
            let heard = hear(sid, number, &plaintext, &state.extras)?;
            state.heard.push(heard.clone());
            heard
        };
        // Whoever else is under way gets a turn.
        match hold {
            Some(go_on) => go_on.notified().await,
            None => tokio::task::yield_now().await,
        }
        let state = &mut *self.state.lock().unwrap();
        let answer = (state.server)(&heard);
        let session = state.sessions.get_mut(&sid).ok_or(Reason::SessionUnknown)?;
        let sealed = session.keys.seal_response(number, answer.end, &response(&answer, &state.extras).plaintext());
        session.last = Some((digest, sealed.clone()));
        session.in_flight -= 1;
        Ok(sealed)
    }
}

fn hear(sid: Sid, number: Number, plaintext: &[u8], extras: &Extras) -> Result<Heard, Reason> {
    let request = seal::Request::decode(plaintext, extras)?;
    Ok(Heard {
        sid,
        number: number.value(),
        content_type: request.content_type.to_owned(),
        target: request.target.to_owned(),
        fields: request.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: request.body.to_owned(),
    })
}

fn response<'a>(answer: &'a Answer, extras: &Extras) -> seal::Response<'a> {
    let fields = answer.fields.iter().map(|(name, value)| (*name, value.as_slice()));
    seal::Response {
        content_type: &answer.content_type,
        status: answer.status,
        fields: Fields::filter(Direction::S2c, extras, fields),
        body: &answer.body,
    }
}

/// The next HTTP request of a connection; `None` at its end.
async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse().unwrap()))
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some(Received { head, body: bytes[end + 4..][..length].to_vec() });
            }
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return None;
        }
    }
}

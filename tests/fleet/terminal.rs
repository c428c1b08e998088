//! A terminal, made from what `seal` offers to everybody, over connections that may break.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use syncseal::crypto::{
    Algorithm, KeyTransport, NamedGroup, RsaPrivateKey, RsaPublicKey, SecureRandom, SystemRandom, default_provider,
};
use syncseal::seal::{
    self, Accepts, Extras, Fields, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, Plaintext, Reason,
    Recipient, Recipients, Request, SealedRequest, SessionKeys,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::legacy::XML;

/// Before it sends again.
const PAUSE: Duration = Duration::from_millis(100);

/// Every gateway's key.
pub(crate) const KEY: &str = include_str!("../keys/pkcs8.pem");

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The reason of the refusal that it is, outside a seal.
    pub(crate) fn refusal(&self) -> Option<Reason> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Reason::from_name(problem["type"].as_str()?.strip_prefix("urn:syncseal:refusal:")?)
    }
}

/// POSTs a seal to `/sync` over a connection of its own. `None` if there is none, or it breaks.
pub(crate) async fn post(addr: SocketAddr, body: &[u8]) -> Option<Answer> {
    let head = format!(
        "POST /sync HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        seal::CONTENT_TYPE,
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await.ok()?;
    stream.write_all(&[head.as_bytes(), body].concat()).await.ok()?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.ok()?;
    parse(&received)
}

fn parse(received: &[u8]) -> Option<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(received).ok()? else { return None };
    let field = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(str::from_utf8(field.value).unwrap().to_owned())
    };
    let length: usize = field("content-length")?.parse().unwrap();
    let body = received.get(head..head + length)?.to_vec();
    Some(Answer { status: response.code?, retry_after: field("retry-after"), body })
}

/// What a terminal asks for.
fn parameters(recipient: Recipient<'_>) -> InitParameters<'_> {
    InitParameters {
        layer: Layer::Message,
        alg: Algorithm::A256Gcm,
        recipient,
        group: Some(NamedGroup::X25519),
        require_exchange: true,
        issued: None,
    }
}

fn empty() -> Plaintext<'static> {
    HandshakePlaintext::decode(&[0xa0]).unwrap().plaintext()
}

/// An init request, a gateway's response to it, and the keys of both for what follows.
pub(crate) fn handshake() -> (Bytes, Bytes, SessionKeys) {
    let provider = default_provider();
    let key = RsaPrivateKey::from_pem(KEY).unwrap();
    let recipients = Recipients::new(provider, [&key]).unwrap();
    let accepts = Accepts {
        layers: vec![Layer::Message],
        algorithms: vec![Algorithm::A256Gcm],
        key_transports: vec![KeyTransport::RsaOaep256],
        groups: vec![NamedGroup::X25519],
        require_exchange: true,
    };
    let request = InitRequest::new(provider, &SystemRandom, &parameters(key.public().into())).unwrap();
    let (init, _) = request.seal(&empty());
    let Ok(SealedRequest::Init(sealed)) = seal::decode_request(Layer::Message, BytesMut::from(&*init)) else {
        panic!("not an init request")
    };
    let checked = sealed.check(provider, &accepts, recipients.at(0)).unwrap();
    let (opened, _) = checked.unwrap_key(provider, &SystemRandom).unwrap().open().unwrap();
    let mut sid = seal::Sid([0; 16]);
    SystemRandom.fill(&mut sid.0).unwrap();
    let (reply, keys) = opened.reply(provider, sid, false).seal(&empty());
    (init, reply, keys)
}

/// What became of a message that was sent until it was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Answered(Opened),
    /// Its number is used up, and its answer is lost: the SyncML session begins anew.
    Lost,
}

/// What a terminal gets out of a seal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The terminal's end of a sealed session.
pub(crate) struct Terminal {
    addr: SocketAddr,
    keys: SessionKeys,
    next: u64,
}

impl Terminal {
    pub(crate) fn public_key() -> RsaPublicKey {
        RsaPrivateKey::from_pem(KEY).unwrap().public().clone()
    }

    /// Makes a handshake.
    pub(crate) async fn new(addr: SocketAddr) -> Self {
        Self::try_new(addr, (&Self::public_key()).into()).await.unwrap().unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// Makes a handshake; `None` if the connection broke.
    pub(crate) async fn try_new(addr: SocketAddr, recipient: Recipient<'_>) -> Option<Result<Self, Answer>> {
        let init = InitRequest::new(default_provider(), &SystemRandom, &parameters(recipient)).unwrap();
        let (sealed, pending) = init.seal(&empty());
        let answer = post(addr, &sealed).await?;
        if answer.status != 200 {
            return Some(Err(answer));
        }
        let established = pending.handle_response(default_provider(), BytesMut::from(&*answer.body)).unwrap();
        Some(Ok(Self { addr, keys: established.keys, next: 1 }))
    }

    /// Seals a message under the next number.
    pub(crate) fn seal(&mut self, message: &str) -> Bytes {
        let sealed = self.seal_under(self.next, message);
        self.next += 1;
        sealed
    }

    /// Seals a message under this number, as no terminal does twice.
    pub(crate) fn seal_under(&self, number: u64, message: &str) -> Bytes {
        let request =
            Request { content_type: XML, target: "/sync", fields: Fields::default(), body: message.as_bytes() };
        self.keys.seal_request(Number::new(number).unwrap(), &request.plaintext())
    }

    /// Opens an answer to the latest request.
    #[track_caller]
    pub(crate) fn open(&self, answer: &Answer) -> Opened {
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let sealed = seal::decode_response(Layer::Message, BytesMut::from(&*answer.body)).unwrap();
        assert_eq!(sealed.header().number.value(), self.next - 1);
        let plaintext = self.keys.open(sealed).unwrap();
        let response = seal::Response::decode(&plaintext, &Extras::default()).unwrap();
        Opened { status: response.status, body: String::from_utf8(response.body.to_vec()).unwrap() }
    }

    /// Seals a message, sends it, and gives the answer as it came.
    pub(crate) async fn send(&mut self, message: &str) -> Answer {
        let sealed = self.seal(message);
        post(self.addr, &sealed).await.expect("an answer")
    }

    /// Seals a message, sends it, and opens the answer.
    pub(crate) async fn exchange(&mut self, message: &str) -> Opened {
        let answer = self.send(message).await;
        self.open(&answer)
    }

    /// Seals a message, and sends it until there is an answer, as PROTOCOL section 3.4 has it.
    pub(crate) async fn deliver(&mut self, message: &str) -> Delivered {
        let sealed = self.seal(message);
        loop {
            match post(self.addr, &sealed).await {
                Some(answer) if answer.status == 200 => return Delivered::Answered(self.open(&answer)),
                Some(answer) if answer.refusal() == Some(Reason::Replayed) => return Delivered::Lost,
                Some(answer) => assert_eq!(answer.refusal(), Some(Reason::Overloaded), "{answer:?}"),
                None => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes a handshake, as often as it takes.
    pub(crate) async fn persistent(addr: SocketAddr) -> Self {
        loop {
            match Self::try_new(addr, (&Self::public_key()).into()).await {
                Some(Ok(terminal)) => return terminal,
                Some(Err(answer)) => assert_eq!(answer.refusal(), Some(Reason::Overloaded), "{answer:?}"),
                None => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

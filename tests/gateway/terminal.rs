//! A terminal, made from what `seal` offers to everybody.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use syncseal::crypto::{Algorithm, NamedGroup, RsaPublicKey, SystemRandom, default_provider};
use syncseal::seal::{
    self, Direction, Extras, Fields, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, Reason, Request,
    SessionKeys,
};

use crate::http::{self, Answer};
use crate::syncml::{self, Client, XML};
use crate::world::World;

/// What an init request of the handshake form asks for, unless a test wants something else.
pub(crate) fn parameters(key: &RsaPublicKey) -> InitParameters<'_> {
    InitParameters {
        layer: Layer::Message,
        alg: Algorithm::A256Gcm,
        recipient: key.into(),
        group: Some(NamedGroup::X25519),
        require_exchange: true,
        issued: None,
    }
}

/// An init request.
pub(crate) fn init(parameters: &InitParameters<'_>) -> InitRequest {
    InitRequest::new(default_provider(), &SystemRandom, parameters).unwrap()
}

/// The empty plaintext of a handshake.
pub(crate) fn empty() -> seal::Plaintext<'static> {
    HandshakePlaintext::decode(&[0xa0]).unwrap().plaintext()
}

/// A handshake's request.
pub(crate) fn handshake_bytes(parameters: &InitParameters<'_>) -> Bytes {
    init(parameters).seal(&empty()).0
}

/// What goes into a seal: a message in XML to `/sync`.
pub(crate) fn request(body: &[u8]) -> Request<'_> {
    Request { content_type: XML, target: "/sync", fields: Fields::default(), body }
}

/// The terminal's end of a sealed session.
pub(crate) struct Terminal {
    addr: SocketAddr,
    pub(crate) keys: SessionKeys,
    pub(crate) next: u64,
}

impl Terminal {
    /// Makes a handshake.
    pub(crate) async fn new(world: &World) -> Self {
        Self::at(world.addr, &world.key).await
    }

    /// Makes a handshake with the gateway at this address.
    pub(crate) async fn at(addr: SocketAddr, key: &RsaPublicKey) -> Self {
        Self::asking(addr, &parameters(key)).await
    }

    /// Makes a handshake that asks for this.
    pub(crate) async fn asking(addr: SocketAddr, parameters: &InitParameters<'_>) -> Self {
        let (sealed, pending) = init(parameters).seal(&empty());
        let answer = http::post_seal(addr, &sealed).await;
        answer.assert_sealed();
        let established = pending.handle_response(default_provider(), BytesMut::from(&*answer.body)).unwrap();
        Self { addr, keys: established.keys, next: 1 }
    }

    /// Seals a request under the next number.
    pub(crate) fn seal(&mut self, request: &Request<'_>) -> Bytes {
        let number = Number::new(self.next).unwrap();
        self.next += 1;
        self.keys.seal_request(number, &request.plaintext())
    }

    /// Seals a client's message under the next number.
    pub(crate) fn seal_message(&mut self, client: &Client) -> Bytes {
        self.seal(&request(&client.xml()))
    }

    /// Seals what a client says, sends it, and opens the answer.
    pub(crate) async fn send(&mut self, client: &Client) -> Opened {
        self.ask(&request(&client.xml())).await
    }

    /// Seals a request, sends it, and opens the answer.
    pub(crate) async fn ask(&mut self, request: &Request<'_>) -> Opened {
        let sealed = self.seal(request);
        self.open(&http::post_seal(self.addr, &sealed).await)
    }

    /// Opens an answer to the latest request, as a terminal does: only that number counts.
    #[track_caller]
    pub(crate) fn open(&self, answer: &Answer) -> Opened {
        answer.assert_sealed();
        let sealed = seal::decode_response(Layer::Message, BytesMut::from(&*answer.body)).unwrap();
        assert_eq!(sealed.header().number.value(), self.next - 1);
        let end = sealed.header().end;
        let plaintext = self.keys.open(sealed).unwrap();
        let response = seal::Response::decode(&plaintext, &Extras::default()).unwrap();
        Opened {
            end,
            status: response.status,
            content_type: response.content_type.to_owned(),
            fields: response.fields.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            body: response.body.to_vec(),
        }
    }
}

/// A response out of a seal.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) end: bool,
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Opened {
    /// Fails unless it is the server's answer with this status and body.
    #[track_caller]
    pub(crate) fn assert_says(&self, status: u16, body: &[u8]) {
        assert_eq!(self.status, status);
        assert_eq!(String::from_utf8_lossy(&self.body), String::from_utf8_lossy(body));
    }

    /// Fails unless it is the refusal with this reason, in a SyncML document.
    #[track_caller]
    pub(crate) fn assert_refused(&self, reason: Reason) {
        let found = syncml::reason(&self.content_type, &self.body);
        assert_eq!(found, Some(reason), "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.status, reason.status());
    }
}

/// Header fields that a terminal seals although it must not.
pub(crate) fn forbidden<'a>(fields: &[(&'a str, &'a [u8])]) -> Fields<'a> {
    let request_fields = fields.iter().map(|(name, _)| (*name).to_owned()).collect();
    let extras = Extras { request_fields, ..Extras::default() };
    Fields::filter(Direction::C2s, &extras, fields.iter().copied())
}

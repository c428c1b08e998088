//! What whoever records the wire can read, then and later with the gateway's private key.

use bytes::BytesMut;
use syncseal::crypto::{Algorithm, Key, OpenFailed, default_provider};
use syncseal::seal::{
    self, Direction, Extras, Fields, InitParameters, KeyShare, Layer, NO_DOCUMENT, Number, Request, SealedRequest,
    VersionedInit,
};

use crate::http::post_seal;
use crate::server::Reply;
use crate::syncml::{Client, FIRST, XML, accepted_at, http};
use crate::terminal::{Terminal, empty, init, parameters, request};
use crate::world::{World, private_key};

/// A handshake and the first request after it, as they went over the wire.
struct Recording {
    init_request: Vec<u8>,
    init_response: Vec<u8>,
    request: Vec<u8>,
}

const ALG: Algorithm = Algorithm::A256Gcm;

async fn recording(tables: &str, parameters: impl FnOnce(InitParameters<'_>) -> InitParameters<'_>) -> Recording {
    let world = World::with(tables, "").await;
    let (init_request, pending) = init(&parameters(crate::terminal::parameters(&world.key))).seal(&empty());
    let init_response = post_seal(world.addr, &init_request).await.body;
    let established = pending.handle_response(default_provider(), BytesMut::from(&*init_response)).unwrap();
    let body = FIRST.xml();
    let request = established.keys.seal_request(Number::new(1).unwrap(), &request(&body).plaintext());
    post_seal(world.addr, &request).await.assert_sealed();
    assert_eq!(world.server.bodies(), [body]);
    Recording { init_request: init_request.into(), init_response, request: request.into() }
}

impl Recording {
    /// What the shares of the key exchange, which travel in the open, could be taken for.
    fn guesses(&self) -> Vec<Vec<u8>> {
        let Ok(SealedRequest::Init(init)) = decode(&self.init_request) else { panic!("an init request") };
        let VersionedInit::Version1(init) = &init.header().init else { panic!("version 1") };
        let response = seal::decode_init_response(Layer::Message, BytesMut::from(&*self.init_response)).unwrap();
        let shares = [&init.share, &response.header().share].into_iter().flatten();
        let mut guesses: Vec<_> = shares.map(|KeyShare { share, .. }| share.clone()).collect();
        guesses.push(Vec::new());
        guesses.push(vec![0; 32]);
        guesses
    }

    /// Opens the request with the private key, by the key schedule of PROTOCOL section 3.2 and `secret` as the shared
    /// secret.
    fn open(&self, secret: &[u8]) -> Result<Vec<u8>, OpenFailed> {
        let provider = default_provider();
        let Ok(SealedRequest::Init(init)) = decode(&self.init_request) else { panic!("an init request") };
        let VersionedInit::Version1(header) = &init.header().init else { panic!("version 1") };
        let k = provider.rsa_unwrap(&private_key()).unwrap().unwrap_key(&header.wrapped).expect("the session key");
        let response = seal::decode_init_response(Layer::Message, BytesMut::from(&*self.init_response)).unwrap();
        let (h, r) = (init.protected(), response.protected());

        let prk0 = provider.hkdf_extract(&provider.sha256(&[h]), k.expose());
        let mut salt1 = [0; 32];
        provider.hkdf_expand(&prk0, b"syncseal v1 exchange", &mut salt1);
        let prk1 = provider.hkdf_extract(&salt1, &[secret, &provider.sha256(&[h, r])].concat());
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        provider.hkdf_expand(&prk1, b"syncseal v1 key c2s", &mut key);
        provider.hkdf_expand(&prk1, b"syncseal v1 iv c2s", &mut iv);

        let Ok(SealedRequest::Numbered(sealed)) = decode(&self.request) else { panic!("a numbered request") };
        let external = seal::external_aad(Layer::Message, Direction::C2s, NO_DOCUMENT);
        let aad = seal::enc_structure(sealed.protected(), &external);
        let mut data = sealed.ciphertext().to_vec();
        let nonce = seal::nonce(&iv, sealed.header().number);
        provider.aead(ALG, &Key::from_slice(&key).unwrap()).open_in_place(nonce, &aad, &mut data)?;
        Ok(data)
    }
}

fn decode(bytes: &[u8]) -> Result<SealedRequest, seal::Malformed> {
    seal::decode_request(Layer::Message, BytesMut::from(bytes))
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn a_recording_and_the_private_key_do_not_open_what_followed_a_key_exchange() {
    let recording = recording("", |parameters| parameters).await;
    for secret in recording.guesses() {
        assert_eq!(recording.open(&secret), Err(OpenFailed));
    }
}

#[tokio::test]
async fn without_a_key_exchange_a_recording_and_the_private_key_are_enough() {
    // So what keeps the recording of the other test shut is the exchange, and nothing else.
    let recording = recording("[dangerous]\nrequire_key_exchange = false", |parameters| InitParameters {
        group: None,
        require_exchange: false,
        ..parameters
    })
    .await;
    assert!(holds(&recording.open(b"").unwrap(), &FIRST.xml()));
}

#[tokio::test]
async fn nothing_of_an_exchange_stands_on_the_wire() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let body = Client { cred: true, commands: "<Put><Data>Ada Lovelace</Data></Put>", ..FIRST }.xml();
    let fields =
        Fields::filter(Direction::C2s, &Extras::default(), [("authorization", b"Basic dXNlcjpwYXNz".as_slice())]);
    let sealed = terminal.seal(&Request { target: "/sync?jsessionid=4711", fields, ..request(&body) });
    let answer = accepted_at("/sync?jsessionid=4712");
    world.server.will(Reply::Bytes(http(&format!("200 OK\r\nContent-Type: {XML}\r\nSet-Cookie: c=4713"), &answer)));
    let response = post_seal(world.addr, &sealed).await;
    terminal.open(&response).assert_says(200, &answer);
    let head: String = response.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    for secret in [
        &b"SyncML"[..],
        b"SyncHdr",
        b"Lovelace",
        b"IMEI:490",
        b"dXNlcjpwYXNz",
        b"authorization",
        b"/sync",
        b"jsessionid",
        b"=4711",
        b"=4712",
        b"=4713",
        b"cookie",
        b"vnd.syncml",
    ] {
        for bytes in [&sealed[..], &response.body, head.as_bytes()] {
            assert!(!holds(bytes, secret), "{}", String::from_utf8_lossy(secret));
        }
    }
    let seen = &world.server.seen()[0];
    assert_eq!((seen.line(), &seen.body), ("POST /sync?jsessionid=4711 HTTP/1.1", &body));
}

#[tokio::test]
async fn two_handshakes_share_nothing_that_was_drawn() {
    let world = World::new().await;
    let (one, other) = (init(&parameters(&world.key)), init(&parameters(&world.key)));
    let (one, other) = (one.seal(&empty()).0, other.seal(&empty()).0);
    let drawn = |bytes: &[u8]| {
        let Ok(SealedRequest::Init(init)) = decode(bytes) else { panic!("an init request") };
        let VersionedInit::Version1(init) = &init.header().init else { panic!("version 1") };
        (init.wrapped.clone(), init.share.clone().unwrap().share)
    };
    assert_ne!(drawn(&one).0, drawn(&other).0);
    assert_ne!(drawn(&one).1, drawn(&other).1);
    let reply = |bytes: &[u8]| {
        let response = seal::decode_init_response(Layer::Message, BytesMut::from(bytes)).unwrap();
        (response.header().sid, response.header().share.clone().unwrap().share)
    };
    let (first, second) = (post_seal(world.addr, &one).await, post_seal(world.addr, &one).await);
    assert_ne!(reply(&first.body).0, reply(&second.body).0);
    assert_ne!(reply(&first.body).1, reply(&second.body).1);
}

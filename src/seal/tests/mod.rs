//! Two parties, and what the tests of this module do with what passes between them.

pub(super) mod data;
mod init;
mod recipients;
mod record;
mod refusal;
mod strict;
mod tamper;

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::header::encode_init;
use super::schedule::InitKeys;
use super::*;
use crate::crypto::{
    Algorithm, CryptoProvider, Key, KeyId, KeyTransport, NamedGroup, RandomFailed, RsaPrivateKey, SecureRandom,
    SystemRandom, default_provider, providers,
};

static PRIVATE_KEY: LazyLock<RsaPrivateKey> =
    LazyLock::new(|| RsaPrivateKey::from_pem(include_str!("../../../tests/keys/pkcs8.pem")).unwrap());

static RECIPIENTS: LazyLock<Recipients> = LazyLock::new(|| recipients(default_provider()));

fn recipients(provider: &dyn CryptoProvider) -> Recipients {
    Recipients::new(provider, [&*PRIVATE_KEY]).unwrap()
}

fn accepts_all() -> Accepts {
    Accepts {
        layers: vec![Layer::Message],
        algorithms: Algorithm::ALL.into(),
        key_transports: KeyTransport::ALL.into(),
        groups: NamedGroup::ALL.into(),
        require_exchange: false,
    }
}

fn parameters(alg: Algorithm, group: Option<NamedGroup>) -> InitParameters<'static> {
    InitParameters {
        layer: Layer::Message,
        alg,
        recipient: PRIVATE_KEY.public().into(),
        group,
        require_exchange: group.is_some(),
        issued: None,
    }
}

fn handshake() -> Plaintext<'static> {
    HandshakePlaintext.plaintext()
}

/// What a gateway does with an init request, from its bytes to the keys after its answer.
fn gateway(
    provider: &dyn CryptoProvider,
    accepts: &Accepts,
    request: &[u8],
    end: bool,
) -> Result<(Bytes, SessionKeys), Reason> {
    let SealedRequest::Init(sealed) = decode_request(Layer::Message, request.into())? else {
        return Err(Reason::SessionUnknown);
    };
    let recipients = if provider.name() == default_provider().name() { &RECIPIENTS } else { &recipients(provider) };
    let checked = sealed.check(provider, accepts, recipients.at(0))?;
    let unwrapped = checked.unwrap_key(provider, &SystemRandom).unwrap();
    let (opened, plaintext) = unwrapped.open().map_err(|_| Reason::CannotOpen)?;
    HandshakePlaintext::decode(&plaintext)?;
    let mut sid = [0; 16];
    SystemRandom.fill(&mut sid).unwrap();
    Ok(opened.reply(provider, Sid(sid), end).seal(&handshake()))
}

/// A whole handshake: the terminal's keys and the gateway's.
fn establish(
    terminal: &dyn CryptoProvider,
    gateway_provider: &dyn CryptoProvider,
    alg: Algorithm,
    group: Option<NamedGroup>,
) -> (SessionKeys, SessionKeys) {
    let request = InitRequest::new(terminal, &SystemRandom, &parameters(alg, group)).unwrap();
    let (request, pending) = request.seal(&handshake());
    let (response, gateway) = gateway(gateway_provider, &accepts_all(), &request, false).unwrap();
    let established = pending.handle_response(terminal, response.as_ref().into()).unwrap();
    HandshakePlaintext::decode(&established.plaintext).unwrap();
    assert_eq!((established.exchanged, established.end), (group.is_some(), false));
    (established.keys, gateway)
}

/// A COSE_Encrypt0 of these two byte strings.
fn untagged(protected: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    let mut out = vec![0x83];
    cbor::push_bytes(&mut out, protected);
    out.push(0xA0);
    cbor::push_bytes(&mut out, ciphertext);
    out
}

fn numbered(request: &[u8]) -> Encrypt0<NumberedHeader> {
    match decode_request(Layer::Message, request.into()) {
        Ok(SealedRequest::Numbered(sealed)) => sealed,
        other => panic!("{other:?}"),
    }
}

fn open_request(keys: &SessionKeys, request: &[u8]) -> Result<Bytes, Reason> {
    match decode_request(Layer::Message, request.into())? {
        SealedRequest::Numbered(sealed) => keys.open(sealed),
        SealedRequest::Init(_) => Err(Reason::CannotOpen),
    }
}

fn open_response(keys: &SessionKeys, response: &[u8]) -> Result<Bytes, Reason> {
    keys.open(decode_response(Layer::Message, response.into())?)
}

fn a_request<'a>(target: &'a str, fields: &[(&'a str, &'a [u8])], body: &'a [u8]) -> Request<'a> {
    let fields = Fields::filter(Direction::C2s, &Extras::default(), fields.iter().copied());
    Request { content_type: "application/vnd.syncml+wbxml", target, fields, body }
}

fn a_response<'a>(status: u16, fields: &[(&'a str, &'a [u8])], body: &'a [u8]) -> Response<'a> {
    let fields = Fields::filter(Direction::S2c, &Extras::default(), fields.iter().copied());
    Response { content_type: "application/vnd.syncml+xml", status, fields, body }
}

/// Every algorithm and group with every pair of providers that have it.
fn every_combination() -> Vec<(SessionKeys, SessionKeys)> {
    let groups = std::iter::once(None).chain(NamedGroup::ALL.map(Some));
    let mut sessions = Vec::new();
    for group in groups {
        let has_group = |provider: &&&dyn CryptoProvider| group.is_none_or(|group| provider.groups().contains(&group));
        for terminal in providers().iter().filter(has_group) {
            for gateway in providers().iter().filter(has_group) {
                sessions.extend(Algorithm::ALL.map(|alg| establish(*terminal, *gateway, alg, group)));
            }
        }
    }
    sessions
}

#[test]
fn what_was_sealed_opens() {
    static SESSIONS: LazyLock<Vec<(SessionKeys, SessionKeys)>> = LazyLock::new(every_combination);
    proptest!(ProptestConfig::with_cases(400), |(
        index in any::<prop::sample::Index>(),
        number in 1..=Number::MAX.value(),
        target in "/[!-~]{0,40}",
        user_agent in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        status in 200..=599_u16,
        end: bool,
        body in prop::collection::vec(any::<u8>(), 0..5000),
    )| {
        let (terminal, gateway) = index.get(&SESSIONS);
        let number = Number::new(number).unwrap();
        let fields: Vec<_> = user_agent.iter().map(|value| ("user-agent", value.as_slice())).collect();

        let request = a_request(&target, &fields, &body);
        let sealed = terminal.seal_request(number, &request.plaintext());
        let received = numbered(&sealed);
        prop_assert_eq!(received.header().number, number);
        let opened = gateway.open(received).unwrap();
        prop_assert_eq!(Request::decode(&opened, &Extras::default()).unwrap(), request);

        let response = a_response(status, &[("set-cookie", b"a=1"), ("set-cookie", b"b=2")], &body);
        let sealed = gateway.seal_response(number, end, &response.plaintext());
        let received = decode_response(Layer::Message, sealed.as_ref().into()).unwrap();
        prop_assert_eq!((received.header().number, received.header().end), (number, end));
        let opened = terminal.open(received).unwrap();
        prop_assert_eq!(Response::decode(&opened, &Extras::default()).unwrap(), response);
    });
}

#[test]
fn a_seal_takes_one_buffer_of_its_size() {
    let (terminal, _) = establish(default_provider(), default_provider(), Algorithm::A256Gcm, None);
    let body = vec![7; 100_000];
    let sealed = terminal.seal_request(Number::MAX, &a_request("/sync", &[], &body).plaintext());
    assert!(sealed.len() < body.len() + 200);
    let keys = terminal.seal_request(Number::MAX, &a_request("/sync", &[], &body).plaintext());
    assert_eq!(keys, sealed);
}

#[test]
fn the_message_is_opened_where_it_was_received() {
    let (terminal, gateway) = establish(default_provider(), default_provider(), Algorithm::A128Gcm, None);
    let sealed = terminal.seal_request(Number::MAX, &a_request("/sync", &[], b"<SyncML/>").plaintext());
    let received = BytesMut::from(&sealed[..]);
    let buffer = received.as_ptr_range();
    let SealedRequest::Numbered(received) = decode_request(Layer::Message, received).unwrap() else { panic!() };
    let opened = gateway.open(received).unwrap();
    let body = Request::decode(&opened, &Extras::default()).unwrap().body;
    assert!(buffer.contains(&body.as_ptr()));
    assert_eq!(opened.slice_ref(body), b"<SyncML/>"[..]);
}

#[test]
fn a_digest_is_over_the_untagged_bytes() {
    let (terminal, _) = establish(default_provider(), default_provider(), Algorithm::A128Gcm, None);
    let sealed = terminal.seal_request(Number::MAX, &a_request("/sync", &[], b"").plaintext());
    for provider in providers() {
        assert_eq!(numbered(&sealed).digest(*provider), provider.sha256(&[&sealed[1..]]));
    }
}

#[test]
#[should_panic(expected = "requests are numbered from 1")]
fn number_zero_is_not_for_requests() {
    let (terminal, _) = establish(default_provider(), default_provider(), Algorithm::A128Gcm, None);
    terminal.seal_request(Number::ZERO, &handshake());
}

#[test]
#[should_panic(expected = "requests are numbered from 1")]
fn number_zero_is_not_for_later_responses() {
    let (_, gateway) = establish(default_provider(), default_provider(), Algorithm::A128Gcm, None);
    gateway.seal_response(Number::ZERO, false, &handshake());
}

#[test]
fn keys_are_not_printed() {
    let (terminal, _) = establish(default_provider(), default_provider(), Algorithm::A128Gcm, None);
    let printed = format!("{terminal:?}");
    assert_eq!(printed, format!("SessionKeys {{ alg: A128Gcm, layer: Message, sid: {:?}, .. }}", terminal.sid()));
}

#[test]
fn numbers_are_written_as_short_as_can_be() {
    let mut previous = 0;
    for (value, len) in [(1, 1), (0xFF, 1), (0x100, 2), (0xFF_FFFF, 3), (0x1_0000_0000, 5), (Number::MAX.value(), 5)] {
        let header = header::encode_numbered(Algorithm::A128Gcm, Sid([0; 16]), Number::new(value).unwrap(), false);
        // Map head, alg, sid, key 6 and the head of its value.
        assert_eq!(header.len(), 1 + 2 + 18 + 2 + len, "{value}");
        assert!(value > previous);
        previous = value;
    }
    assert_eq!(Number::new(Number::MAX.value() + 1), None);
}

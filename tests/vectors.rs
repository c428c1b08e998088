//! The protocol's test vectors, from both sides and with every provider.
//!
//! `SYNCSEAL_VECTORS` names another directory of such files. Cases that are for another test are printed by
//! name.
#![allow(clippy::unwrap_used, reason = "a set that does not load fails the test")]

#[path = "vectors/document.rs"]
mod document;
#[path = "vectors/file.rs"]
mod file;
#[path = "vectors/keys.rs"]
mod keys;
#[path = "vectors/message.rs"]
mod message;
#[path = "vectors/refusal.rs"]
mod refusal;
#[path = "vectors/script.rs"]
mod script;

use bytes::BytesMut;
use document::{DocumentCase, establish_in_documents};
use file::{Elsewhere, File, array, bytes, number, text};
use message::{check_opened, with_plaintext};
use script::{Private, Script, Scripted, terminal_random};
use serde_json::Value;
use syncseal::crypto::{
    Algorithm, CryptoProvider, Key, KeyName, KeyTransport, NamedGroup, RsaPrivateKey, TAG_LEN, TerminalSecret,
    providers,
};
use syncseal::seal::data::Sealable;
use syncseal::seal::{
    self, Accepts, Direction, Encrypt0, Established, Extras, HandshakePlaintext, InitHeader, InitParameters,
    InitRequest, InitResponse, Kid, Layer, NO_DOCUMENT, Number, NumberedHeader, OpenedInit, Reason, Recipient,
    Recipients, Request, Response, SealedRequest, SessionKeys, Sid, Target, UnwrappedInit,
};
use syncseal::syncml::MediaType;

/// Where a case belongs that is not run here.
fn elsewhere(case: &Value) -> Option<Elsewhere> {
    match case.get("kind").and_then(Value::as_str) {
        Some("gateway") => Some(Elsewhere::Gateway),
        _ => None,
    }
}

fn layer(value: &Value) -> Layer {
    Layer::from_number(number(value)).unwrap()
}

fn direction(value: &Value) -> Direction {
    if number(value) == 0 { Direction::C2s } else { Direction::S2c }
}

fn algorithm(value: &Value) -> Algorithm {
    Algorithm::from_cose_id(value.as_i64().unwrap()).unwrap()
}

fn group(value: &Value) -> Option<NamedGroup> {
    value.as_u64().map(|number| NamedGroup::from_number(number).unwrap())
}

/// Fails unless `result` is what the case expects.
fn expect<T>(case: &Value, result: Result<T, impl Into<Reason>>) {
    let got = result.map_or_else(|error| error.into().name(), |_| "ok");
    assert_eq!(got, text(&case["expect"]), "{}", case["name"]);
}

/// How the session key of a session of the vectors travels.
enum Wrapping {
    Rsa(Box<RsaPrivateKey>),
    Secret(KeyName, TerminalSecret),
}

impl Wrapping {
    fn read(file: &File, session: &Value) -> Self {
        match session["kt"].as_i64() {
            Some(-41) => {
                let pem = file.private_pem(text(&session["rsa_key"]));
                Self::Rsa(Box::new(RsaPrivateKey::from_pem(pem).unwrap()))
            }
            _ => {
                let name = KeyName::try_from(bytes(&session["kid"]).as_slice()).unwrap();
                let secret = base64_turbo::STANDARD.encode(bytes(&session["secret"]));
                Self::Secret(name, TerminalSecret::from_text(&secret).unwrap())
            }
        }
    }

    /// As a terminal knows it.
    fn recipient(&self) -> Recipient<'_> {
        match self {
            Self::Rsa(key) => Recipient::Rsa(key.public()),
            Self::Secret(name, secret) => Recipient::Secret(name, secret),
        }
    }

    /// As a gateway knows it.
    fn recipients(&self, provider: &dyn CryptoProvider) -> Recipients {
        match self {
            Self::Rsa(key) => Recipients::new(provider, [&**key]).unwrap(),
            Self::Secret(name, secret) => {
                let mut recipients = Recipients::default();
                recipients.add_secret(provider, name.clone(), secret, None);
                recipients
            }
        }
    }
}

/// Both parties of a session of the vectors.
struct Parties<'a> {
    session: &'a Value,
    wrapping: Wrapping,
    terminal: Scripted<'a>,
    gateway: Scripted<'a>,
}

impl<'a> Parties<'a> {
    fn new(
        file: &File,
        session: &'a Value,
        terminal: &'static dyn CryptoProvider,
        gateway: &'static dyn CryptoProvider,
    ) -> Self {
        let wrapping = Wrapping::read(file, session);
        let (terminal, gateway) = (Scripted::new(terminal, session), Scripted::new(gateway, session));
        Self { session, wrapping, terminal, gateway }
    }

    /// Every pair of providers.
    fn all(file: &'a File, session: &'a Value) -> impl Iterator<Item = Self> + 'a {
        let pairs =
            providers().iter().flat_map(|terminal| providers().iter().map(move |gateway| (*terminal, *gateway)));
        pairs.map(|(terminal, gateway)| Self::new(file, session, terminal, gateway))
    }

    /// The terminal makes H.
    fn init_request(&self) -> InitRequest {
        let session = self.session;
        let random = terminal_random(session);
        let parameters = InitParameters {
            layer: layer(&session["layer"]),
            alg: algorithm(&session["alg"]),
            recipient: self.wrapping.recipient(),
            group: group(&session["group"]),
            require_exchange: session.get("gateway_share").is_some(),
            issued: session["time"].as_u64(),
        };
        let request = InitRequest::new(&self.terminal, &random, &parameters).unwrap();
        assert!(random.is_used_up());
        assert_eq!(request.protected(), bytes(&session["h"]));
        for (label, member) in INIT_LABELS {
            assert_eq!(self.terminal.expanded(label), bytes(&session[member]), "{member}");
        }
        request
    }

    /// The gateway reads H.
    fn unwrap_init(&self, sealed: Encrypt0<InitHeader>) -> UnwrappedInit {
        let session = self.session;
        let takes_share = session.get("gateway_share").is_some();
        let accepts = Accepts {
            layers: Layer::ALL.into(),
            algorithms: Algorithm::ALL.into(),
            key_transports: KeyTransport::ALL.into(),
            groups: if takes_share { NamedGroup::ALL.into() } else { Vec::new() },
            require_exchange: takes_share,
        };
        let recipients = self.wrapping.recipients(&self.gateway);
        let checked = sealed.check(&self.gateway, &accepts, recipients.at(0)).unwrap();
        assert_eq!(checked.header_digest(&self.gateway), array(&session["sha256_h"]));
        assert_eq!(checked.issued(), session["time"].as_u64());
        let kid = bytes(&session["kid"]);
        match checked.kid() {
            Kid::Rsa(id) => assert_eq!(id.0[..], kid),
            Kid::Secret(name) => {
                assert_eq!(name.as_str().as_bytes(), kid);
                assert_eq!(self.gateway.expanded(&kid), bytes(&session["kek"]));
            }
        }
        // What the gateway draws to have it if it needs it: K, and a key to unwrap with.
        let unwrapped = checked.unwrap_key(&self.gateway, &Script::new(&[&[0; 64]])).unwrap();
        for (label, member) in INIT_LABELS {
            assert_eq!(self.gateway.expanded(label), bytes(&session[member]), "{member}");
        }
        unwrapped
    }

    /// The gateway makes R.
    fn reply(&self, opened: OpenedInit) -> InitResponse {
        let session = self.session;
        let r = bytes(&session["r"]);
        let response = opened.reply(&self.gateway, Sid(array(&session["sid"])), says_end(&r));
        assert_eq!(response.protected(), r);
        self.check_session_keys(&self.gateway);
        response
    }

    fn check_established(&self, established: &Established) {
        assert_eq!(established.keys.sid(), Sid(array(&self.session["sid"])));
        assert_eq!(established.exchanged, self.session.get("gateway_share").is_some());
        self.check_session_keys(&self.terminal);
    }

    fn check_session_keys(&self, provider: &Scripted<'_>) {
        for (label, member) in SESSION_LABELS {
            assert_eq!(provider.expanded(label), bytes(&self.session[member]), "{member}");
        }
    }
}

const INIT_LABELS: [(&str, &str); 3] =
    [("syncseal v1 init key", "init_key"), ("syncseal v1 init iv", "init_iv"), ("syncseal v1 exchange", "salt1")];

const SESSION_LABELS: [(&str, &str); 4] = [
    ("syncseal v1 key c2s", "key_c2s"),
    ("syncseal v1 key s2c", "key_s2c"),
    ("syncseal v1 iv c2s", "iv_c2s"),
    ("syncseal v1 iv s2c", "iv_s2c"),
];

/// Whether a protected header of a response ends with `9: true`.
fn says_end(protected: &[u8]) -> bool {
    protected.ends_with(&[0x09, 0xF5])
}

fn init_of(layer: Layer, bytes: BytesMut) -> Encrypt0<InitHeader> {
    match seal::decode_request(layer, bytes).unwrap() {
        SealedRequest::Init(sealed) => sealed,
        SealedRequest::Numbered(sealed) => panic!("not an init request: {sealed:?}"),
    }
}

fn numbered_of(layer: Layer, bytes: BytesMut) -> Encrypt0<NumberedHeader> {
    match seal::decode_request(layer, bytes).unwrap() {
        SealedRequest::Numbered(sealed) => sealed,
        SealedRequest::Init(sealed) => panic!("an init request: {sealed:?}"),
    }
}

/// No case is passed over in silence.
#[test]
fn cases_that_are_not_run_are_named() {
    File::read("keyschedule.json", elsewhere).print_elsewhere(&["keyschedule.json"]);
    File::read("message-layer.json", elsewhere).print_elsewhere(&["message-layer.json"]);
    File::read("data-layer.json", elsewhere).print_elsewhere(&["data-layer.json"]);
    File::read("refusals.json", elsewhere).print_elsewhere(&["write"]);
    File::read("invalid.json", elsewhere).print_elsewhere(&[
        "base64",
        "cbor",
        "document",
        "exchange",
        "open",
        "plaintext",
        "seal",
        "target",
    ]);
}

#[test]
fn key_schedule() {
    let file = File::read("keyschedule.json", elsewhere);
    file.run("keyschedule.json", |case| {
        let layer = layer(&case["layer"]);
        for parties in Parties::all(&file, case) {
            if layer == Layer::Data {
                establish_in_documents(&parties, None, None);
                continue;
            }
            let (request, pending) = parties.init_request().seal(&HandshakePlaintext.plaintext());
            let (opened, _) = parties.unwrap_init(init_of(layer, request.as_ref().into())).open().unwrap();
            let response = parties.reply(opened).seal(&HandshakePlaintext.plaintext()).0;
            let established = pending.handle_response(&parties.terminal, response.as_ref().into()).unwrap();
            parties.check_established(&established);
        }
        exchange_from_either_side(case);
        for nonces in case["nonces"].as_array().unwrap() {
            let number = Number::new(number(&nonces["number"])).unwrap();
            assert_eq!(seal::nonce(&array(&case["iv_c2s"]), number), array(&nonces["c2s"]));
            assert_eq!(seal::nonce(&array(&case["iv_s2c"]), number), array(&nonces["s2c"]));
        }
    });
}

/// The shares and the secret of the file; then each of our providers as either party against the file's other party.
fn exchange_from_either_side(case: &Value) {
    let Some(group) = group(&case["group"]) else { return };
    let (terminal, gateway) = (Private::read(&case["terminal_private"]), Private::read(&case["gateway_private"]));
    let terminal_share = bytes(&case["terminal_share"]);
    assert_eq!(terminal.terminal_share(), terminal_share);
    if let Some(gateway_share) = case.get("gateway_share") {
        let secret = bytes(&case["ss"]);
        assert_eq!(gateway.answer(&terminal_share), (bytes(gateway_share), secret.clone()));
        assert_eq!(terminal.complete(&bytes(gateway_share)), secret);
    }
    let providers = providers().iter().filter(|provider| provider.groups().contains(&group));
    for provider in providers {
        let answered = provider.answer_exchange(group, &terminal_share).unwrap();
        assert_eq!(terminal.complete(&answered.share), answered.secret.expose());
        let started = provider.start_exchange(group).unwrap();
        let (share, secret) = gateway.answer(started.share());
        assert_eq!(started.complete(&share).unwrap().expose(), secret);
    }
}

#[test]
fn message_layer() {
    let file = File::read("message-layer.json", elsewhere);
    file.run("message-layer.json", |case| {
        for parties in Parties::all(&file, &case["session"]) {
            let messages = case["messages"].as_array().unwrap();
            let (init, rest) = messages.split_first_chunk::<2>().unwrap();
            let (terminal, gateway) = establish(&parties, init);
            for message in rest {
                exchange_numbered(&terminal, &gateway, message);
            }
        }
    });
}

/// Runs an init request and its response from either side, and gives each party's keys.
fn establish(parties: &Parties<'_>, [request, response]: &[Value; 2]) -> (SessionKeys, SessionKeys) {
    let (sealed, pending) = with_plaintext(request, |plaintext| parties.init_request().seal(plaintext));
    assert_eq!(sealed, bytes(&request["sealed"]));
    let unwrapped = parties.unwrap_init(init_of(Layer::Message, sealed.as_ref().into()));
    let (opened, plaintext) = unwrapped.open().unwrap();
    check_opened(request, &plaintext);

    let (sealed, gateway) = with_plaintext(response, |plaintext| parties.reply(opened).seal(plaintext));
    assert_eq!(sealed, bytes(&response["sealed"]));
    let established = pending.handle_response(&parties.terminal, sealed.as_ref().into()).unwrap();
    check_opened(response, &established.plaintext);
    assert_eq!(established.end, says_end(&bytes(&response["protected"])));
    (established.keys, gateway)
}

fn exchange_numbered(terminal: &SessionKeys, gateway: &SessionKeys, message: &Value) {
    let number = Number::new(number(&message["number"])).unwrap();
    let end = says_end(&bytes(&message["protected"]));
    let (sealed, opened) = match direction(&message["direction"]) {
        Direction::C2s => {
            let sealed = with_plaintext(message, |plaintext| terminal.seal_request(number, plaintext));
            let received = numbered_of(Layer::Message, sealed.as_ref().into());
            assert_eq!(received.header().number, number);
            (sealed, gateway.open(received).unwrap())
        }
        Direction::S2c => {
            let sealed = with_plaintext(message, |plaintext| gateway.seal_response(number, end, plaintext));
            let received = seal::decode_response(Layer::Message, sealed.as_ref().into()).unwrap();
            assert_eq!((received.header().number, received.header().end), (number, end));
            (sealed, terminal.open(received).unwrap())
        }
    };
    assert_eq!(sealed, bytes(&message["sealed"]));
    check_opened(message, &opened);
}

#[test]
fn data_layer() {
    let file = File::read("data-layer.json", elsewhere);
    let beginning = |session: &str, direction| {
        let mut cases = file.cases().iter().filter(|case| case["session"] == *session).map(DocumentCase::read);
        cases.find(|case| case.begins(direction))
    };
    file.run("data-layer.json", |case| {
        let session = text(&case["session"]);
        let case = DocumentCase::read(case);
        if file.session(session)["kt"] == -5 {
            let keys = |provider| keys::session_keys(provider, &keys::Given::read(file.session(session)));
            let all = || providers().iter().map(|provider| keys(*provider));
            return all().for_each(|terminal| all().for_each(|gateway| case.exchange(&terminal, &gateway)));
        }
        let (request, response) = (beginning(session, Direction::C2s), beginning(session, Direction::S2c));
        for parties in Parties::all(&file, file.session(session)) {
            let (terminal, gateway) = establish_in_documents(&parties, request.as_ref(), response.as_ref());
            case.exchange(&terminal, &gateway);
        }
    });
}

#[test]
fn invalid_cbor() {
    File::read("invalid.json", elsewhere).run("cbor", |case| expect(case, seal::check_item(&bytes(&case["bytes"]))));
}

#[test]
fn invalid_seals() {
    File::read("invalid.json", elsewhere).run("seal", |case| {
        let (layer, bytes) = (layer(&case["layer"]), BytesMut::from(&bytes(&case["bytes"])[..]));
        match (direction(&case["direction"]), case["first"].as_bool().unwrap()) {
            (Direction::C2s, _) => expect(case, seal::decode_request(layer, bytes)),
            (Direction::S2c, true) => expect(case, seal::decode_init_response(layer, bytes)),
            (Direction::S2c, false) => expect(case, seal::decode_response(layer, bytes)),
        }
    });
}

#[test]
fn invalid_plaintexts() {
    File::read("invalid.json", elsewhere).run("plaintext", |case| {
        let plaintext = bytes(&case["bytes"]);
        expect(case, decode_plaintext(direction(&case["direction"]), &plaintext));
    });
}

/// Whether it is a message of that direction, or the handshake's map.
fn decode_plaintext(direction: Direction, plaintext: &[u8]) -> Result<(), seal::Malformed> {
    let extras = Extras::default();
    let message = match direction {
        Direction::C2s => Request::decode(plaintext, &extras).map(drop),
        Direction::S2c => Response::decode(plaintext, &extras).map(drop),
    };
    message.or_else(|_| HandshakePlaintext::decode(plaintext).map(drop))
}

#[test]
fn invalid_targets() {
    File::read("invalid.json", elsewhere).run("target", |case| {
        let prefixes: Vec<_> = case["prefixes"].as_array().unwrap().iter().map(text).collect();
        expect(case, Target::parse(text(&case["target"]).as_bytes(), &prefixes));
    });
}

#[test]
fn invalid_base64() {
    File::read("invalid.json", elsewhere)
        .run("base64", |case| expect(case, seal::decode_base64(text(&case["text"]).as_bytes())));
}

#[test]
fn invalid_shares() {
    File::read("invalid.json", elsewhere).run("exchange", |case| {
        let (group, share) = (group(&case["group"]).unwrap(), bytes(&case["share"]));
        let providers: Vec<_> = providers().iter().filter(|provider| provider.groups().contains(&group)).collect();
        assert!(!providers.is_empty() || cfg!(not(feature = "aws-lc")));
        for provider in providers {
            let result = match text(&case["party"]) {
                "gateway" => provider.answer_exchange(group, &share).map(drop),
                _ => provider.start_exchange(group).unwrap().complete(&share).map(drop),
            };
            expect(case, result.map_err(|_| seal::Malformed::Share));
        }
    });
}

#[test]
fn documents_that_cannot_be_sealed() {
    File::read("invalid.json", elsewhere).run("document", |case| {
        let content_type = text(&case["content_type"]).as_bytes();
        let form = MediaType::parse(content_type).unwrap().form;
        expect(case, Sealable::new(form, content_type, bytes(&case["document"]).into()));
    });
}

#[test]
fn opening() {
    File::read("invalid.json", elsewhere).run("open", |case| {
        for provider in providers() {
            match layer(&case["layer"]) {
                Layer::Message => expect(case, open_with(*provider, case)),
                Layer::Data => expect(case, document::open_with(*provider, case)),
            }
        }
    });
}

/// Opens with the key and nonce of the case, whatever the header says.
fn open_with(provider: &dyn CryptoProvider, case: &Value) -> Result<(), Reason> {
    let (layer, direction) = (layer(&case["layer"]), direction(&case["direction"]));
    let received = BytesMut::from(&bytes(&case["bytes"])[..]);
    let (protected, mut ciphertext) = match direction {
        Direction::C2s => match seal::decode_request(layer, received)? {
            SealedRequest::Init(sealed) => parts(&sealed),
            SealedRequest::Numbered(sealed) => parts(&sealed),
        },
        Direction::S2c => match seal::decode_response(layer, received.clone()) {
            Ok(sealed) => parts(&sealed),
            Err(_) => parts(&seal::decode_init_response(layer, received)?),
        },
    };
    let aad = seal::enc_structure(&protected, &seal::external_aad(layer, direction, NO_DOCUMENT));
    let key = provider.aead(algorithm(&case["alg"]), &Key::from_slice(&bytes(&case["key"])).unwrap());
    key.open_in_place(array(&case["nonce"]), &aad, &mut ciphertext).map_err(|_| Reason::CannotOpen)?;
    ciphertext.truncate(ciphertext.len() - TAG_LEN);
    Ok(decode_plaintext(direction, &ciphertext)?)
}

fn parts<H>(sealed: &Encrypt0<H>) -> (Vec<u8>, Vec<u8>) {
    (sealed.protected().to_vec(), sealed.ciphertext().to_vec())
}

//! The protocol's test vectors, from both sides and with every provider.
//!
//! `SYNCSEAL_VECTORS` names another directory of such files. Cases that are for another test, or for a part of the
//! protocol that this crate does not have yet, are printed by name.

#[path = "vectors/file.rs"]
mod file;
#[path = "vectors/script.rs"]
mod script;

use bytes::{Bytes, BytesMut};
use coset::cbor::Value as Cbor;
use file::{Elsewhere, File, array, bytes, number, text};
use script::{Private, Script, Scripted, terminal_random};
use serde_json::Value;
use syncseal::crypto::{
    Algorithm, CryptoProvider, Key, KeyId, KeyTransport, NamedGroup, RsaPrivateKey, TAG_LEN, providers,
};
use syncseal::seal::{
    self, Accepts, Direction, Encrypt0, Extras, Fields, HandshakePlaintext, InitHeader, InitParameters, InitRequest,
    InitResponse, Layer, NO_DOCUMENT, Number, NumberedHeader, OpenedInit, Plaintext, Reason, Recipients, Refusal,
    RefusalReason, Request, Response, SealedRequest, SessionKeys, Sid, Target,
};
use syncseal::syncml::{Document, Form, Kind, Limits, MediaType, Reader, Strictness, Tag};

/// Where a case belongs that is not run here.
fn elsewhere(case: &Value) -> Option<Elsewhere> {
    let session = case.get("session").unwrap_or(case);
    match case.get("kind").and_then(Value::as_str) {
        Some("gateway") => Some(Elsewhere::Gateway),
        Some("document") => Some(Elsewhere::DataLayer),
        Some("open") if case["layer"] == 0 => Some(Elsewhere::DataLayer),
        None if case.get("sealed_document").is_some() => Some(Elsewhere::DataLayer),
        None if session["kt"] == -5 => Some(Elsewhere::SharedSecrets),
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

/// Both parties of a session of the vectors.
struct Parties<'a> {
    session: &'a Value,
    private_key: RsaPrivateKey,
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
        let private_key = RsaPrivateKey::from_pem(file.private_pem(text(&session["rsa_key"]))).unwrap();
        let (terminal, gateway) = (Scripted::new(terminal, session), Scripted::new(gateway, session));
        Self { session, private_key, terminal, gateway }
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
            recipient: self.private_key.public(),
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

    /// The gateway reads H and opens.
    fn open_init(&self, sealed: Encrypt0<InitHeader>) -> (OpenedInit, Bytes) {
        let session = self.session;
        let takes_share = session.get("gateway_share").is_some();
        let accepts = Accepts {
            layers: Layer::ALL.into(),
            algorithms: Algorithm::ALL.into(),
            key_transports: KeyTransport::ALL.into(),
            groups: if takes_share { NamedGroup::ALL.into() } else { Vec::new() },
            require_exchange: takes_share,
        };
        let recipients = Recipients::new(&self.gateway, [&self.private_key]).unwrap();
        let checked = sealed.check(&self.gateway, &accepts, &recipients).unwrap();
        assert_eq!(checked.header_digest(&self.gateway), array(&session["sha256_h"]));
        assert_eq!(checked.issued(), session["time"].as_u64());
        assert_eq!(checked.key_id().0, array(&session["kid"]));
        let opened = checked.unwrap_key(&self.gateway, &Script::new(&[&[0; 32]])).unwrap().open().unwrap();
        for (label, member) in INIT_LABELS {
            assert_eq!(self.gateway.expanded(label), bytes(&session[member]), "{member}");
        }
        opened
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

/// The seal of an empty message, as the data layer holds it: a tag alone, by an AEAD used directly.
fn empty_untagged(
    provider: &dyn CryptoProvider,
    direction: Direction,
    protected: &[u8],
    session: &Value,
    key: &str,
    iv: &str,
) -> BytesMut {
    let aad = seal::enc_structure(protected, &seal::external_aad(Layer::Data, direction, NO_DOCUMENT));
    let key = Key::from_slice(&bytes(&session[key])).unwrap();
    let tag = provider.aead(algorithm(&session["alg"]), &key).seal_in_place(array(&session[iv]), &aad, &mut []);
    let encrypt0 = Cbor::Array(vec![Cbor::Bytes(protected.to_vec()), Cbor::Map(Vec::new()), Cbor::Bytes(tag.to_vec())]);
    let mut out = Vec::new();
    coset::cbor::into_writer(&encrypt0, &mut out).unwrap();
    out.as_slice().into()
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
    File::read("data-layer.json", elsewhere).print_elsewhere(&[]);
    File::read("refusals.json", elsewhere).print_elsewhere(&["write"]);
    File::read("invalid.json", elsewhere).print_elsewhere(&[
        "base64",
        "cbor",
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
            let (request, pending) = parties.init_request().seal(&HandshakePlaintext.plaintext());
            let request = match layer {
                Layer::Message => request.as_ref().into(),
                Layer::Data => {
                    empty_untagged(&parties.terminal, Direction::C2s, &bytes(&case["h"]), case, "init_key", "init_iv")
                }
            };
            let (opened, _) = parties.open_init(init_of(layer, request));
            let reply = parties.reply(opened);
            let response = match layer {
                Layer::Message => reply.seal(&HandshakePlaintext.plaintext()).0.as_ref().into(),
                Layer::Data => {
                    empty_untagged(&parties.gateway, Direction::S2c, &bytes(&case["r"]), case, "key_s2c", "iv_s2c")
                }
            };
            let established = pending.handle_response(&parties.terminal, response).unwrap();
            assert_eq!(established.keys.sid(), Sid(array(&case["sid"])));
            assert_eq!(established.exchanged, case.get("gateway_share").is_some());
            parties.check_session_keys(&parties.terminal);
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
    let (opened, plaintext) = parties.open_init(init_of(Layer::Message, sealed.as_ref().into()));
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

/// A message of the file, in parts.
struct Message {
    content_type: String,
    target: Option<String>,
    status: Option<u16>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Message {
    /// `None` is the handshake.
    fn read(message: &Value) -> Option<Self> {
        let message = Some(&message["message"]).filter(|message| !message.is_null())?;
        let fields = message["fields"].as_array().unwrap();
        Some(Self {
            content_type: text(&message["content_type"]).to_owned(),
            target: message["target"].as_str().map(ToOwned::to_owned),
            status: message["status"].as_u64().map(|status| status.try_into().unwrap()),
            fields: fields.iter().map(|field| (text(&field[0]).to_owned(), bytes(&field[1]))).collect(),
            body: bytes(&message["body"]),
        })
    }

    /// Its fields, among others that may not travel.
    fn fields(&self, direction: Direction) -> Fields<'_> {
        let own = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let others: [(&str, &[u8]); 2] = [("host", b"server.example"), ("accept-encoding", b"gzip")];
        let fields = Fields::filter(direction, &Extras::default(), own.clone().chain(others));
        assert!(fields.iter().eq(own));
        fields
    }
}

/// Builds the plaintext of a message of the file, and compares it.
fn with_plaintext<T>(vector: &Value, seal: impl FnOnce(&Plaintext<'_>) -> T) -> T {
    let message = Message::read(vector);
    let plaintext = match &message {
        None => HandshakePlaintext.plaintext(),
        Some(message @ Message { content_type, target: Some(target), body, .. }) => {
            Request { content_type, target, fields: message.fields(Direction::C2s), body }.plaintext()
        }
        Some(message @ Message { content_type, status, body, .. }) => {
            let fields = message.fields(Direction::S2c);
            Response { content_type, status: status.unwrap(), fields, body }.plaintext()
        }
    };
    seal(&plaintext)
}

/// Compares an opened plaintext, and what it says, with a message of the file.
fn check_opened(vector: &Value, plaintext: &[u8]) {
    assert_eq!(plaintext, bytes(&vector["plaintext"]));
    let extras = Extras::default();
    match Message::read(vector) {
        None => assert_eq!(HandshakePlaintext::decode(plaintext), Ok(HandshakePlaintext)),
        Some(message @ Message { target: Some(_), .. }) => {
            let request = Request::decode(plaintext, &extras).unwrap();
            assert_eq!(request.content_type, message.content_type);
            assert_eq!(Some(request.target), message.target.as_deref());
            assert_eq!(request.fields, message.fields(Direction::C2s));
            assert_eq!(request.body, message.body);
        }
        Some(message) => {
            let response = Response::decode(plaintext, &extras).unwrap();
            assert_eq!(response.content_type, message.content_type);
            assert_eq!(Some(response.status), message.status);
            assert_eq!(response.fields, message.fields(Direction::S2c));
            assert_eq!(response.body, message.body);
        }
    }
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
        assert!(!providers.is_empty());
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
fn opening() {
    File::read("invalid.json", elsewhere).run("open", |case| {
        for provider in providers() {
            expect(case, open_with(*provider, case));
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

#[test]
fn written_refusals() {
    File::read("refusals.json", elsewhere).run("write", |case| {
        let refusal = read_refusal(case);
        let expected = &case["expect"];
        assert_eq!(Refusal::from_map(&refusal.to_map()).as_ref(), Ok(&refusal));
        assert_eq!(Refusal::from_problem(&refusal.to_problem()).as_ref(), Ok(&refusal));
        if let Some(map) = expected.get("refusal_map_cbor") {
            assert_eq!(refusal.to_map(), bytes(map));
        }
        if let Some(problem) = expected.get("problem") {
            let written: Value = serde_json::from_slice(&refusal.to_problem()).unwrap();
            assert_eq!(without_words(&written), without_words(problem));
        }
        if let Some(request) = case.get("request").filter(|request| !request.is_null()) {
            check_refusal_document(&refusal, request, expected);
        }
    });
}

fn read_refusal(case: &Value) -> Refusal {
    let members = &case["members"];
    let list = |name: &str| members[name].as_array().cloned().unwrap_or_default();
    let mut refusal = Refusal::from(Reason::from_name(text(&case["reason"])).unwrap());
    refusal.algorithms = list("algorithms").iter().map(|alg| alg.as_i64().unwrap().into()).collect();
    refusal.key_transports = list("key_transports").iter().map(|kt| kt.as_i64().unwrap().into()).collect();
    refusal.groups = list("groups").iter().map(number).collect();
    refusal.keys = list("keys").iter().map(|key| KeyId(array(key))).collect();
    refusal.layers = list("layers").iter().map(number).collect();
    refusal.retry_after = members["retry_after"].as_u64();
    refusal
}

/// Problem details without the members that are words for a person.
fn without_words(problem: &Value) -> Value {
    let mut problem = problem.clone();
    for member in ["title", "detail"] {
        let words = problem.as_object_mut().unwrap().remove(member).unwrap();
        assert!(text(&words).is_ascii() && !text(&words).is_empty());
    }
    problem
}

/// The document that answers `request`: its leaves, status and refusal map, and the sentence for a person.
fn check_refusal_document(refusal: &Refusal, request: &Value, expected: &Value) {
    let form = MediaType::parse(text(&request["content_type"]).as_bytes()).unwrap().form;
    let request = bytes(&request["body"]);
    let RefusalReason::Known(reason) = refusal.reason else { panic!("{} is none of ours", refusal.reason) };
    let document = Document::scan(form, &request, &Limits::default()).unwrap().refusal(
        reason.syncml_status(),
        &refusal.to_map(),
        &refusal.sentence(),
    );
    assert_eq!(u64::from(reason.syncml_status()), number(&expected["syncml_status"]));

    let answer = Document::scan(form, &document, &Limits::default()).unwrap();
    assert_eq!(answer.refusal_map().as_deref(), Some(&bytes(&expected["refusal_map_cbor"])[..]));
    let (words, leaves): (Vec<_>, Vec<_>) = leaves(form, &document).into_iter().partition(|(path, _)| is_words(path));
    let expected: Vec<_> =
        expected["leaves"].as_array().unwrap().iter().map(|leaf| (text(&leaf[0]), text(&leaf[1]))).collect();
    assert_eq!(leaves.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>(), expected);
    let sentence = &words.iter().find(|(path, _)| path.ends_with("/Data")).unwrap().1;
    assert!(sentence.starts_with(reason.name()) && sentence.is_ascii());
}

/// Whether a leaf is the EMI with the refusal map, or the sentence.
fn is_words(path: &str) -> bool {
    ["Item/Meta/EMI", "Item/Data"].iter().any(|end| path.ends_with(end))
}

/// Path and text of every leaf.
fn leaves(form: Form, document: &[u8]) -> Vec<(String, String)> {
    let (mut path, mut leaves): (Vec<String>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    let (mut content, mut is_leaf) = (Vec::new(), true);
    let name = |tag: Tag<'_>| String::from_utf8(tag.name.to_vec()).unwrap();
    for event in Reader::new(form, document, &Limits::default(), Strictness::Strict).unwrap() {
        match event.unwrap().kind {
            Kind::Start(tag) => {
                path.push(name(tag));
                content.clear();
                is_leaf = true;
            }
            Kind::Empty(tag) => {
                leaves.push((format!("{}/{}", path.join("/"), name(tag)), String::new()));
                is_leaf = false;
            }
            Kind::Text(text) => content.extend_from_slice(text.bytes()),
            Kind::End => {
                if is_leaf {
                    leaves.push((path.join("/"), String::from_utf8_lossy(&content).into_owned()));
                }
                path.pop();
                is_leaf = false;
            }
        }
    }
    leaves
}

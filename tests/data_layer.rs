//! The data layer from end to end: the sample client through agents and gateways to the sample server, with the wire
//! recorded; in one layer, and in both, one inside the other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::Tap;
use http::{Request, Response};
use http_body_util::Full;
use syncseal::agent::Agent;
use syncseal::crypto::SystemRandom;
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::net::server::Listener;
use syncseal::net::upstream::{Settings, Upstream};
use syncseal::policy::{AgentPolicy, Environment, GatewayPolicy};
use syncseal::sample::{Client, ClientConfig, Config, Mode, Server};
use syncseal::seal::data::SealedDocument;
use syncseal::seal::{self, Layer, SealedRequest};
use syncseal::session::{TimeSource, UnixTime, WallClock};
use syncseal::syncml::{Command, Document, Form, Limits};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

const CARD: &str = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ada NAME\r\nN:NAME;Ada;;;\r\nTEL:+46 70 1234567\r\nEND:VCARD\r\n";
const XML: &str = "application/vnd.syncml+xml";

/// A time that passes when it is told to.
struct Clock(AtomicU64);

impl TimeSource for Clock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

/// A machine on which everything runs, with its files.
struct Site {
    directory: TempDir,
    clock: Arc<Clock>,
    trigger: Trigger,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        fs::copy(keys.join("public.pem"), directory.path().join("public.pem")).unwrap();
        let private = directory.path().join("private.pem");
        fs::copy(keys.join("pkcs8.pem"), &private).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
        let clock = Arc::new(Clock(AtomicU64::new(WallClock.now().0)));
        Self { directory, clock, trigger: Trigger::new() }
    }

    /// A server that gives its own address in RespURI, which neither client nor agent must use.
    async fn server(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Config { url: Some(format!("http://{addr}/sync")), ..Config::default() };
        let server = Arc::new(Server::new(self.directory.path().join("server"), config).unwrap());
        tokio::spawn(server.serve(listener, std::future::pending()));
        addr
    }

    async fn gateway(&self, upstream: SocketAddr, options: &str, route: &str) -> SocketAddr {
        let text = format!(
            "version = 1\n[gateway]\nkeys = [\"private.pem\"]\n{options}\n[[route]]\npath = \"/\"\n\
             upstream = \"http://{upstream}\"\n{route}\n"
        );
        let policy =
            GatewayPolicy::parse(&self.directory.path().join("gateway.toml"), &text, &Environment::default()).unwrap();
        let surroundings = Surroundings { time: self.clock.clone(), ..Surroundings::default() };
        let gateway = Gateway::in_memory(&policy, surroundings).unwrap();
        // No early message is taken in the second in which the memory of them begins.
        self.clock.0.fetch_add(1, Ordering::Relaxed);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(gateway.serve(listener, self.trigger.subscribe()));
        addr
    }

    async fn agent(&self, listener: Listener, gateway: SocketAddr, options: &str) {
        let text = format!(
            "version = 1\n[agent]\ngateway = \"http://{gateway}/sync\"\nkey = \"public.pem\"\n{options}\n\
             [retransmit]\nattempts = 0\n"
        );
        let policy =
            AgentPolicy::parse(&self.directory.path().join("agent.toml"), &text, &Environment::default()).unwrap();
        let agent = Agent::new(policy, self.clock.clone(), Arc::new(SystemRandom)).unwrap();
        let drain = self.trigger.subscribe();
        tokio::spawn(async move { agent.serve(listener, drain).await.unwrap() });
    }

    fn put(&self, side: &str, name: &str, card: &str) {
        let book = self.directory.path().join(side);
        fs::create_dir_all(&book).unwrap();
        fs::write(book.join(format!("{name}.vcf")), card).unwrap();
    }

    fn cards(&self, side: &str) -> BTreeSet<String> {
        let files = fs::read_dir(self.directory.path().join(side)).unwrap().map(|entry| entry.unwrap().path());
        let cards = files.filter(|file| file.extension().is_some_and(|extension| extension == "vcf"));
        cards.map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    /// Syncs both address books, from nothing and after changes on both sides.
    async fn sync(&self, agent: SocketAddr, form: Form, wait_for_challenge: bool) {
        let config = ClientConfig { form, wait_for_challenge, ..ClientConfig::new(format!("http://{agent}/sync")) };
        let client = Client::new(self.directory.path().join("client"), config);
        self.put("client", "ada", CARD);
        // Large enough to be split over several messages.
        self.put("client", "large", &CARD.replace("Ada", &format!("Large{}", "x".repeat(200_000))));
        self.put("server", "bo", &CARD.replace("Ada", "Bo"));
        client.sync(Mode::Slow, &mut |_| ()).await.unwrap();
        assert_eq!(self.cards("client").len(), 3);
        assert_eq!(self.cards("client"), self.cards("server"));
        self.put("client", "ada", &CARD.replace("Ada", "Augusta"));
        self.put("server", "cy", &CARD.replace("Ada", "Cy"));
        client.sync(Mode::TwoWay, &mut |_| ()).await.unwrap();
        assert_eq!(self.cards("client").len(), 4);
        assert_eq!(self.cards("client"), self.cards("server"));
    }
}

async fn listener() -> (Listener, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Whatever is not to be seen of a sync.
const SECRETS: [&str; 8] =
    ["BEGIN:VCARD", "NAME", "1234567", "xxxxxxxx", "alice", "secret", "YWxpY2U6c2VjcmV0", "SyncSeal sample"];

fn assert_hidden(wire: &[u8], secrets: &[&str]) {
    for secret in secrets {
        assert!(memchr::memmem::find(wire, secret.as_bytes()).is_none(), "{secret} on the wire");
    }
}

fn recorded(tap: &Tap) -> Vec<u8> {
    let recordings = tap.recordings().into_iter();
    recordings.flat_map(|recording| [recording.requests, recording.responses].concat()).collect()
}

async fn syncs_in_the_data_layer(form: Form, early: bool, wait_for_challenge: bool) {
    let site = Site::new();
    let server = site.server().await;
    let tap = Tap::bind().await;
    let options = format!("public_url = \"http://{}\"\n[early]\naccept = {early}", tap.addr());
    tap.relay_to(site.gateway(server, &options, "layers = [\"data\"]").await);
    let (listener, agent) = listener().await;
    site.agent(listener, tap.addr(), &format!("layer = \"data\"\nearly = {early}")).await;
    site.sync(agent, form, wait_for_challenge).await;

    assert_hidden(&recorded(&tap), &SECRETS);
    let (mut commands, mut inits) = (BTreeSet::new(), 0);
    for (message, is_request) in
        tap.requests().into_iter().map(|m| (m, true)).chain(tap.responses().into_iter().map(|m| (m, false)))
    {
        // It is a SyncML document of the client's form, and its commands and addresses can be read.
        let document = Document::scan(form, &message.body, &Limits::default()).unwrap();
        assert_eq!(document.header.seal_marks, 1);
        let source = document.text(document.header.source.as_ref().unwrap()).into_owned();
        assert!(source == b"sample-client" || source.starts_with(b"http://"), "{}", source.escape_ascii());
        commands.extend(document.body.commands.iter());
        if is_request {
            let content_type =
                message.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).unwrap();
            let (seal, _) = SealedDocument::split(form, &content_type.1, BytesMut::from(&*message.body)).unwrap();
            inits += usize::from(matches!(seal::decode_request(Layer::Data, seal).unwrap(), SealedRequest::Init(_)));
        }
    }
    for command in [Command::Alert, Command::Put, Command::Sync, Command::Status, Command::Map] {
        assert!(commands.contains(&command), "{command:?} in {commands:?}");
    }
    assert_eq!(inits, 2);
    site.trigger.drain();
}

#[tokio::test]
async fn a_sync_in_wbxml_is_sealed_in_its_documents() {
    syncs_in_the_data_layer(Form::Wbxml, false, false).await;
}

#[tokio::test]
async fn a_sync_in_xml_with_a_challenge_is_sealed_in_its_documents() {
    syncs_in_the_data_layer(Form::Xml, false, true).await;
}

#[tokio::test]
async fn a_sync_that_begins_early_is_sealed_in_its_documents() {
    syncs_in_the_data_layer(Form::Wbxml, true, false).await;
    syncs_in_the_data_layer(Form::Xml, true, true).await;
}

/// Client → data-layer agent → message-layer agent → message-layer gateway → data-layer gateway → server.
#[tokio::test]
async fn one_layer_goes_through_the_other() {
    for form in [Form::Xml, Form::Wbxml] {
        let site = Site::new();
        let server = site.server().await;
        let (outer, inner) = (Tap::bind().await, Tap::bind().await);
        let (client_side, data_agent) = listener().await;
        // The address that clients use, so that nobody on the way has to change it in a document that is sealed.
        let data_gateway =
            site.gateway(server, &format!("public_url = \"http://{data_agent}\""), "layers = [\"data\"]").await;
        inner.relay_to(data_gateway);
        // Whose a SyncML session is, the inner gateway says: it alone sees where one begins.
        outer.relay_to(
            site.gateway(inner.addr(), "", "layers = [\"message\"]\ndangerous = { bind_sessions = false }").await,
        );
        let (between, message_agent) = listener().await;
        site.agent(between, outer.addr(), "layer = \"message\"").await;
        site.agent(client_side, message_agent, "layer = \"data\"").await;
        site.sync(data_agent, form, true).await;

        // Outside nothing is to be seen; between the gateways the structure, and none of the data.
        assert_hidden(&recorded(&outer), &SECRETS);
        assert_hidden(&recorded(&outer), &["SyncML", "sample-client", "syncseal:", "LocURI"]);
        assert_hidden(&recorded(&inner), &SECRETS);
        for request in inner.requests() {
            let document = Document::scan(form, &request.body, &Limits::default()).unwrap();
            assert_eq!(document.header.seal_marks, 1);
        }
        assert!(inner.requests().len() > 10);
        site.trigger.drain();
    }
}

/// What a gateway heard of a client's request, and what the client got.
async fn asked(site: &Site, gateway: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let (listener, agent) = listener().await;
    site.agent(listener, gateway, "layer = \"data\"").await;
    let client = Upstream::new(&format!("http://{agent}").parse().unwrap(), Settings::default()).unwrap();
    client.send(request, Instant::now() + Duration::from_secs(60), 1 << 20).await.unwrap()
}

fn message(data: &str) -> String {
    format!(
        "<SyncML><SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto><SessionID>1</SessionID><MsgID>1</MsgID>\
         <Target><LocURI>http://server.example/sync</LocURI></Target><Source><LocURI>d</LocURI></Source></SyncHdr>\
         <SyncBody><Put><CmdID>1</CmdID><Item><Data>{data}</Data></Item></Put><Final/></SyncBody></SyncML>"
    )
}

#[tokio::test]
async fn what_the_data_layer_cannot_carry_stays_at_the_agent_which_names_the_layer_that_can() {
    let site = Site::new();
    let tap = Tap::bind().await;
    let post = |body: String| Request::post("/sync").header("content-type", XML).body(Full::from(body)).unwrap();
    for name in ["authorization", "cookie", "x-syncml-hmac"] {
        let mut request = post(message("x"));
        request.headers_mut().insert(name, "abc".parse().unwrap());
        let response = asked(&site, tap.addr(), request).await;
        assert_eq!(response.status(), 400);
        let said = String::from_utf8_lossy(response.body()).into_owned();
        assert!(said.contains(name) && said.contains("layer = \"message\""), "{said}");
    }
    for (data, found) in [("a]]>b", "`]]>` in text at byte"), ("\u{1}", "a character that is none in XML at byte")] {
        let response = asked(&site, tap.addr(), post(message(data))).await;
        assert_eq!(response.status(), 400);
        let said = String::from_utf8_lossy(response.body()).into_owned();
        assert!(said.contains(found) && said.contains("layer = \"message\""), "{said}");
    }
    assert!(tap.recordings().is_empty());
}

#[tokio::test]
async fn an_answer_that_cannot_be_sealed_is_refused_in_a_sealed_document() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.syncml+xml\r\n",
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n",
        "HTTP/1.1 500 Oops\r\ncontent-type: application/vnd.syncml+xml\r\n",
    ] {
        let site = Site::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let body = message("]]>");
            let answer = format!("{answer}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut some = vec![0; 16 << 10];
                let _ = stream.read(&mut some).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let gateway = site.gateway(server, "", "layers = [\"data\"]").await;
        let post = Request::post("/sync").header("content-type", XML).body(Full::from(message("x"))).unwrap();
        let response = asked(&site, gateway, post).await;
        assert_eq!(response.status(), 200);
        let document = Document::scan(Form::Xml, response.body(), &Limits::default()).unwrap();
        assert_eq!(document.body.hdr_status, Some(502));
        let refusal = seal::Refusal::from_map(&document.refusal_map().unwrap()).unwrap();
        assert_eq!(refusal.reason.to_string(), "upstream-invalid");
    }
}

#[tokio::test]
async fn a_gateway_that_wants_the_other_layer_is_reported_and_plaintext_stays_here() {
    let site = Site::new();
    let gateway = site.gateway("127.0.0.1:9".parse().unwrap(), "", "layers = [\"message\"]").await;
    let post = Request::post("/sync").header("content-type", XML).body(Full::from(message("x"))).unwrap();
    let response = asked(&site, gateway, post).await;
    assert_eq!(response.status(), 403);
    let said = String::from_utf8_lossy(response.body()).into_owned();
    assert!(said.contains("layer-unsupported"), "{said}");
}

//! Real SyncML software that knows nothing of SyncSeal, through an agent and a gateway: SyncEvolution's client
//! synchronises address books with SyncEvolution's server, while taps record what each sees and what goes between agent
//! and gateway, in either layer.
//!
//! `tests/peers/install` installs SyncEvolution, `tests/run` libwbxml's `wbxml2xml`; without them these tests fail.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use base64_turbo::STANDARD as BASE64;
use bytes::Bytes;
use memchr::memmem;
use syncseal::seal::Layer;
use syncseal::seal::data::Sealable;
use syncseal::syncml::Form;
use tempfile::TempDir;

use common::peer::{Auth, PASSWORD, PATH, Peer, Setup, Side, USER};
use common::{Program, Tap, free_port};

const MAX_MSG_SIZE: usize = 20_000;
/// What client and server say of themselves in DevInf, and nowhere else.
const DEVICE_INFORMATION: [&str; 3] = ["Patrick Ohly", "Synthesis AG", "X-EVOLUTION-FILE-AS"];
const COMMANDS: [&str; 16] = [
    "Add", "Alert", "Atomic", "Copy", "Delete", "Exec", "Final", "Get", "Map", "Put", "Replace", "Results", "Search",
    "Sequence", "Status", "Sync",
];

#[tokio::test(flavor = "multi_thread")]
async fn xml_with_basic_credentials() {
    synchronises(Layer::Message, Form::Xml, Auth::Basic, First::AfterHandshake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xml_with_md5_credentials() {
    synchronises(Layer::Message, Form::Xml, Auth::Md5, First::AfterHandshake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wbxml_with_basic_credentials() {
    synchronises(Layer::Message, Form::Wbxml, Auth::Basic, First::AfterHandshake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wbxml_with_md5_credentials() {
    synchronises(Layer::Message, Form::Wbxml, Auth::Md5, First::AfterHandshake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_messages() {
    synchronises(Layer::Message, Form::Wbxml, Auth::Md5, First::Early).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_in_xml() {
    large_objects_cross(Layer::Message, Form::Xml).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_in_wbxml() {
    large_objects_cross(Layer::Message, Form::Wbxml).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xml_in_the_data_layer() {
    tokio::join!(
        synchronises(Layer::Data, Form::Xml, Auth::Basic, First::AfterHandshake),
        synchronises(Layer::Data, Form::Xml, Auth::Md5, First::AfterHandshake),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wbxml_in_the_data_layer() {
    tokio::join!(
        synchronises(Layer::Data, Form::Wbxml, Auth::Basic, First::AfterHandshake),
        synchronises(Layer::Data, Form::Wbxml, Auth::Md5, First::Early),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_in_the_data_layer() {
    tokio::join!(large_objects_cross(Layer::Data, Form::Xml), large_objects_cross(Layer::Data, Form::Wbxml));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_layer_goes_through_the_other() {
    tokio::join!(goes_through_both_layers(Form::Xml), goes_through_both_layers(Form::Wbxml));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_agent_is_refused() {
    let dir = TempDir::new().unwrap();
    let upstream = Tap::bind().await;
    let gateway = Gateway::start(dir.path(), &upstream).await;
    let peer = Peer::setup(dir.path(), setup(Form::Xml, Auth::Basic), upstream.addr(), gateway.wire.addr()).await;
    peer.add(Side::Client, 1, 40).await;

    let mut client = peer.sync("slow");
    assert!(!client.ended().await.success(), "the session should have failed: {}", client.log());

    let log = peer.run(["log"]).await;
    assert!(log.contains("RECEIVED NON-OK STATUS 403 for command 'SyncHdr'"), "no 403 in the client's log: {log}");
    assert!(upstream.recordings().is_empty(), "the server has seen something of it");
}

/// Slow, two-way and refresh synchronisation, with changes of every kind on either side, and a challenge if credentials
/// depend on the server's nonce.
async fn synchronises(layer: Layer, form: Form, auth: Auth, first: First) {
    let mut chain = Chain::start(layer, form, auth, first).await;
    let peer = chain.peer.clone();

    let from_client = peer.add(Side::Client, 3, 40).await;
    let from_server = peer.add(Side::Server, 2, 40).await;
    chain.sync("slow", 5).await;

    peer.run(["change", "client", &from_client[0]]).await;
    peer.run(["change", "server", &from_server[0]]).await;
    peer.run(["delete", "client", &from_server[1]]).await;
    peer.run(["delete", "server", &from_client[1]]).await;
    peer.add(Side::Client, 2, 40).await;
    peer.add(Side::Server, 1, 40).await;
    chain.sync("two-way", 6).await;

    // What only the server has now goes, and comes back from nowhere.
    peer.add(Side::Server, 1, 40).await;
    peer.run(["delete", "server", &from_client[0]]).await;
    peer.add(Side::Client, 1, 40).await;
    chain.sync("refresh-from-local", 7).await;

    if auth == Auth::Md5 {
        peer.run(["challenge"]).await;
        peer.add(Side::Client, 1, 40).await;
        let openings = chain.openings();
        chain.sync("two-way", 8).await;
        assert_eq!(chain.openings() - openings, 2, "the server should have asked for credentials once more");
    }

    chain.assert_everything_was_sealed();
}

/// A contact much larger than a message, from either side.
async fn large_objects_cross(layer: Layer, form: Form) {
    let size = 300_000;
    let mut chain = Chain::start(layer, form, Auth::Basic, First::AfterHandshake).await;
    chain.peer.add(Side::Client, 1, size).await;
    chain.peer.add(Side::Server, 1, size).await;
    chain.sync("slow", 2).await;

    let requests = chain.downstream.requests();
    assert!(requests.iter().all(|request| request.body.len() <= MAX_MSG_SIZE));
    assert!(requests.len() >= 2 * size / MAX_MSG_SIZE, "{} messages are too few for objects in pieces", requests.len());
    chain.assert_everything_was_sealed();
}

/// Client, data-layer agent, message-layer agent, message-layer gateway, data-layer gateway, server, as docs/data-layer.md
/// has it.
async fn goes_through_both_layers(form: Form) {
    let [inner, outer] = [(); 2].map(|()| TempDir::new().unwrap());
    let (downstream, upstream) = (Tap::bind().await, Tap::bind().await);
    let data_gateway = Gateway::start_as(inner.path(), gateway_policy(downstream.addr(), upstream.addr())).await;
    let outer_policy = gateway_policy(downstream.addr(), data_gateway.wire.addr());
    let message_gateway =
        Gateway::start_as(outer.path(), format!("{outer_policy}dangerous = {{ bind_sessions = false }}\n")).await;

    let agent = async |dir: &Path, gateway: SocketAddr, pin: &str, layer: Layer| {
        let policy = agent_policy(downstream.addr(), gateway, pin, layer, First::AfterHandshake);
        fs::write(dir.join("agent.toml"), policy).unwrap();
        let mut agent = Program::syncseal(["agent", "agent.toml"], dir, "agent");
        let listening = agent.listening().await;
        (agent, listening)
    };
    let (_message_agent, between) =
        agent(outer.path(), message_gateway.wire.addr(), &message_gateway.pin, Layer::Message).await;
    let (_data_agent, address) = agent(inner.path(), between, &data_gateway.pin, Layer::Data).await;
    downstream.relay_to(address);

    let server_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    upstream.relay_to(server_addr);
    let peer = Peer::setup(inner.path(), setup(form, Auth::Basic), server_addr, downstream.addr()).await;
    let mut server = peer.serve();
    server.accepting(server_addr).await;

    let from_client = peer.add(Side::Client, 3, 40).await;
    peer.add(Side::Server, 2, 40).await;
    for mode in ["slow", "two-way"] {
        let mut client = peer.sync(mode);
        assert!(client.ended().await.success(), "{mode} failed: {}", client.log());
        peer.run(["compare"]).await;
        peer.run(["change", "client", &from_client[0]]).await;
    }
    let [sent, forwarded] = [downstream.requests(), upstream.requests()].map(sorted);
    assert!(!sent.is_empty() && sent == forwarded, "the server got other messages than the client sent");

    let recorded = |tap: &Tap| -> Vec<u8> {
        let recordings = tap.recordings().into_iter();
        recordings.flat_map(|recording| [recording.requests, recording.responses].concat()).collect()
    };
    let (outside, inside) = (recorded(&message_gateway.wire), recorded(&data_gateway.wire));
    let has = |bytes: &[u8], text: &str| memmem::find(bytes, text.as_bytes()).is_some();
    // Outside there is nothing but seals; between the gateways the structure can be read, and none of the data.
    assert!(
        has(&inside, "<LocURI>sc-peer-phone") || has(&inside, "sc-peer-phone\0"),
        "no address can be read between the gateways"
    );
    assert!(!has(&outside, "SyncHdr") && !has(&outside, "addressbook"), "structure can be read outside");
    for value in peer.book(Side::Client).await.into_iter().flatten().chain([USER.into(), PASSWORD.into()]) {
        assert!(!has(&outside, &value) && !has(&inside, &value), "'{value}' can be read on the way");
    }
}

// --- Configuration

fn setup(form: Form, auth: Auth) -> Setup {
    Setup { form, auth, max_msg_size: MAX_MSG_SIZE }
}

/// Makes the gateway's key pair, `gateway.pem` and `gateway.pub.pem`, and returns the pin.
fn make_key(dir: &Path) -> String {
    let made = Command::new(env!("CARGO_BIN_EXE_syncseal"))
        .args(["keygen", "--bits", "2048", "gateway.pem"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8(made.stdout).unwrap();
    said.split_whitespace().find(|word| word.starts_with("sha256//")).expect("a pin").to_owned()
}

fn gateway_policy(public: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"version = 1

[gateway]
listen = ["127.0.0.1:0"]
public_url = "http://{public}"
keys = ["gateway.pem"]

[early]
accept = true

[[route]]
path = "/"
upstream = "http://{upstream}"
layers = ["message", "data"]
"#
    )
}

fn agent_policy(public: SocketAddr, gateway: SocketAddr, pin: &str, layer: Layer, first: First) -> String {
    let layer = layer.name();
    let early = first == First::Early;
    format!(
        r#"version = 1

[agent]
listen = ["127.0.0.1:0"]
public_url = "http://{public}"
gateway = "http://{gateway}/"
pin = "{pin}"
key = "gateway.pub.pem"
layer = "{layer}"
early = {early}
"#
    )
}

// --- The chain

/// How the first message of a SyncML session travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// As number 1 of a sealed session.
    AfterHandshake,
    /// In the init request.
    Early,
}

/// A gateway with a tap before it.
struct Gateway {
    program: Program,
    wire: Tap,
    pin: String,
}

impl Gateway {
    async fn start(dir: &Path, upstream: &Tap) -> Self {
        let wire = Tap::bind().await;
        let policy = gateway_policy(wire.addr(), upstream.addr());
        Self::start_behind(wire, dir, policy).await
    }

    async fn start_as(dir: &Path, policy: String) -> Self {
        Self::start_behind(Tap::bind().await, dir, policy).await
    }

    async fn start_behind(wire: Tap, dir: &Path, policy: String) -> Self {
        let pin = make_key(dir);
        fs::write(dir.join("gateway.toml"), policy).unwrap();
        let mut program = Program::syncseal(["gateway", "gateway.toml"], dir, "gateway");
        wire.relay_to(program.listening().await);
        Self { program, wire, pin }
    }
}

/// Client, tap, agent, tap, gateway, tap, server.
struct Chain {
    agent: Program,
    gateway: Gateway,
    _server: Program,
    /// Between client and agent.
    downstream: Tap,
    /// Between gateway and server.
    upstream: Tap,
    peer: Peer,
    layer: Layer,
    form: Form,
    first: First,
    auth: Auth,
    /// What contacts said after any session, a value each.
    values: BTreeSet<String>,
    _dir: TempDir,
}

impl Chain {
    async fn start(layer: Layer, form: Form, auth: Auth, first: First) -> Self {
        let dir = TempDir::new().unwrap();
        let upstream = Tap::bind().await;
        let gateway = Gateway::start(dir.path(), &upstream).await;

        let downstream = Tap::bind().await;
        let policy = agent_policy(downstream.addr(), gateway.wire.addr(), &gateway.pin, layer, first);
        fs::write(dir.path().join("agent.toml"), policy).unwrap();
        let mut agent = Program::syncseal(["agent", "agent.toml"], dir.path(), "agent");
        downstream.relay_to(agent.listening().await);

        let server_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        upstream.relay_to(server_addr);
        let peer = Peer::setup(dir.path(), setup(form, auth), server_addr, downstream.addr()).await;
        let mut server = peer.serve();
        server.accepting(server_addr).await;

        let values = BTreeSet::new();
        Self {
            agent,
            gateway,
            _server: server,
            downstream,
            upstream,
            peer,
            layer,
            form,
            first,
            auth,
            values,
            _dir: dir,
        }
    }

    /// Runs one session, after which both books hold the same `contacts`.
    async fn sync(&mut self, mode: &str, contacts: usize) {
        let mut client = self.peer.sync(mode);
        assert!(client.ended().await.success(), "{mode} failed: {}", client.log());
        self.peer.run(["compare"]).await;
        let book = self.peer.book(Side::Client).await;
        assert_eq!(book.len(), contacts, "after {mode}");
        self.values.extend(book.into_iter().flatten());
    }

    /// How many messages reached the server at the address where a session begins, without a session id of its own.
    fn openings(&self) -> usize {
        self.upstream.requests().iter().filter(|request| request.target == PATH).count()
    }

    /// The original messages arrived, and nothing that they hold and the layer encrypts can be read between agent and
    /// gateway, or in their logs. What the data layer leaves can be read.
    fn assert_everything_was_sealed(&self) {
        let [sent, forwarded] = [self.downstream.requests(), self.upstream.requests()].map(sorted);
        let [answered, returned] = [self.upstream.responses(), self.downstream.responses()].map(sorted);
        assert!(!sent.is_empty());
        // The server's RespURI is on the address that the client used, so that nothing has to be replaced.
        assert!(sent == forwarded, "the server got other messages than the client sent");
        assert!(answered == returned, "the client got other messages than the server sent");

        let n_messages = sent.len();
        let originals: Vec<Vec<u8>> = sent.into_iter().chain(answered).map(|(_, body)| body).collect();
        let plaintext = originals.concat();
        let wire: Vec<u8> = self
            .gateway
            .wire
            .recordings()
            .into_iter()
            .flat_map(|recording| [recording.requests, recording.responses].concat())
            .collect();

        // A handshake for each SyncML session, or none.
        let n_handshakes = self.gateway.wire.requests().len() - n_messages;
        assert_eq!(n_handshakes == 0, self.first == First::Early, "{n_handshakes} handshakes");

        let logs = [self.gateway.program.log(), self.agent.log()];
        let observed = [&wire, logs[0].as_bytes(), logs[1].as_bytes()];
        let readable = |secret: &[u8]| observed.iter().any(|bytes| memmem::find(bytes, secret).is_some());
        for secret in self.secrets(&plaintext) {
            let shown = String::from_utf8_lossy(&secret);
            // Otherwise its absence would mean nothing.
            assert!(memmem::find(&plaintext, &secret).is_some(), "'{shown}' is not even in the plaintext");
            assert!(!readable(&secret), "'{shown}' can be read on the wire or in a log");
        }
        // Which no client sends as it is.
        assert!(!readable(PASSWORD.as_bytes()), "the password can be read on the wire or in a log");

        // Nor any other 16 bytes of what is encrypted of any message, which finds what was missed above.
        let (hidden, shown): (Vec<_>, Vec<_>) = originals.iter().map(|document| self.split(document)).unzip();
        let mut windows: HashSet<&[u8]> = hidden.concat().into_iter().flat_map(|part| part.windows(16)).collect();
        for part in shown.concat() {
            part.windows(16).for_each(|window| _ = windows.remove(window));
        }
        if let Some(found) = wire.windows(16).find(|window| windows.contains(window)) {
            panic!("'{}' is in the plaintext, and on the wire", String::from_utf8_lossy(found));
        }

        if self.layer == Layer::Data {
            self.assert_structure_can_be_read(&originals, n_handshakes);
        }
    }

    /// What is encrypted of a message, and what is not.
    fn split<'d>(&self, document: &'d [u8]) -> (Vec<&'d [u8]>, Vec<&'d [u8]>) {
        match self.layer {
            Layer::Message => (vec![document], Vec::new()),
            Layer::Data => {
                let sealable = Sealable::new(self.form, b"", Bytes::copy_from_slice(document)).unwrap();
                let spans = sealable.spans();
                let ends = [0].into_iter().chain(spans.iter().map(|span| span.end));
                let starts = spans.iter().map(|span| span.start).chain([document.len()]);
                let shown = ends.zip(starts).map(|(end, start)| &document[end..start]).collect();
                (spans.iter().map(|span| &document[span.clone()]).collect(), shown)
            }
        }
    }

    /// Commands and LocURIs of each message stand on the wire as they stand in the original. Beside the messages there are
    /// only handshakes.
    fn assert_structure_can_be_read(&self, originals: &[Vec<u8>], n_handshakes: usize) {
        let wire = &self.gateway.wire;
        let mut outlines: Vec<_> = [wire.requests(), wire.responses()]
            .concat()
            .into_iter()
            .map(|message| outline(self.form, &message.body))
            .collect();
        for original in originals {
            let expected = outline(self.form, original);
            let at = outlines.iter().position(|outline| *outline == expected);
            outlines.swap_remove(at.unwrap_or_else(|| panic!("{expected:?} is not among {outlines:#?}")));
        }
        assert_eq!(outlines.len(), 2 * n_handshakes, "{outlines:#?}");
        let all: HashSet<String> = originals.iter().flat_map(|original| outline(self.form, original)).collect();
        for read in ["Alert", "Put", "Results", "Sync", "Status", "Final", "addressbook", "./devinf12"] {
            assert!(all.contains(read), "no {read} among {all:?}");
        }
    }

    /// What must not be readable: values of contacts, credentials, device information; in the message layer the kind of
    /// credentials and the server's session ids, too.
    fn secrets(&self, plaintext: &[u8]) -> BTreeSet<Vec<u8>> {
        let mut secrets: BTreeSet<Vec<u8>> = self.values.iter().map(|value| value.as_bytes().to_vec()).collect();

        secrets.insert(USER.into());
        secrets.extend(DEVICE_INFORMATION.map(Into::into));
        if self.auth == Auth::Basic {
            secrets.insert(BASE64.encode(format!("{USER}:{PASSWORD}")).into());
        }

        if self.layer == Layer::Data {
            return secrets;
        }
        secrets.insert(self.auth.scheme().into());
        let session = b"sessionid=";
        let ids = memmem::find_iter(plaintext, session).map(|at| {
            let id = &plaintext[at + session.len()..];
            id.iter().copied().take_while(u8::is_ascii_digit).collect::<Vec<_>>()
        });
        let n_values = secrets.len();
        secrets.extend(ids);
        assert!(secrets.len() > n_values, "no session id in the server's answers");
        secrets
    }
}

/// Targets and bodies, in an order that does not depend on which connection carried them.
fn sorted(messages: Vec<common::tap::HttpMessage>) -> Vec<(String, Vec<u8>)> {
    let mut messages: Vec<_> = messages.into_iter().map(|message| (message.target, message.body)).collect();
    messages.sort();
    messages
}

/// Commands and LocURIs of a document in order, as someone on the way reads them: WBXML with `wbxml2xml`.
fn outline(form: Form, document: &[u8]) -> Vec<String> {
    let xml = match form {
        Form::Xml => document.to_vec(),
        Form::Wbxml => wbxml2xml(document),
    };
    let read = |tag: &str| {
        let (tag, text) = tag.split_once('>')?;
        let name = tag.split(|c: char| c == '/' || c.is_ascii_whitespace()).next()?;
        match name {
            "LocURI" => Some(text.trim().to_owned()),
            _ => COMMANDS.contains(&name).then(|| name.to_owned()),
        }
    };
    String::from_utf8_lossy(&xml).split('<').filter_map(read).collect()
}

fn wbxml2xml(document: &[u8]) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let (wbxml, xml) = (dir.path().join("wbxml"), dir.path().join("xml"));
    fs::write(&wbxml, document).unwrap();
    let converted = Command::new("wbxml2xml").arg("-o").args([&xml, &wbxml]).output().unwrap();
    assert!(converted.status.success(), "wbxml2xml: {converted:?}: {}", document.escape_ascii());
    fs::read(xml).unwrap()
}

//! A client, an agent and a gateway; messages for the one, and what the other may and must not let out.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use syncseal::agent::Agent;
use syncseal::crypto::{RsaPrivateKey, SystemRandom};
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Drained, Listener};
use syncseal::net::upstream::{Settings, Upstream};
use syncseal::policy::{AgentPolicy, Environment};
use syncseal::seal::{self, Reason};
use syncseal::session::WallClock;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fake_gateway::{FakeGateway, Fault, Heard};

/// In everything that a client sends and a server answers, and in nothing that may be seen on the wire.
pub(super) const SECRET: &str = "SECRET";
/// In what is not authentic.
pub(super) const POISON: &str = "POISON";
pub(super) const XML: &str = "application/vnd.syncml+xml";
pub(super) const TARGET: &str = "/sync;s=SECRET?a=b";
/// Far more than anything here takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) static KEY: LazyLock<RsaPrivateKey> =
    LazyLock::new(|| RsaPrivateKey::from_pem(include_str!("../keys/pkcs8.pem")).unwrap());

/// A client, an agent and a gateway.
pub(super) struct World {
    pub(super) gateway: FakeGateway,
    pub(super) agent: SocketAddr,
    pub(super) client: Upstream,
    trigger: Trigger,
    serving: JoinHandle<Drained>,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut AgentPolicy)) -> Self {
        let gateway = FakeGateway::start(&KEY).await;
        Self::before(gateway, change).await
    }

    pub(super) async fn before(gateway: FakeGateway, change: impl FnOnce(&mut AgentPolicy)) -> Self {
        let mut policy = policy(gateway.addr());
        change(&mut policy);
        let agent = Agent::new(policy, Arc::new(WallClock), Arc::new(SystemRandom)).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let trigger = Trigger::new();
        let drain = trigger.subscribe();
        let serving = tokio::spawn(async move { agent.serve(listener, drain).await.unwrap() });
        let client = Upstream::new(&format!("http://{addr}").parse().unwrap(), Settings::default()).unwrap();
        Self { gateway, agent: addr, client, trigger, serving }
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.client.send(request, Instant::now() + PATIENCE, 64 << 20).await.expect("an answer")
    }

    pub(super) async fn post(&self, body: impl Into<Vec<u8>>) -> Response<Bytes> {
        self.send(post(body)).await
    }

    /// Drains the agent, and checks that nothing but seals has left it.
    pub(super) async fn end(self) {
        self.trigger.drain();
        assert_eq!(self.serving.await.unwrap(), Drained::Clean);
        for received in self.gateway.received() {
            let head = received.head.to_ascii_lowercase();
            assert!(head.starts_with("post /route http/1.1\r\n"), "{head}");
            assert!(head.contains("content-type: application/cose; cose-type=\"cose-encrypt0\"\r\n"), "{head}");
            seal::decode_request(seal::Layer::Message, received.body[..].into()).expect("a seal");
            let wire = [received.head.as_bytes(), &received.body].concat();
            for leak in [SECRET, "SyncML", "syncml", "User-Agent", "phone"] {
                assert!(!contains(&wire, leak), "{leak} in {head}");
            }
        }
    }
}

/// A policy with quick retransmission.
pub(super) fn policy(gateway: SocketAddr) -> AgentPolicy {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/agent.toml");
    let text = format!(
        "version = 1\n[agent]\nlisten = [\"127.0.0.1:0\"]\ngateway = \"http://{gateway}/route\"\nkey = \"public.pem\"\n\
         [retransmit]\nattempts = 0\npause = \"10ms\"\n"
    );
    AgentPolicy::parse(&file, &text, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

pub(super) fn post(body: impl Into<Vec<u8>>) -> Request<Full<Bytes>> {
    Request::post(TARGET).header("content-type", XML).body(Full::from(body.into())).unwrap()
}

pub(super) fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// A SyncML message of a client.
pub(super) fn message(session: &str, msg: u32, commands: &str) -> String {
    format!(
        "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto>\
         <SessionID>{session}</SessionID><MsgID>{msg}</MsgID><Target><LocURI>http://server.example/sync</LocURI></Target>\
         <Source><LocURI>IMEI:{SECRET}</LocURI></Source></SyncHdr><SyncBody>{commands}<Final/></SyncBody></SyncML>"
    )
}

pub(super) const ALERT: &str = "<Alert><CmdID>1</CmdID><Data>200</Data></Alert>";
pub(super) const SYNC: &str = "<Sync><CmdID>2</CmdID></Sync>";

/// What the server says to a message: something of its own for each body.
pub(super) fn answer_to(heard: &Heard) -> String {
    let body = String::from_utf8_lossy(&heard.body);
    let text = |tag: &str| {
        let from = body.find(&format!("<{tag}>")).unwrap() + tag.len() + 2;
        body[from..].split('<').next().unwrap().to_owned()
    };
    server_document(&format!("<SessionID>{}</SessionID><MsgID>{}</MsgID>", text("SessionID"), text("MsgID")))
}

pub(super) fn server_document(header: &str) -> String {
    format!(
        "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto>{header}\
         <Target><LocURI>IMEI:{SECRET}</LocURI></Target><Source><LocURI>http://server.example/sync</LocURI></Source>\
         </SyncHdr><SyncBody><Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd>\
         <Data>212</Data></Status><Final/></SyncBody></SyncML>"
    )
}

pub(super) fn server_answer(session: &str, msg: u32) -> String {
    server_document(&format!("<SessionID>{session}</SessionID><MsgID>{msg}</MsgID>"))
}

pub(super) fn unauthentic() -> Vec<u8> {
    server_document(&format!("<SessionID>1</SessionID><MsgID>1</MsgID><RespURI>http://{POISON}/</RespURI>")).into()
}

pub(super) fn refusal(reason: Reason) -> Fault {
    Fault::Refuse(Box::new(reason.into()))
}

/// Checks that the response is one that the agent made: text for a person, nothing of anybody else's.
#[track_caller]
pub(super) fn assert_own(response: &Response<Bytes>, status: u16) {
    assert_eq!(response.status(), status, "{response:?}");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.body().len() > 20, "a sentence: {response:?}");
    for foreign in [POISON, SECRET, "<SyncML", "<html"] {
        assert!(!contains(response.body(), foreign), "{response:?}");
        assert!(!contains(format!("{:?}", response.headers()).as_bytes(), foreign), "{response:?}");
    }
}

#[track_caller]
pub(super) fn assert_answer(response: &Response<Bytes>, session: &str, msg: u32) {
    assert_eq!(response.status(), 200, "{response:?}");
    assert_eq!(str::from_utf8(response.body()).unwrap(), server_answer(session, msg));
}

pub(super) fn numbers(heard: &[Heard]) -> Vec<u64> {
    heard.iter().map(|heard| heard.number).collect()
}

pub(super) fn sids(heard: &[Heard]) -> usize {
    heard.iter().map(|heard| heard.sid).collect::<std::collections::HashSet<_>>().len()
}

pub(super) fn received_body(world: &World, index: usize) -> Vec<u8> {
    world.gateway.received()[index].body.clone()
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn generate() -> RsaPrivateKey {
    RsaPrivateKey::generate(2048, &SystemRandom).unwrap()
}

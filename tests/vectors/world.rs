//! What stands around the gateway of a case: its policy, keys and clock, its established sessions, its server.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use syncseal::crypto::{
    Algorithm, KeyId, KeyName, KeyTransport, NamedGroup, SystemRandom, TerminalSecret, default_provider,
};
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Drained, Listener};
use syncseal::net::upstream::{Settings, Upstream};
use syncseal::policy::{Environment, GatewayPolicy};
use syncseal::seal::{Layer, SecretFingerprint, SessionKeys};
use syncseal::session::{Kid, Limits, MemoryStore, SessionFacts, SessionStore, TimeSource, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::file::{File, array, bytes, number, text};
use crate::keys;

/// A clock that stands still until it is moved.
#[derive(Default)]
struct TestClock(AtomicU64);

impl TimeSource for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// An HTTP answer of the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) body: Bytes,
}

/// A running gateway and its server.
pub(crate) struct World<'a> {
    case: &'a Value,
    clock: Arc<TestClock>,
    client: Upstream,
    trigger: Trigger,
    gateway: JoinHandle<Drained>,
    server: JoinHandle<()>,
    _keys: tempfile::TempDir,
}

impl<'a> World<'a> {
    pub(crate) async fn new(file: &File, case: &'a Value) -> Self {
        let script = case.get("server").and_then(Value::as_array).cloned().unwrap_or_default();
        let (upstream, server) = serve(script).await;
        let keys = tempfile::tempdir().unwrap();
        let policy = policy(file, case, upstream, keys.path());
        let clock = Arc::new(TestClock(number(&case["now"]).into()));
        let began = UnixTime(case.get("memory_since").map_or(0, number));
        let limits = policy.sessions.clone();
        // The sessions of the case are established: they need no second request to live on.
        let store = MemoryStore::new(Limits { second_request: limits.idle, ..limits }, began);
        for session in sessions(case) {
            establish(&store, session, clock.now()).await;
        }
        let surroundings = Surroundings { time: Arc::clone(&clock) as _, random: Arc::new(SystemRandom) };
        let gateway = Gateway::new(&policy, surroundings, store).unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let trigger = Trigger::new();
        let gateway = tokio::spawn(gateway.serve(listener, trigger.subscribe()));
        let client = Upstream::new(&address, Settings::default()).unwrap();
        Self { case, clock, client, trigger, gateway, server, _keys: keys }
    }

    /// The keys of the case's sessions.
    pub(crate) fn keys(&self) -> Vec<SessionKeys> {
        sessions(self.case).map(session_keys).collect()
    }

    pub(crate) async fn ask(&self, request: &Value) -> Answer {
        if let Some(now) = request.get("now") {
            self.clock.0.store(number(now), Ordering::SeqCst);
        }
        let mut http = Request::new(Full::new(Bytes::from(bytes(&request["body"]))));
        *http.method_mut() = Method::POST;
        *http.uri_mut() = text(&request["target"]).parse().unwrap();
        if let Some(content_type) = request["content_type"].as_str() {
            http.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        }
        for field in request.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let name: HeaderName = text(&field[0]).parse().unwrap();
            http.headers_mut().append(name, HeaderValue::from_bytes(&bytes(&field[1])).unwrap());
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        let answer = self.client.send(http, deadline, 1 << 24).await.unwrap();
        let field = |name| answer.headers().get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
        Answer {
            status: answer.status().as_u16(),
            content_type: field(CONTENT_TYPE),
            cache_control: field(CACHE_CONTROL),
            body: answer.body().clone(),
        }
    }

    pub(crate) async fn end(self) {
        self.trigger.end();
        self.server.abort();
        self.gateway.await.unwrap();
    }
}

fn sessions(case: &Value) -> impl Iterator<Item = &Value> {
    case.get("sessions").and_then(Value::as_array).into_iter().flatten()
}

/// The policy of a case, as an operator would write it.
fn policy(file: &File, case: &Value, upstream: SocketAddr, keys: &std::path::Path) -> GatewayPolicy {
    let policy = &case["policy"];
    let mut key_files = Vec::new();
    for name in case["rsa_keys"].as_array().unwrap() {
        let path = keys.join(format!("{}.pem", text(name)));
        std::fs::write(&path, file.private_pem(text(name))).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        key_files.push(path.display().to_string());
    }
    let names = |list: &Value, name: fn(i64) -> Option<&'static str>| -> Vec<&'static str> {
        list.as_array().unwrap().iter().filter_map(|number| name(number.as_i64().unwrap())).collect()
    };
    let algorithms = names(&policy["algs"], |id| Algorithm::from_cose_id(id).map(Algorithm::name));
    let key_transports = names(&policy["kts"], |id| KeyTransport::from_cose_id(id).map(KeyTransport::name));
    let groups =
        names(&policy["groups"], |id| NamedGroup::from_number(u64::try_from(id).unwrap()).map(NamedGroup::name));
    // The established sessions live on their secrets.
    let of_case = case.get("secrets").and_then(Value::as_object).into_iter().flatten();
    let of_sessions = sessions(case).filter(|session| session["kt"] == -5);
    let secrets: BTreeMap<_, _> = of_case
        .map(|(name, secret)| (name.as_str(), secret))
        .chain(of_sessions.map(|session| (text(&session["kid"]), &session["secret"])))
        .collect();
    let secrets: Vec<String> = secrets
        .into_iter()
        .map(|(name, secret)| {
            let path = keys.join(format!("{name}.secret"));
            std::fs::write(&path, base64_turbo::STANDARD.encode(bytes(secret))).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let name = String::from_utf8(hex::decode(name).unwrap()).unwrap();
            format!("{} = {:?}", Value::from(name), path.display().to_string())
        })
        .collect();
    let secrets = secrets.join(", ");
    let layers = names(&policy["layers"], |id| Layer::from_number(u64::try_from(id).unwrap()).map(Layer::name));
    let toml = format!(
        r#"version = 1
[gateway]
listen = "127.0.0.1:0"
public_url = {public_url}
keys = {key_files:?}
key_transports = {key_transports:?}
secrets = {{ {secrets} }}
[crypto]
algorithms = {algorithms:?}
groups = {groups:?}
[dangerous]
require_key_exchange = {require_exchange}
[early]
accept = {early}
window = "{early_window}s"
[limits]
message = "{limit}B"
[[route]]
path = "/"
targets = {targets}
upstream = "http://{upstream}"
layers = {layers:?}
dangerous = {{ bind_sessions = {bind_sessions} }}
server_names = {server_names}
timeout = "1s"
[[rule]]
name = "everybody"
plaintext = "{plaintext}"
"#,
        public_url = policy["public_url"],
        require_exchange = policy["require_exchange"],
        early = policy["early"],
        early_window = policy["early_window"],
        limit = policy["limit"],
        targets = policy["prefixes"],
        plaintext = if policy["seal"] == "permit" { "permit" } else { "require" },
        bind_sessions = policy["bind_sessions"],
        server_names = policy["server_names"],
    );
    GatewayPolicy::parse("case.toml".as_ref(), &toml, &Environment::default())
        .unwrap_or_else(|faults| panic!("{faults}\n{toml}"))
}

/// A server that gives the next answer of the script to each request; it is gone where the script says unreachable.
async fn serve(script: Vec<Value>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    if script.first().is_some_and(|answer| answer["fail"] == "unreachable") {
        listener = None;
    }
    let server = tokio::spawn(async move {
        for (n, answer) in script.iter().enumerate() {
            let Some(accepting) = &listener else { return };
            let (mut stream, _) = accepting.accept().await.unwrap();
            if script.get(n + 1).is_some_and(|next| next["fail"] == "unreachable") {
                listener = None;
            }
            read_request(&mut stream).await;
            if answer["fail"] == "timeout" {
                tokio::spawn(async move {
                    sleep(Duration::from_secs(60)).await;
                    drop(stream);
                });
                continue;
            }
            stream.write_all(&http_answer(answer)).await.unwrap();
        }
    });
    (address, server)
}

async fn read_request(stream: &mut tokio::net::TcpStream) {
    let mut received = Vec::new();
    loop {
        let mut some = [0; 4096];
        let n = stream.read(&mut some).await.unwrap();
        assert!(n > 0, "the gateway broke off");
        received.extend_from_slice(&some[..n]);
        let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        if received.len() - end - 4 == length.parse::<usize>().unwrap() {
            return;
        }
    }
}

fn http_answer(answer: &Value) -> Vec<u8> {
    let body = bytes(&answer["body"]);
    let mut http = format!("HTTP/1.1 {} X\r\nconnection: close\r\n", answer["status"]).into_bytes();
    if let Some(content_type) = answer["content_type"].as_str() {
        http.extend_from_slice(format!("content-type: {content_type}\r\n").as_bytes());
    }
    for field in answer.get("fields").and_then(Value::as_array).into_iter().flatten() {
        http.extend_from_slice(format!("{}: ", text(&field[0])).as_bytes());
        http.extend_from_slice(&bytes(&field[1]));
        http.extend_from_slice(b"\r\n");
    }
    http.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    http.extend_from_slice(&body);
    http
}

/// Puts a session of the case into the gateway's store.
async fn establish(store: &MemoryStore<SessionKeys>, session: &Value, now: UnixTime) {
    let keys = session_keys(session);
    let (kid, secret) = match session["kt"].as_i64() {
        Some(-41) => (Kid::Rsa(KeyId(array(&session["kid"]))), None),
        _ => {
            let secret = TerminalSecret::from_text(&base64_turbo::STANDARD.encode(bytes(&session["secret"])));
            let name = KeyName::try_from(bytes(&session["kid"]).as_slice()).unwrap();
            (Kid::Secret(name), Some(SecretFingerprint::of(default_provider(), &secret.unwrap())))
        }
    };
    let facts = SessionFacts {
        sid: keys.sid(),
        layer: keys.layer(),
        route: "/".into(),
        kid,
        secret,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let reserved = store.reserve(facts, now).await.unwrap();
    store.begin(reserved, Arc::new(keys), false, now).await.unwrap();
}

/// The keys of a session of the vectors.
fn session_keys(session: &Value) -> SessionKeys {
    keys::session_keys(default_provider(), &keys::Given::read(session))
}

//! What a store costs, in this process and on a Redis of the bench's own on loopback: the steps around an exchange, each by
//! itself, and whole exchanges through a gateway. For each the median in microseconds, and round trips to the server.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use syncseal::crypto::{KeyId, RsaPrivateKey, SecureRandom, SystemRandom, default_provider};
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::policy::{GatewayPolicy, Store};
use syncseal::seal::{
    self, Accepts, HandshakePlaintext, InitParameters, InitRequest, Kid, Layer, Number, Recipients, SealedRequest,
    SessionKeys, Sid,
};
use syncseal::session::redis::RedisStore;
use syncseal::session::{
    Answer, MemoryStore, Outcome, Probe, Response, SessionFacts, SessionStore, SyncMessage, TimeSource, UnixTime,
    WallClock,
};
use tempfile::TempDir;

#[path = "../common/mod.rs"]
mod common;
mod document;
mod site;

use common::redis::Redis;

/// Sessions, and of each so many requests.
const SESSIONS: usize = 200;
const REQUESTS: u64 = 10;
/// Exchanges of each size.
const EXCHANGES: usize = 2000;
const SIZES: [(&str, usize); 2] = [("4 kB", 4 << 10), ("64 kB", 64 << 10)];
const ROUTE: &str = "/sync";

/// How long each took, and how many round trips all took.
struct Measured {
    times: Vec<Duration>,
    trips: u64,
}

impl Measured {
    fn print(mut self, what: &str, store: &str) {
        self.times.sort();
        let median = self.times[self.times.len() / 2].as_secs_f64() * 1e6;
        // A replica's sign of life, every two seconds, is lost in the rounding.
        let trips = self.trips as f64 / self.times.len() as f64;
        println!("{what:<44} {store:<8} {median:>9.1} {trips:>8.1}");
    }
}

/// The server of the shared store, if there is one.
struct Server<'r>(Option<&'r Redis>);

impl Server<'_> {
    /// How many steps it was asked for.
    async fn trips(&self) -> u64 {
        let Some(redis) = self.0 else { return 0 };
        let stats: String = redis.ask(&["INFO", "commandstats"]).await.expect("statistics");
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.and_then(|calls| calls.split(',').next()?.parse().ok()).unwrap_or(0)
    }
}

/// Sessions as a gateway begins them.
async fn sessions(key: &RsaPrivateKey) -> Vec<(SessionFacts, Arc<SessionKeys>)> {
    let provider = default_provider();
    let recipients = Recipients::new(provider, [key]).expect("a key");
    let parameters = InitParameters {
        layer: Layer::Message,
        alg: syncseal::crypto::Algorithm::A256Gcm,
        recipient: key.public().into(),
        group: None,
        require_exchange: false,
        issued: None,
    };
    let accepts = Accepts {
        layers: vec![Layer::Message],
        algorithms: vec![parameters.alg],
        key_transports: vec![syncseal::crypto::KeyTransport::RsaOaep256],
        groups: Vec::new(),
        require_exchange: false,
    };
    let empty = HandshakePlaintext::decode(&[0xa0]).expect("the empty map").plaintext();
    let mut sessions = Vec::with_capacity(SESSIONS);
    for _ in 0..SESSIONS {
        let init = InitRequest::new(provider, &SystemRandom, &parameters).expect("an init request");
        let (sealed, _) = init.seal(&empty);
        let Ok(SealedRequest::Init(sealed)) = seal::decode_request(Layer::Message, sealed.into()) else {
            panic!("not an init request")
        };
        let checked = sealed.check(provider, &accepts, recipients.at(0)).expect("acceptable");
        let (opened, _) = checked.unwrap_key(provider, &SystemRandom).expect("randomness").open().expect("it opens");
        let mut sid = Sid([0; 16]);
        SystemRandom.fill(&mut sid.0).expect("randomness");
        let (_, keys) = opened.reply(provider, sid, false).seal(&empty);
        let facts = SessionFacts {
            sid,
            layer: Layer::Message,
            route: ROUTE.into(),
            kid: Kid::Rsa(KeyId([7; 32])),
            secret: None,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        sessions.push((facts, Arc::new(keys)));
    }
    sessions
}

/// The steps of a store, with `other` for another replica's sight of it.
async fn steps<S: SessionStore<Keys = SessionKeys>>(
    name: &str,
    store: &S,
    other: &S,
    key: &RsaPrivateKey,
    server: &Server<'_>,
) {
    let now = WallClock.now();
    let sessions = sessions(key).await;
    let answer = Response { content_type: seal::CONTENT_TYPE.into(), body: vec![7; 4 << 10].into() };

    let begun = measured(server, sessions.iter().cloned(), async |(facts, keys)| {
        let reserved = store.reserve(facts, now).await.expect("a place");
        store.begin(reserved, keys, false, now).await.expect("a session");
    });
    begun.await.print("begin a session", name);

    let ids: Vec<Sid> = sessions.iter().map(|(facts, _)| facts.sid).collect();
    let met = measured(server, ids.iter().copied(), async |sid| _ = other.find(sid, now).await.expect("a session"));
    met.await.print("meet a session of another replica", name);

    let numbers = (1..=REQUESTS).flat_map(|n| ids.iter().map(move |sid| (*sid, n)));
    let exchanged = measured(server, numbers, async |(sid, n)| exchange(store, sid, n, &answer, now).await);
    exchanged.await.print("an exchange: find, probe, accept, complete", name);

    let repeated = measured(server, ids.iter().copied(), async |sid| {
        let number = Number::new(REQUESTS).expect("a number");
        store.find(sid, now).await.expect("a session");
        let probe = store.probe(sid, number, digest(REQUESTS), now).await;
        assert!(matches!(probe, Ok(Probe::Repeat(_))));
    });
    repeated.await.print("a retransmission: find, probe", name);
}

fn digest(n: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.to_be_bytes());
    digest
}

/// What a gateway asks of a store in an exchange of a bound SyncML session.
async fn exchange<S: SessionStore<Keys = SessionKeys>>(store: &S, sid: Sid, n: u64, answer: &Response, now: UnixTime) {
    let number = Number::new(n).expect("a number");
    let kid = Kid::Rsa(KeyId([7; 32]));
    let source = sid.to_string();
    let message = SyncMessage {
        route: ROUTE,
        source: source.as_bytes(),
        session_id: b"1",
        msg_id: b"1",
        has_cred: false,
        target: b"/sync",
    };
    store.find(sid, now).await.expect("a session");
    let probe = store.probe(sid, number, digest(n), now).await;
    assert!(matches!(probe, Ok(Probe::Higher)));
    let outcome = store.accept_message(sid, number, digest(n), message, &kid, now).await;
    let Ok(Outcome::Accepted((accepted, Ok(pass)))) = outcome else { panic!("not accepted") };
    store.complete_message(accepted, pass, Answer::default(), false, now, |_, _| answer.clone()).await;
}

async fn measured<T>(server: &Server<'_>, items: impl Iterator<Item = T>, mut run: impl AsyncFnMut(T)) -> Measured {
    let before = server.trips().await;
    let mut times = Vec::new();
    for item in items {
        let since = Instant::now();
        run(item).await;
        times.push(since.elapsed());
    }
    Measured { times, trips: server.trips().await - before }
}

/// Whole exchanges through a gateway over this store.
async fn exchanges<S>(
    name: &str,
    policy: &GatewayPolicy,
    store: S,
    key: &RsaPrivateKey,
    server: &Server<'_>,
    trigger: &Trigger,
) where
    S: SessionStore<Keys = SessionKeys>,
{
    let gateway = Gateway::new(policy, Surroundings::default(), store).expect("a gateway");
    let gateway = site::serve(gateway, trigger).await;
    let mut terminal = site::Terminal::begin(&gateway, key).await;
    for (label, size) in SIZES {
        let body = Bytes::from(document::document("1", 1, "/sync", "bench", size));
        let whole = measured(server, 0..EXCHANGES, async |_| terminal.exchange(&gateway, &body).await).await;
        whole.print(&format!("a whole exchange, {label} each way"), name);
    }
}

async fn connect(policy: &GatewayPolicy) -> RedisStore {
    let Store::Redis(settings) = &policy.store else { panic!("not a shared store") };
    let (settings, limits) = (settings.as_ref().clone(), policy.sessions.clone());
    let time = Arc::new(WallClock);
    RedisStore::connect(settings, limits, default_provider(), &SystemRandom, time).await.expect("a store")
}

#[tokio::main]
async fn main() {
    let dir = TempDir::new().expect("a directory");
    let key = site::write_key(dir.path());
    site::write_secret(&dir.path().join("store.key"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    let redis = Redis::start(dir.path()).await;
    let trigger = Trigger::new();
    let (url, _) = site::server(&trigger).await;
    println!("{:<44} {:<8} {:>9} {:>8}", "", "store", "µs", "trips");

    let policy = site::policy(dir.path(), &url, "", "");
    let memory = || MemoryStore::new(policy.sessions.clone(), WallClock.now());
    let store = memory();
    steps("memory", &store, &store, &key, &Server(None)).await;
    exchanges("memory", &policy, memory(), &key, &Server(None), &trigger).await;

    let lines = format!("store = \"{}\"\nstore_key = \"store.key\"", redis.url());
    let policy = site::policy(dir.path(), &url, &lines, "");
    let server = Server(Some(&redis));
    steps("Redis", &connect(&policy).await, &connect(&policy).await, &key, &server).await;
    exchanges("Redis", &policy, connect(&policy).await, &key, &server, &trigger).await;
    trigger.end();
}

//! A server of the tests' own, and what a replica does beside what every store must do.

use std::{
    net::{IpAddr, TcpListener},
    process::{Child, ChildStdin, Command, Stdio},
    sync::LazyLock,
};

use super::*;
use crate::{
    crypto::{KeyId, SystemRandom, default_provider},
    seal::{Layer, SecretFingerprint, StoreKey, encode_base64},
};

/// A private server on a free port of loopback, without a file, which ends with this process however that ends.
pub(in crate::session) struct Server {
    pub(in crate::session) port: u16,
    shell: Child,
    /// When it is closed, the shell ends the server.
    leash: Option<ChildStdin>,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = format!(
            "redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --daemonize no >/dev/null & \
             read -r _; kill $!; wait"
        );
        let mut command = Command::new("sh");
        let mut shell = command.arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap();
        let leash = shell.stdin.take();
        Self { port, shell, leash }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.shell.wait();
    }
}

/// The server of all tests of this kind; each has a key of its own, and with it a namespace.
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fn settings(port: u16, key: &[u8; 32]) -> Settings {
    let key = StoreKey::from_base64(default_provider(), &encode_base64(key)).unwrap();
    Settings {
        servers: vec![format!("redis://127.0.0.1:{port}").parse().unwrap()],
        sentinel: None,
        ca: None,
        key: Arc::new(key),
        // Other tests keep the machine busy.
        timeout: Duration::from_secs(30),
        start_timeout: Duration::from_secs(60),
    }
}

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    SystemRandom.fill(&mut key).unwrap();
    key
}

struct Fixed(UnixTime);

impl TimeSource for Fixed {
    fn now(&self) -> UnixTime {
        self.0
    }
}

async fn replica(key: &[u8; 32], limits: Limits, began: UnixTime) -> RedisStore {
    let settings = settings(SERVER.port, key);
    RedisStore::connect(settings, limits, default_provider(), &SystemRandom, Arc::new(Fixed(began))).await.unwrap()
}

/// An empty store that began then.
pub(in crate::session) async fn fresh(limits: Limits, began: UnixTime) -> RedisStore {
    replica(&random_key(), limits, began).await
}

const T0: UnixTime = UnixTime(1_790_000_000);

/// Two replicas of one gateway.
async fn replicas() -> (RedisStore, RedisStore) {
    let key = random_key();
    let began = UnixTime(0);
    (replica(&key, Limits::default(), began).await, replica(&key, Limits::default(), began).await)
}

fn facts(sid: Sid) -> SessionFacts {
    SessionFacts {
        sid,
        layer: Layer::Message,
        route: "main".into(),
        kid: Kid::Rsa(KeyId([7; 32])),
        secret: None,
        source: IpAddr::from([192, 0, 2, 1]),
    }
}

async fn begin(store: &RedisStore, sid: Sid) {
    let reserved = store.reserve(facts(sid), T0).await.unwrap();
    store.begin(reserved, Arc::new(SessionKeys::meaningless(sid)), false, T0).await.unwrap();
}

fn number(value: u64) -> Number {
    Number::new(value).unwrap()
}

fn response(text: &str) -> Response {
    Response { content_type: "application/cose".into(), body: text.to_owned().into() }
}

async fn accept(store: &RedisStore, sid: Sid, n: u64, body: u8) -> Accepted {
    match store.accept(sid, number(n), [body; 32], T0).await {
        Ok(Outcome::Accepted(accepted)) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

#[tokio::test]
async fn a_session_goes_on_at_another_replica() {
    let (a, b) = replicas().await;
    let sid = Sid([1; 16]);
    begin(&a, sid).await;
    let met = b.find(sid, T0).await.unwrap();
    assert_eq!(format!("{:?}", met.facts), format!("{:?}", facts(sid)));
    let keys = SessionKeys::meaningless(sid);
    let same = |keys: &SessionKeys| {
        let plaintext = crate::seal::HandshakePlaintext::decode(&[0xa0]).unwrap();
        keys.seal_response(number(1), false, &plaintext.plaintext())
    };
    assert_eq!(same(&met.keys), same(&keys));
    for (n, store) in (1..).zip([&b, &a, &b]) {
        let accepted = accept(store, sid, n, 1).await;
        store.complete(accepted, false, T0, |_, n| response(&n.value().to_string())).await;
    }
    for store in [&a, &b] {
        let again = store.accept(sid, number(3), [1; 32], T0).await;
        assert!(matches!(again, Ok(Outcome::Repeat(again)) if again == response("3")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_replicas_that_accept_one_number_at_once_one_wins() {
    let (a, b) = replicas().await;
    let sid = Sid([1; 16]);
    begin(&a, sid).await;
    for n in 1..=200 {
        let race = [(a.clone(), 1), (b.clone(), 2), (a.clone(), 3), (b.clone(), 4)].map(|(store, body)| {
            tokio::spawn(async move { (store.accept(sid, number(n), [body; 32], T0).await, store) })
        });
        let mut won = 0;
        for racer in race {
            match racer.await.unwrap() {
                (Ok(Outcome::Accepted(accepted)), store) => {
                    won += 1;
                    store.complete(accepted, false, T0, |_, _| response("one")).await;
                }
                (other, _) => assert!(matches!(other, Err(Refused::Replayed)), "{other:?}"),
            }
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_retransmission_waits_for_the_answer_that_another_replica_makes() {
    let (a, b) = replicas().await;
    let sid = Sid([1; 16]);
    begin(&a, sid).await;
    let accepted = accept(&a, sid, 1, 1).await;
    let Ok(Probe::Wait(first)) = b.probe(sid, number(1), [1; 32], T0).await else { panic!("does not wait") };
    let Ok(Probe::Wait(second)) = b.probe(sid, number(1), [1; 32], T0).await else { panic!("does not wait") };
    assert_eq!(first.response().await, Err(Refused::Overtaken));
    a.complete(accepted, false, T0, |_, _| response("one")).await;
    assert_eq!(second.response().await, Ok(response("one")));
}

#[tokio::test]
async fn what_a_dead_replica_had_in_progress_is_lost() {
    let key = random_key();
    let sid = Sid([1; 16]);
    // Killed, it tells nobody, and shows no more signs of life.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = replica(&key, Limits::default(), UnixTime(0)).await;
            begin(&store, sid).await;
            std::mem::forget(accept(&store, sid, 1, 1).await);
        });
    })
    .join()
    .unwrap();
    let store = replica(&key, Limits::default(), UnixTime(0)).await;
    let Ok(Probe::Wait(waiter)) = store.probe(sid, number(1), [1; 32], T0).await else { panic!("does not wait") };
    assert_eq!(waiter.response().await, Err(Refused::Replayed));
    assert!(matches!(store.probe(sid, number(1), [1; 32], T0).await, Err(Refused::Replayed)));
    let accepted = accept(&store, sid, 2, 2).await;
    store.complete(accepted, false, T0, |_, _| response("two")).await;
}

/// The first message of a SyncML session.
const FIRST: SyncMessage<'static> =
    SyncMessage { route: "main", source: b"dev-1", session_id: b"7", msg_id: b"1", has_cred: true, target: b"/sync" };

#[tokio::test]
async fn a_message_and_its_answer_take_one_step_each() {
    let (a, b) = replicas().await;
    let (sid, other) = (Sid([1; 16]), Sid([2; 16]));
    begin(&a, sid).await;
    begin(&a, other).await;
    let kid = Kid::Rsa(KeyId([7; 32]));
    let Ok(Outcome::Accepted((accepted, Ok(pass)))) = a.accept_message(sid, number(1), [1; 32], FIRST, &kid, T0).await
    else {
        panic!("not let through")
    };
    let answer = Answer { hdr_status: Some(200), resp_target: Some(b"/sync?s=9") };
    a.complete_message(accepted, pass, answer, false, T0, |_, _| response("one")).await;
    // It belongs to the one, and nothing of it to the other, whose request is accepted all the same.
    let at_target = SyncMessage { source: b"dev-2", target: b"/sync?s=9", ..FIRST };
    for (n, message) in (1..).zip([SyncMessage { msg_id: b"2", ..FIRST }, at_target]) {
        let Ok(Outcome::Accepted((accepted, Err(refused)))) =
            b.accept_message(other, number(n), [1; 32], message, &kid, T0).await
        else {
            panic!("let through")
        };
        assert_eq!(refused, Refused::SessionBound);
        b.complete(accepted, false, T0, |_, _| response("refused")).await;
    }
    let next = SyncMessage { msg_id: b"2", target: b"/sync?s=9", ..FIRST };
    let Ok(Outcome::Accepted((_, Ok(_)))) = b.accept_message(sid, number(2), [1; 32], next, &kid, T0).await else {
        panic!("not let through")
    };
    let repeated = a.accept_message(sid, number(1), [1; 32], FIRST, &kid, T0).await;
    assert!(matches!(repeated, Err(Refused::Replayed)));
}

async fn server() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", SERVER.port)).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// The keys of a store that are about sessions, in their order.
async fn session_keys(store: &RedisStore) -> Vec<Vec<u8>> {
    let namespace = hex(&store.0.settings.key.namespace(default_provider()));
    let pattern = format!("{{syncseal:{namespace}}}:*:session:*");
    let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg(pattern).query_async(&mut server().await).await.unwrap();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_record_that_was_swapped_is_no_session() {
    let (a, b) = replicas().await;
    for n in [1, 2] {
        begin(&a, Sid([n; 16])).await;
    }
    let keys = session_keys(&a).await;
    let mut server = server().await;
    let record: Vec<u8> = redis::cmd("HGET").arg(&keys[0]).arg("record").query_async(&mut server).await.unwrap();
    let () = redis::cmd("HSET").arg(&keys[1]).arg("record").arg(record).query_async(&mut server).await.unwrap();
    assert!(b.find(Sid([1; 16]), T0).await.is_ok());
    assert_eq!(b.find(Sid([2; 16]), T0).await.unwrap_err(), Refused::SessionUnknown);
}

#[tokio::test]
async fn the_server_sees_no_key_and_everything_goes_by_itself() {
    let (store, _) = replicas().await;
    let sid = Sid([9; 16]);
    begin(&store, sid).await;
    let accepted = accept(&store, sid, 1, 1).await;
    store.complete(accepted, false, T0, |_, _| response("one")).await;
    let sender = Sender::Plaintext { source: IpAddr::from([192, 0, 2, 1]) };
    let pass = store.check_binding(FIRST, sender, T0).await.unwrap();
    store.answered(pass, Answer { hdr_status: Some(200), resp_target: Some(b"/x") }, T0).await;
    let namespace = hex(&store.0.settings.key.namespace(default_provider()));
    let mut server = server().await;
    let keys: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg(format!("{{syncseal:{namespace}}}:*")).query_async(&mut server).await.unwrap();
    assert!(keys.len() > 8);
    for key in &keys {
        let lasts: i64 = redis::cmd("PTTL").arg(key).query_async(&mut server).await.unwrap();
        assert!(lasts > 0, "{} stays for ever", String::from_utf8_lossy(key));
        let dump: Vec<u8> = redis::cmd("DUMP").arg(key).query_async(&mut server).await.unwrap();
        for secret in [[1; 16], [2; 16]] {
            assert!(!dump.windows(16).any(|window| window == secret));
        }
        assert!(!dump.windows(9).any(|window| window == b"192.0.2.1"));
    }
}

#[tokio::test]
async fn what_cannot_be_told_now_is_told_before_anything_else() {
    let (a, b) = replicas().await;
    let sid = Sid([1; 16]);
    begin(&a, sid).await;
    let accepted = accept(&a, sid, 1, 1).await;
    // As when the server was out of reach for a while.
    a.0.debts.push(Debt {
        step: "abandon",
        now: T0,
        args: vec![sid.0.into(), b"1".into(), b"99".into(), b"lost".into()],
    });
    a.complete(accepted, false, T0, |_, _| response("one")).await;
    assert!(a.0.debts.is_empty());
    let Ok(Probe::Repeat(_)) = b.probe(sid, number(1), [1; 32], T0).await else {
        panic!("an attempt that was none of it has undone it")
    };
}

#[tokio::test]
async fn an_attempt_that_is_undone_may_come_again_and_nothing_else() {
    let (a, b) = replicas().await;
    let sid = Sid([1; 16]);
    begin(&a, sid).await;
    let mut accepted = accept(&a, sid, 1, 1).await;
    accepted.completed = true;
    a.owe("abandon", T0, &[&sid.0, b"1", accepted.attempt.as_bytes(), b"undone"]);
    a.settle().await.unwrap();
    assert!(matches!(b.accept(sid, number(1), [2; 32], T0).await, Err(Refused::Replayed)));
    let accepted = accept(&b, sid, 1, 1).await;
    b.complete(accepted, false, T0, |_, _| response("one")).await;
    assert!(matches!(a.accept(sid, number(1), [1; 32], T0).await, Ok(Outcome::Repeat(_))));
}

#[test]
fn a_server_that_evicts_is_told_from_one_that_does_not() {
    let memory = |bound: &str, policy: &str| format!("# Memory\r\nmaxmemory:{bound}\r\nmaxmemory_policy:{policy}\r\n");
    assert_eq!(evicts(&memory("0", "allkeys-lru")), None);
    assert_eq!(evicts(&memory("1000000", "noeviction")), None);
    assert_eq!(evicts(&memory("1000000", "volatile-lru")).as_deref(), Some("volatile-lru"));
}

#[test]
fn addresses_are_read_and_shown_without_their_passwords() {
    for (text, shown) in [
        ("redis://example.org", "redis://example.org:6379"),
        ("redis://user:pass@10.0.0.1:7000/2", "redis://10.0.0.1:7000"),
        ("rediss://:pass@example.org:6380", "rediss://example.org:6380"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ] {
        let address: Address = text.parse().unwrap();
        assert_eq!((address.to_string(), format!("{address:?}")), (shown.to_owned(), shown.to_owned()));
    }
    for text in ["", "memory", "http://example.org", "rediss://example.org#insecure", "example.org:6379", "redis://"] {
        assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
    }
}

#[tokio::test]
async fn a_session_that_another_replica_pushed_out_takes_no_number() {
    let key = random_key();
    let limits = Limits { sessions: 1, ..Limits::default() };
    let (a, b) = (replica(&key, limits.clone(), UnixTime(0)).await, replica(&key, limits, UnixTime(0)).await);
    let (first, second) = (Sid([1; 16]), Sid([2; 16]));
    begin(&a, first).await;
    begin(&b, second).await;
    // The one that began it may not have heard; who is asked to accept its number has.
    assert!(matches!(a.accept(first, number(1), [1; 32], T0).await, Err(Refused::SessionUnknown)));
    assert!(matches!(a.find(first, T0).await, Err(Refused::SessionUnknown)));
    accept(&a, second, 1, 1).await;
}

#[tokio::test]
async fn another_replica_knows_under_which_secret_a_session_began() {
    let (a, b) = replicas().await;
    let sid = Sid([1; 16]);
    let secret = Some(SecretFingerprint([5; 16]));
    let named = SessionFacts { kid: Kid::Secret("phone".parse().unwrap()), secret, ..facts(sid) };
    let reserved = a.reserve(named.clone(), T0).await.unwrap();
    a.begin(reserved, Arc::new(SessionKeys::meaningless(sid)), false, T0).await.unwrap();
    assert_eq!(format!("{:?}", b.find(sid, T0).await.unwrap().facts), format!("{named:?}"));
}

//! What happens when the store is not there, comes back, is slow, or throws things away.

use std::time::Duration;

use syncseal::seal::Reason;
use tempfile::TempDir;

use crate::common::Program;
use crate::common::redis::Redis;
use crate::gateways;
use crate::legacy::{Legacy, message};
use crate::terminal::{Answer, Terminal, post};

/// A gateway over a store, in front of a server.
struct World {
    redis: Redis,
    legacy: Legacy,
    addr: std::net::SocketAddr,
    gateway: Program,
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let redis = Redis::start(dir.path()).await;
        let legacy = Legacy::start().await;
        let sessions = gateways::store(&redis.url());
        gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &sessions, "");
        let (gateway, addr) = gateways::replica(dir.path(), "gateway").await;
        Self { redis, legacy, addr, gateway, dir }
    }
}

#[track_caller]
fn assert_overloaded(answer: &Answer) {
    assert_eq!((answer.status, answer.refusal()), (503, Some(Reason::Overloaded)));
    assert!(answer.retry_after.as_ref().is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{answer:?}");
}

/// Sends the same bytes until they are no longer answered `overloaded`, as a terminal does.
async fn until_taken(addr: std::net::SocketAddr, sealed: &[u8]) -> Answer {
    loop {
        let answer = post(addr, sealed).await.expect("an answer");
        if answer.refusal() != Some(Reason::Overloaded) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn down_at_the_start() {
    let dir = TempDir::new().unwrap();
    let mut redis = Redis::start(dir.path()).await;
    redis.kill().await;
    let legacy = Legacy::start().await;
    let sessions = format!("{}store_start_timeout = \"500 ms\"\n", gateways::store(&redis.url()));
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &sessions, "");
    let mut gateway = gateways::start(dir.path(), "gateway");
    assert_eq!(gateway.ended().await.code(), Some(69), "{}", gateway.log());
    assert!(gateway.log().contains(&redis.addr.to_string()), "{}", gateway.log());

    // It waits for one that is about to come.
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &gateways::store(&redis.url()), "");
    let mut gateway = gateways::start(dir.path(), "patient");
    gateway.logged(|line| line.contains("waiting for the session store").then_some(())).await;
    redis.restart().await;
    let mut terminal = Terminal::new(gateway.listening().await).await;
    assert_eq!(terminal.exchange(&message("dev-1", "7", 1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_evicts_keys_is_refused() {
    let dir = TempDir::new().unwrap();
    let options = ["--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru"];
    let redis = Redis::with(dir.path(), "redis", &options).await;
    let legacy = Legacy::start().await;
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &gateways::store(&redis.url()), "");
    let mut gateway = gateways::start(dir.path(), "gateway");
    assert_eq!(gateway.ended().await.code(), Some(78));
    assert!(gateway.log().contains("noeviction"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_during_operation_and_back_without_memory() {
    let mut world = World::new().await;
    let mut terminal = Terminal::new(world.addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;
    let mut other = Terminal::new(world.addr).await;
    other.exchange(&message("dev-2", "7", 1)).await;

    // One exchange is with the server when the store goes: it has a number, and gets its answer.
    let held = world.legacy.hold();
    let sealed = terminal.seal(&message("dev-1", "7", 2));
    let addr = world.addr;
    let in_progress = tokio::spawn(async move { post(addr, &sealed).await.expect("an answer") });
    world.legacy.has_received(3).await;
    world.redis.kill().await;
    drop(held);
    let opened = terminal.open(&in_progress.await.unwrap());
    assert!(opened.body.contains("answer 2 to dev-1 7 2"), "{opened:?}");

    // What comes now is not taken, and does not reach the server.
    assert_overloaded(&other.send(&message("dev-2", "7", 2)).await);
    let handshake = Terminal::try_new(world.addr, (&Terminal::public_key()).into()).await.unwrap();
    assert_overloaded(&handshake.err().expect("no session"));
    assert_eq!(world.legacy.received().len(), 3);

    // Back again, it remembers nothing, and nobody has to do anything about it.
    world.redis.restart().await;
    let sealed = other.seal(&message("dev-2", "7", 3));
    assert_eq!(until_taken(world.addr, &sealed).await.refusal(), Some(Reason::SessionUnknown));
    let mut anew = Terminal::new(world.addr).await;
    assert_eq!(anew.exchange(&message("dev-2", "8", 1)).await.status, 200);
    let log = world.gateway.log();
    assert!(log.contains("the session store is out of reach") && log.contains("can be reached again"), "{log}");
    drop(world.dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow() {
    let world = World::new().await;
    let mut terminal = Terminal::new(world.addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;
    world.redis.suspend();
    let sealed = terminal.seal(&message("dev-1", "7", 2));
    // It is answered although the store answers nothing.
    assert_overloaded(&post(world.addr, &sealed).await.unwrap());
    assert_eq!(world.legacy.received().len(), 1, "forwarded before it was accepted");
    world.redis.resume();
    // By now the store has taken the number for the attempt that gave up. The terminal asks again, and it counts once.
    let opened = terminal.open(&until_taken(world.addr, &sealed).await);
    assert!(opened.body.contains("answer 1 to dev-1 7 2"), "{opened:?}");
    let again = terminal.open(&post(world.addr, &sealed).await.unwrap());
    assert_eq!(again, opened);
    assert_eq!(world.legacy.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_when_the_answer_comes() {
    let world = World::new().await;
    let mut terminal = Terminal::new(world.addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;
    let held = world.legacy.hold();
    let sealed = terminal.seal(&message("dev-1", "7", 2));
    let (addr, bytes) = (world.addr, sealed.clone());
    let in_progress = tokio::spawn(async move { post(addr, &bytes).await.expect("an answer") });
    world.legacy.has_received(2).await;
    world.redis.suspend();
    drop(held);
    let opened = terminal.open(&in_progress.await.unwrap());
    world.redis.resume();
    // The store is told as soon as it listens: asked again, it gives the same answer, and the server is not asked.
    let again = terminal.open(&until_taken(world.addr, &sealed).await);
    assert_eq!(again, opened);
    assert_eq!(world.legacy.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied() {
    let world = World::new().await;
    let mut terminal = Terminal::new(world.addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;
    let () = world.redis.ask(&["FLUSHALL"]).await.unwrap();
    let answer = terminal.send(&message("dev-1", "7", 2)).await;
    assert_eq!(answer.refusal(), Some(Reason::SessionUnknown));
    assert_eq!(world.legacy.received().len(), 1);
    let () = world.redis.ask(&["SCRIPT", "FLUSH"]).await.unwrap();
    // Whoever finds out that the script is gone brings it.
    let mut anew = Terminal::new(world.addr).await;
    assert_eq!(anew.exchange(&message("dev-1", "8", 1)).await.status, 200);
}

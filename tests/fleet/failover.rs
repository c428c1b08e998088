//! A store that forgot what it had confirmed. No number may be answered again: everything that began before is unknown.

use syncseal::crypto::{Algorithm, NamedGroup, SystemRandom, default_provider};
use syncseal::seal::{Fields, InitParameters, InitRequest, Layer, Reason, Request};
use tempfile::TempDir;

use crate::common::redis::Redis;
use crate::common::relay::Balancer;
use crate::gateways;
use crate::legacy::{Legacy, XML, message};
use crate::terminal::{Answer, Terminal, post};

/// How many sessions it has in memory, of whatever epoch.
async fn sessions_in(redis: &Redis) -> usize {
    redis.count("*:session:*").await
}

/// What the terminal is told, once the gateway has found the store again.
async fn settled(addr: std::net::SocketAddr, sealed: &[u8]) -> Answer {
    loop {
        let answer = post(addr, sealed).await.expect("an answer");
        if answer.refusal() != Some(Reason::Overloaded) {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_promoted_without_the_last_writes() {
    let dir = TempDir::new().unwrap();
    let mut master = Redis::with(dir.path(), "master", &["--save", ""]).await;
    let replica = Redis::with(dir.path(), "replica", &["--save", ""]).await;
    // What stands before the master, as clients and as its replica see it.
    let (front, cable) = (Balancer::bind().await, Balancer::bind().await);
    front.spread_over(&[master.addr]);
    cable.spread_over(&[master.addr]);
    let port = cable.addr.port().to_string();
    let () = replica.ask(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    let legacy = Legacy::start().await;
    let sessions = gateways::store(&format!("redis://{}", front.addr));
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &sessions, "");
    let (_gateway, addr) = gateways::replica(dir.path(), "gateway").await;

    let mut terminal = Terminal::new(addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;
    while sessions_in(&replica).await == 0
        || replica.ask::<String>(&["INFO", "replication"]).await.unwrap().contains("master_link_status:down")
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(master.ask::<u64>(&["WAIT", "1", "0"]).await.unwrap(), 1);

    // Cut off, the replica does not hear of number 2.
    drop(cable);
    let number_2 = terminal.seal(&message("dev-1", "7", 2));
    let first = post(addr, &number_2).await.unwrap();
    terminal.open(&first);
    let replicated: Vec<Vec<u8>> = replica.ask(&["KEYS", "*:session:*"]).await.unwrap();
    let highest = [b"HMGET".as_slice(), &replicated[0], b"highest", b"latest"];
    let highest: Vec<String> = replica.ask(&highest).await.unwrap();
    assert_eq!(highest, ["1", "stored"], "the replica knows the session, and would take number 2 for new");

    master.kill().await;
    let () = replica.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    front.spread_over(&[replica.addr]);

    // Neither the same bytes nor others under the same number, nor what follows.
    let other = terminal.seal_under(2, &message("dev-1", "7", 20));
    let next = terminal.seal(&message("dev-1", "7", 3));
    for sealed in [&number_2, &other, &next] {
        assert_eq!(settled(addr, sealed).await.refusal(), Some(Reason::SessionUnknown));
    }
    assert_eq!(legacy.received().len(), 2);
    assert_eq!(sessions_in(&replica).await, 1, "it was there all the time");
    let mut anew = Terminal::new(addr).await;
    assert_eq!(anew.exchange(&message("dev-1", "8", 1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_comes_back_from_an_old_snapshot() {
    let dir = TempDir::new().unwrap();
    let mut redis = Redis::with(dir.path(), "redis", &["--save", "3600 1000000"]).await;
    let legacy = Legacy::start().await;
    let tables = "[early]\naccept = true\n";
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &gateways::store(&redis.url()), tables);
    let (_gateway, addr) = gateways::replica(dir.path(), "gateway").await;

    let mut terminal = Terminal::new(addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;
    let () = redis.ask(&["SAVE"]).await.unwrap();
    let number_2 = terminal.seal(&message("dev-1", "7", 2));
    terminal.open(&post(addr, &number_2).await.unwrap());
    // None is taken that was issued in the second in which the memory began.
    let early = loop {
        let early = early_message();
        match post(addr, &early).await.unwrap() {
            Answer { status: 200, .. } => break early,
            answer => assert_eq!(answer.refusal(), Some(Reason::EarlyRefused)),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let n_received = legacy.received().len();

    redis.kill().await;
    redis.restart().await;
    assert_eq!(sessions_in(&redis).await, 1, "the snapshot has the session");
    let other = terminal.seal_under(2, &message("dev-1", "7", 20));
    for sealed in [&number_2, &other] {
        assert_eq!(settled(addr, sealed).await.refusal(), Some(Reason::SessionUnknown));
    }
    // Nor is an early message taken again that it forgot.
    assert_eq!(settled(addr, &early).await.refusal(), Some(Reason::EarlyRefused));
    assert_eq!(legacy.received().len(), n_received);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_became_a_replica_and_master_again() {
    let dir = TempDir::new().unwrap();
    let first = Redis::with(dir.path(), "first", &["--save", ""]).await;
    let second = Redis::with(dir.path(), "second", &["--save", ""]).await;
    let legacy = Legacy::start().await;
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &gateways::store(&first.url()), "");
    // First of all, for the first replica of its life gives a master another replication id.
    let port = first.addr.port().to_string();
    let () = second.ask(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    while second.ask::<String>(&["INFO", "replication"]).await.unwrap().contains("master_link_status:down") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (_gateway, addr) = gateways::replica(dir.path(), "gateway").await;
    let mut terminal = Terminal::new(addr).await;
    terminal.exchange(&message("dev-1", "7", 1)).await;

    // The second has the first's state of now; then the first goes on, and is told to take that state back. It is the
    // same process all the time.
    while sessions_in(&second).await == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let () = second.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    let number_2 = terminal.seal(&message("dev-1", "7", 2));
    terminal.open(&post(addr, &number_2).await.unwrap());
    let port = second.addr.port().to_string();
    let () = first.ask(&["REPLICAOF", "127.0.0.1", &port]).await.unwrap();
    while first.ask::<String>(&["INFO", "replication"]).await.unwrap().contains("master_link_status:down") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // As long as it is a replica, it takes nothing.
    let refused = post(addr, &number_2).await.unwrap();
    assert_eq!(refused.refusal(), Some(Reason::Overloaded));
    let () = first.ask(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    assert_eq!(sessions_in(&first).await, 1);

    let other = terminal.seal_under(2, &message("dev-1", "7", 20));
    for sealed in [&number_2, &other] {
        assert_eq!(settled(addr, sealed).await.refusal(), Some(Reason::SessionUnknown));
    }
    assert_eq!(legacy.received().len(), 2);
}

/// An early message that was issued just now.
fn early_message() -> bytes::Bytes {
    let key = Terminal::public_key();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let parameters = InitParameters {
        layer: Layer::Message,
        alg: Algorithm::A256Gcm,
        recipient: (&key).into(),
        group: Some(NamedGroup::X25519),
        require_exchange: true,
        issued: Some(now),
    };
    let body = message("dev-2", "7", 1);
    let request = Request { content_type: XML, target: "/sync", fields: Fields::default(), body: body.as_bytes() };
    let init = InitRequest::new(default_provider(), &SystemRandom, &parameters).unwrap();
    init.seal(&request.plaintext()).0
}

//! A store whose master is known to sentinels: when it is gone they choose another, and the gateway follows.

use std::path::Path;
use std::time::Duration;

use syncseal::seal::Reason;
use tempfile::TempDir;

use crate::common::redis::Redis;
use crate::gateways;
use crate::legacy::{Legacy, message};
use crate::pki::Pki;
use crate::terminal::{Terminal, post};

const POLL: Duration = Duration::from_millis(50);

/// Whether a sentinel knows of one replica and two other sentinels, so that it can replace the master.
async fn is_ready(sentinel: &Redis) -> bool {
    let master: Vec<String> = sentinel.ask(&["SENTINEL", "MASTER", "fleet"]).await.unwrap();
    let says = |name: &str, value: &str| master.chunks(2).any(|pair| pair[0] == name && pair[1] == value);
    says("num-slaves", "1") && says("num-other-sentinels", "2") && says("flags", "master")
}

async fn is_master(redis: &Redis) -> bool {
    redis.ask::<String>(&["INFO", "replication"]).await.is_ok_and(|info| info.contains("role:master"))
}

/// Starts a server, or a sentinel of the `master` at this port, and gives the port on which others speak with it: the one
/// for TLS, if there is an authority.
async fn start(dir: &Path, ca: Option<&Pki>, name: &str, master: Option<u16>) -> (Redis, u16) {
    let (port, tls) = ca.map(|ca| ca.server("ca.pem", &["127.0.0.1"])).unzip();
    let tls: Vec<String> = tls.unwrap_or_default();
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let redis = match master {
        Some(master) => Redis::sentinel(dir, name, master, &tls).await,
        None => Redis::with(dir, name, &[&["--save", "", "--repl-diskless-sync-delay", "0"], &*tls].concat()).await,
    };
    let plain = redis.addr.port();
    (redis, port.unwrap_or(plain))
}

/// With the master, the first sentinel is gone, as when both were on one machine.
async fn fails_over(tls: bool) {
    let dir = TempDir::new().unwrap();
    let ca = tls.then(|| Pki::new(dir.path(), "ca"));
    let start = async |name: &str, master: Option<u16>| start(dir.path(), ca.as_ref(), name, master).await;
    let (mut master, master_port) = start("master", None).await;
    let (replica, _) = start("replica", None).await;
    let () = replica.ask(&["REPLICAOF", "127.0.0.1", &master_port.to_string()]).await.unwrap();
    // One that never had the master's state would get a new replication id with its own first replica.
    while replica.ask::<String>(&["INFO", "replication"]).await.unwrap().contains("master_link_status:down") {
        tokio::time::sleep(POLL).await;
    }
    let (mut sentinels, mut ports) = (Vec::new(), Vec::new());
    for name in ["one", "two", "three"] {
        let (sentinel, port) = start(name, Some(master_port)).await;
        sentinels.push(sentinel);
        ports.push(port);
    }
    for sentinel in &sentinels {
        while !is_ready(sentinel).await {
            tokio::time::sleep(POLL).await;
        }
    }

    let scheme = if tls { "rediss" } else { "redis" };
    let urls: Vec<String> = ports.iter().map(|port| format!("\"{scheme}://127.0.0.1:{port}\"")).collect();
    let store_ca = if tls { "store_ca = \"ca.pem\"\n" } else { "" };
    let sessions =
        format!("store = [{}]\nstore_key = \"store.key\"\nstore_sentinel = \"fleet\"\n{store_ca}", urls.join(", "));
    let legacy = Legacy::start().await;
    gateways::write_policy(dir.path(), "gateway.example", legacy.addr, "/sync", &sessions, "");
    let (_gateway, addr) = gateways::replica(dir.path(), "gateway").await;
    let mut terminal = Terminal::new(addr).await;
    assert_eq!(terminal.exchange(&message("dev-1", "7", 1)).await.status, 200);
    assert_eq!(master.count("*:session:*").await, 1, "the gateway is with the master");

    sentinels[0].suspend();
    master.kill().await;
    let sealed = terminal.seal(&message("dev-1", "7", 2));
    let settled = loop {
        let answer = post(addr, &sealed).await.expect("an answer");
        if answer.refusal() != Some(Reason::Overloaded) {
            break answer;
        }
        tokio::time::sleep(POLL).await;
    };
    assert_eq!(settled.refusal(), Some(Reason::SessionUnknown));
    assert!(is_master(&replica).await);
    let mut anew = Terminal::new(addr).await;
    assert_eq!(anew.exchange(&message("dev-1", "8", 1)).await.status, 200);

    // The old one comes back, and is told that it is none any more; nothing happens to the session.
    master.restart().await;
    while is_master(&master).await {
        tokio::time::sleep(POLL).await;
    }
    assert_eq!(anew.exchange(&message("dev-1", "8", 2)).await.status, 200);
    assert_eq!(legacy.received().len(), 3);
    sentinels[0].resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_follows_the_master_that_they_choose() {
    fails_over(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_follows_over_tls() {
    fails_over(true).await;
}

//! A terminal's secret that is taken away, or replaced under its name: at the next reload its sessions are over, in
//! whatever store they are.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use syncseal::crypto::{KeyName, SystemRandom, TerminalSecret, default_provider};
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::net::server::Listener;
use syncseal::policy::{Environment, GatewayPolicy, Store};
use syncseal::seal::{Reason, Recipient, SessionKeys};
use syncseal::session::redis::RedisStore;
use syncseal::session::{MemoryStore, SessionStore, TimeSource, WallClock};
use tempfile::TempDir;

use crate::common::redis::Redis;
use crate::gateways;
use crate::legacy::{Legacy, message};
use crate::terminal::{Answer, Terminal, post};

/// The secret of 32 such bytes.
fn secret(byte: u8) -> TerminalSecret {
    TerminalSecret::from_text(&base64_turbo::STANDARD.encode([byte; 32])).unwrap()
}

/// Writes the policy of a gateway that shares these secrets, and reads it.
fn policy(dir: &Path, legacy: &Legacy, sessions: &str, secrets: &[(&str, u8)]) -> GatewayPolicy {
    let mut tables = "[gateway.secrets]\n".to_owned();
    for (name, byte) in secrets {
        let file = dir.join(name).with_extension("secret");
        std::fs::write(&file, secret(*byte).to_text().as_bytes()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        tables += &format!("{name} = {file:?}\n");
    }
    gateways::write_policy(dir, "gateway.example", legacy.addr, "/sync", sessions, &tables);
    GatewayPolicy::load(&dir.join("gateway.toml"), &Environment::default()).unwrap()
}

/// Asks for a session under a secret.
async fn asks(addr: SocketAddr, name: &str, byte: u8) -> Result<Terminal, Answer> {
    let name: KeyName = name.parse().unwrap();
    Terminal::try_new(addr, Recipient::Secret(&name, &secret(byte))).await.unwrap()
}

async fn begins(addr: SocketAddr, name: &str, byte: u8) -> Terminal {
    asks(addr, name, byte).await.unwrap_or_else(|answer| panic!("{answer:?}"))
}

/// What a terminal hears of all replicas, one after the other, of a message under its next number.
async fn refusals(terminal: &mut Terminal, addrs: &[SocketAddr], text: &str) -> Vec<Option<Reason>> {
    let sealed = terminal.seal(text);
    let mut refusals = Vec::new();
    for addr in addrs {
        refusals.push(post(*addr, &sealed).await.unwrap().refusal());
    }
    refusals
}

/// A fleet of gateways, each over one of these views of one store.
async fn sessions_end_with_their_secret<S>(stores: Vec<S>, dir: &Path, legacy: &Legacy, sessions: &str)
where
    S: SessionStore<Keys = SessionKeys>,
{
    let trigger = Trigger::new();
    let first = policy(dir, legacy, sessions, &[("phone", 1), ("tablet", 2)]);
    let (mut fleet, mut addrs) = (Vec::new(), Vec::new());
    for store in stores {
        let gateway = Gateway::new(&first, Surroundings::default(), store).unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        addrs.push(listener.name().parse().unwrap());
        tokio::spawn(gateway.clone().serve(listener, trigger.subscribe()));
        fleet.push(gateway);
    }
    let reload = |policy: &GatewayPolicy| {
        for gateway in &fleet {
            gateway.reload(policy, false).unwrap();
        }
    };
    let addr = addrs[0];
    let unknown = vec![Some(Reason::SessionUnknown); addrs.len()];

    let (mut phone, mut tablet) = (begins(addr, "phone", 1).await, begins(addr, "tablet", 2).await);
    let mut anonymous = Terminal::new(addr).await;
    phone.exchange(&message("phone", "1", 1)).await;
    tablet.exchange(&message("tablet", "1", 1)).await;
    anonymous.exchange(&message("other", "1", 1)).await;

    // Another secret under the same name.
    reload(&policy(dir, legacy, sessions, &[("phone", 3), ("tablet", 2)]));
    assert_eq!(refusals(&mut phone, &addrs, &message("phone", "1", 2)).await, unknown);
    assert_eq!(asks(addr, "phone", 1).await.err().unwrap().refusal(), Some(Reason::CannotOpen));
    let mut phone = begins(addr, "phone", 3).await;
    phone.exchange(&message("phone", "2", 1)).await;
    tablet.exchange(&message("tablet", "1", 2)).await;

    // None under that name.
    reload(&policy(dir, legacy, sessions, &[("phone", 3)]));
    assert_eq!(refusals(&mut tablet, &addrs, &message("tablet", "1", 3)).await, unknown);
    assert_eq!(asks(addr, "tablet", 2).await.err().unwrap().refusal(), Some(Reason::CannotOpen));
    phone.exchange(&message("phone", "2", 2)).await;
    anonymous.exchange(&message("other", "1", 2)).await;

    assert_eq!(legacy.received().len(), 7);
    trigger.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_memory_end_with_their_secret() {
    let (dir, legacy) = (TempDir::new().unwrap(), Legacy::start().await);
    let limits = policy(dir.path(), &legacy, "", &[("phone", 1)]).sessions;
    let stores = vec![MemoryStore::new(limits, WallClock.now())];
    sessions_end_with_their_secret(stores, dir.path(), &legacy, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_replicas_share_end_with_their_secret() {
    let (dir, legacy) = (TempDir::new().unwrap(), Legacy::start().await);
    let redis = Redis::start(dir.path()).await;
    let sessions = gateways::store(&redis.url());
    let mut stores = Vec::new();
    for _ in 0..2 {
        let policy = policy(dir.path(), &legacy, &sessions, &[("phone", 1)]);
        let Store::Redis(settings) = policy.store else { panic!("in memory") };
        let time = Arc::new(WallClock);
        let store = RedisStore::connect(*settings, policy.sessions, default_provider(), &SystemRandom, time);
        stores.push(store.await.unwrap());
    }
    sessions_end_with_their_secret(stores, dir.path(), &legacy, &sessions).await;
}

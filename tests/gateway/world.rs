//! A gateway with its policy, clock and legacy server.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use syncseal::crypto::{RsaPrivateKey, RsaPublicKey, SystemRandom};
use syncseal::gateway::{Gateway, ReloadError, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Drained, Listener};
use syncseal::policy::{Applied, Environment, GatewayPolicy};
use syncseal::seal::SessionKeys;
use syncseal::session::{MemoryStore, TimeSource, UnixTime};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::server::Server;

const KEY: &str = include_str!("../keys/pkcs8.pem");

/// What follows the lines of the route, where plaintext is permitted to everybody.
pub(crate) const PERMIT: &str = "[[rule]]\nname = \"everybody\"\nplaintext = \"permit\"";

/// A clock that stands still until it is moved.
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl TimeSource for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.seconds())
    }
}

/// A running gateway and its server.
pub(crate) struct World {
    /// Where the gateway listens.
    pub(crate) addr: SocketAddr,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) server: Server,
    /// The gateway's public key.
    pub(crate) key: RsaPublicKey,
    pub(crate) trigger: Trigger,
    pub(crate) serving: JoinHandle<Drained>,
    pub(crate) gateway: Gateway<MemoryStore<SessionKeys>>,
    dir: TempDir,
}

impl World {
    /// A gateway whose one route, `/sync`, says nothing but where its server is.
    pub(crate) async fn new() -> Self {
        Self::with("", "").await
    }

    /// With further tables in its policy, and further lines in its route.
    pub(crate) async fn with(tables: &str, route: &str) -> Self {
        Self::adjusted(tables, route, |_| {}).await
    }

    /// With a policy that is changed after it was read.
    pub(crate) async fn adjusted(tables: &str, route: &str, adjust: impl FnOnce(&mut GatewayPolicy)) -> Self {
        Self::before(Server::tcp().await, tables, route, adjust).await
    }

    /// In front of this server.
    pub(crate) async fn before(
        server: Server,
        tables: &str,
        route: &str,
        adjust: impl FnOnce(&mut GatewayPolicy),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_key(&dir);
        let mut policy = policy(&dir, &server, tables, route);
        adjust(&mut policy);
        let clock = Arc::new(TestClock(AtomicU64::new(1_790_000_000)));
        let surroundings = Surroundings { time: Arc::clone(&clock) as _, random: Arc::new(SystemRandom) };
        let gateway = Gateway::in_memory(&policy, surroundings).unwrap();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let trigger = Trigger::new();
        let serving = tokio::spawn(gateway.clone().serve(listener, trigger.subscribe()));
        Self { addr, clock, server, key: public_key(), trigger, serving, gateway, dir }
    }

    /// Lets the gateway go on with these tables in its policy, and these lines in its route.
    pub(crate) fn reload(&self, tables: &str, route: &str) -> Result<Applied, ReloadError> {
        self.gateway.reload(&self.policy(tables, route), false)
    }

    /// A policy of this gateway with these tables, and these lines in its route.
    pub(crate) fn policy(&self, tables: &str, route: &str) -> GatewayPolicy {
        policy(&self.dir, &self.server, tables, route)
    }
}

fn policy(dir: &TempDir, server: &Server, tables: &str, route: &str) -> GatewayPolicy {
    let text = policy_text("127.0.0.1:0", &server.address, tables, route);
    GatewayPolicy::parse(&dir.path().join("gateway.toml"), &text, &Environment::default())
        .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// Every gateway's key.
pub(crate) fn private_key() -> RsaPrivateKey {
    RsaPrivateKey::from_pem(KEY).unwrap()
}

/// Its public half.
pub(crate) fn public_key() -> RsaPublicKey {
    private_key().public().clone()
}

/// Writes the gateway's private key, as only its owner may read it.
pub(crate) fn write_key(dir: &TempDir) {
    let file = dir.path().join("gateway.pem");
    std::fs::write(&file, KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A policy, as an operator would write it.
pub(crate) fn policy_text(listen: &str, upstream: &str, tables: &str, route: &str) -> String {
    let admin = if tables.contains("[admin]") { "" } else { "[admin]\nlisten = \"127.0.0.1:0\"\n" };
    format!(
        r#"version = 1
[gateway]
listen = "{listen}"
public_url = "https://gateway.example"
keys = ["gateway.pem"]
{tables}
{admin}[[route]]
path = "/sync"
upstream = "{upstream}"
{route}
"#
    )
}
